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
  const below = ([label, v]) =>
    svg("text", { x: x.at(v), y: H - BOTTOM + 16, "text-anchor": "middle" }, label);
  const beside = ([label, v]) =>
    svg("text", { x: LEFT - 6, y: y.at(v) + 4, "text-anchor": "end" }, label);
  const labelled = (v) => [shown(v), v];
  return [
    ...ofLogarithm(Math.exp(x.low), Math.exp(x.high)).map(labelled).map(below),
    ...evenly(y.low, y.high).map(labelled).map(beside),
  ];
}

/** At most six round numbers, as far apart as each other. */
export function evenly(low, high) {
  const size = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(size / 5));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => size / s <= 5);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, k) => (first + k) * step);
}

/** At most six round numbers on a logarithmic axis, but the ends where there are none between. */
export function ofLogarithm(low, high) {
  const [first, last] = [low, high].map((v) => Math.floor(Math.log10(v)));
  const sets = [[1, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3], [1]];
  const found = sets.map((digits) =>
    Array.from({ length: last - first + 1 }, (_, k) => Number(`1e${first + k}`))
      .flatMap((power) => digits.map((digit) => digit * power))
      .filter((v) => v >= low * (1 - 1e-9) && v <= high * (1 + 1e-9)),
  );
  const some = found.find((values) => values.length <= 6) ?? found.at(-1).slice(0, 6);
  return some.length > 1 ? some : [low, high];
}

function inWords(names, points, title, axis) {
  const of = (name) => points.filter(({ recipe }) => recipe === name);
  const said = names.map((name) => {
    const pairs = of(name).map((p) => `${shown(p.y[0])} at ${axis} ${shown(p.x)}`);
    return `${name}: ${pairs.join(", ")}`;
  });
  return `${title}. ${said.join("; ")}.`;
}
