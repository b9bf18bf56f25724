// Curves of recipes over the points of their sweeps, on white as all pictures.

import { COLOURS } from "./constants.js";
import { html, svg } from "./elements.js";
import { shown } from "./words.js";

const [W, H, LEFT, BOTTOM] = [560, 300, 60, 44];
const DASHES = ["none", "7 3", "2 3", "9 3 2 3"];

/** A figure of points `{recipe, x, y: [mean, low, high]}`, joined for each recipe; the first axis is
 * logarithmic. */
export function curves(points, title, axis) {
  const names = [...new Set(points.map(({ recipe }) => recipe))].sort();
  const look = (k) => ({
    stroke: COLOURS.series[k % COLOURS.series.length],
    "stroke-dasharray": DASHES[Math.floor(k / COLOURS.series.length) % DASHES.length],
  });
  const picture = html("div", { class: "fn-picture", role: "img", tabindex: 0 });
  const figure = html(
    "figure",
    { class: "fn-card fn-wide" },
    html("figcaption", {}, title),
    picture,
    legend(names, look),
  );
  if (!points.length) {
    picture.textContent = "Nothing to draw: no entry has this measure here.";
    return figure;
  }
  const [x, y] = scales(points);
  const lines = names.map((name, k) => {
    const own = points.filter(({ recipe }) => recipe === name).sort((a, b) => a.x - b.x);
    const at = own.map((p) => `${x.at(p.x)},${y.at(p.y[0])}`).join(" ");
    const marks = own.flatMap((p) => [
      svg("circle", { cx: x.at(p.x), cy: y.at(p.y[0]), r: 3.2, fill: look(k).stroke }),
      svg("line", {
        x1: x.at(p.x),
        x2: x.at(p.x),
        y1: y.at(p.y[1]),
        y2: y.at(p.y[2]),
        stroke: look(k).stroke,
      }),
    ]);
    return svg(
      "g",
      {},
      svg("title", {}, name),
      svg("polyline", { points: at, fill: "none", "stroke-width": 1.8, ...look(k) }),
      ...marks,
    );
  });
  const frame = svg("path", {
    d: `M${LEFT},8 V${H - BOTTOM} H${W - 8}`,
    fill: "none",
    stroke: COLOURS.grey,
  });
  const label = svg("text", { x: (W + LEFT) / 2, y: H - 6, "text-anchor": "middle" }, axis);
  picture.setAttribute("aria-label", inWords(names, points, title, axis));
  picture.append(
    svg(
      "svg",
      { viewBox: `0 0 ${W} ${H}`, "aria-hidden": true },
      frame,
      label,
      ...ticks(x, y),
      ...lines,
    ),
  );
  return figure;
}

function legend(names, look) {
  const items = names.map((name, k) => {
    const line = svg("line", { x1: 0, x2: 26, y1: 6, y2: 6, "stroke-width": 2.5, ...look(k) });
    return html("span", {}, svg("svg", { width: 28, height: 12 }, line), ` ${name} `);
  });
  return html("p", { class: "fn-key" }, ...items);
}

function scales(points) {
  const xs = points.map((p) => Math.log(p.x));
  const ys = points.flatMap((p) => p.y);
  const scale = (low, high, from, to, f = (v) => v) => {
    const width = high - low || 1;
    return { low, high, at: (v) => from + ((f(v) - low) / width) * (to - from) };
  };
  return [
    scale(Math.min(...xs), Math.max(...xs), LEFT + 12, W - 20, Math.log),
    scale(Math.min(0, ...ys), Math.max(...ys), H - BOTTOM - 4, 14),
  ];
}

function ticks(x, y) {
  const places = [0, 1 / 3, 2 / 3, 1];
  return places.flatMap((t) => {
    const u = Math.exp(x.low + t * (x.high - x.low));
    const v = y.low + t * (y.high - y.low);
    return [
      svg("text", { x: x.at(u), y: H - BOTTOM + 16, "text-anchor": "middle" }, shown(u)),
      svg("text", { x: LEFT - 6, y: y.at(v) + 4, "text-anchor": "end" }, shown(v)),
    ];
  });
}

function inWords(names, points, title, axis) {
  const of = (name) => points.filter(({ recipe }) => recipe === name);
  const said = names.map((name) => {
    const pairs = of(name).map((p) => `${shown(p.y[0])} at ${axis} ${shown(p.x)}`);
    return `${name}: ${pairs.join(", ")}`;
  });
  return `${title}. ${said.join("; ")}.`;
}
