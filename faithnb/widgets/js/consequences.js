// What follows from a replaced token, position by position, on white as all pictures.

import { COLOURS } from "./constants.js";
import { evenly, ofLogarithm } from "./curves.js";
import { html, svg } from "./elements.js";
import { shown } from "./words.js";

const [WIDE, HIGH, EDGE, FOOT] = [560, 240, 56, 44];

/** A relative squared error at several positions together: the errors weigh as the squares of what
 * they are relative to. */
export function behind(errors, changes) {
  const known = errors.map((e, j) => [e, changes[j] ** 2]).filter(([e]) => e !== null);
  const total = known.reduce((sum, [, square]) => sum + square, 0);
  return total > 0 ? known.reduce((sum, [e, square]) => sum + e * square, 0) / total : null;
}

/** A figure of the norms of three changes from the replaced token on: the layer's, the
 * transcoder's, and the one that features active before predict. The second axis is logarithmic. */
export function consequences(page, reading, at, pointed, title) {
  const series = [
    { name: "the layer", values: page.change[at], stroke: COLOURS.ink, dash: "none" },
    { name: reading.name, values: reading.change[at], stroke: COLOURS.series[0], dash: "7 3" },
    {
      name: "features active before",
      values: reading.patched[at],
      stroke: COLOURS.series[3],
      dash: "2 3",
    },
  ];
  const picture = html("div", { class: "fn-picture", role: "img", tabindex: 0 });
  const key = series.map(({ name, stroke, dash }) => {
    const line = svg("line", {
      x1: 0,
      x2: 26,
      y1: 6,
      y2: 6,
      "stroke-width": 2.5,
      stroke,
      "stroke-dasharray": dash,
    });
    return html("span", {}, svg("svg", { width: 28, height: 12 }, line), ` ${name} `);
  });
  const said = series.map(({ name, values }) => `${name} ${values.map(shown).join(", ")}`);
  picture.setAttribute("aria-label", `Norm of the change, from token ${at} on: ${said.join("; ")}`);
  picture.append(drawn(series, at, pointed));
  return html(
    "figure",
    { class: "fn-card fn-wide" },
    html("figcaption", {}, `${title}: norm of the change`),
    picture,
    html("p", { class: "fn-key" }, ...key),
  );
}

function drawn(series, at, pointed) {
  const n = series[0].values.length;
  const positive = series.flatMap(({ values }) => values).filter((v) => v > 0);
  const top = Math.max(...positive, 1e-12);
  const low = Math.max(Math.min(...positive, top), top * 1e-5);
  const width = Math.log(top / low) || 1;
  const x = (j) => EDGE + 10 + (j / Math.max(1, n - 1)) * (WIDE - EDGE - 30);
  const y = (v) => 12 + (Math.log(top / Math.max(v, low)) / width) * (HIGH - FOOT - 20);
  const words = (attributes, text) => svg("text", { fill: COLOURS.ink, ...attributes }, `${text}`);
  const lines = series.map(({ values, stroke, dash }) => {
    const points = values.map((v, j) => `${x(j).toFixed(1)},${y(v ?? 0).toFixed(1)}`).join(" ");
    const look = { fill: "none", stroke, "stroke-width": 2, "stroke-dasharray": dash };
    return svg("polyline", { points, ...look });
  });
  const starts = series.map(({ values, stroke }) =>
    svg("circle", { cx: x(0), cy: y(values[0] ?? 0), r: 3.2, fill: stroke }),
  );
  const here = pointed >= at ? x(pointed - at) : null;
  const pointer = svg("line", { x1: here, x2: here, y1: 8, y2: HIGH - FOOT, stroke: "#8a8a8a" });
  const below = evenly(at, at + n - 1)
    .filter(Number.isInteger)
    .map((k) => words({ x: x(k - at), y: HIGH - FOOT + 16, "text-anchor": "middle" }, k));
  const beside = ofLogarithm(low, top).map((v) =>
    words({ x: EDGE - 6, y: y(v) + 4, "text-anchor": "end" }, shown(v)),
  );
  const frame = {
    d: `M${EDGE},8 V${HIGH - FOOT} H${WIDE - 8}`,
    fill: "none",
    stroke: COLOURS.grey,
  };
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": true },
    svg("path", frame),
    ...(here === null ? [] : [pointer]),
    words({ x: (WIDE + EDGE) / 2, y: HIGH - 6, "text-anchor": "middle" }, "token"),
    ...below,
    ...beside,
    ...lines,
    ...starts,
  );
}
