// A map over repeats and sparsity: cells to point at, or to walk over with the arrow keys.

import { text } from "./drawing.js";
import { digits, html, svg } from "./elements.js";
import { COLOURS } from "./constants.js";

const STEPS = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Where among rising values one is most like this, as a ratio. */
export function nearest(values, value) {
  const near = 1e-4; // what is smaller is as good as 0
  const off = values.map((v) => Math.abs(Math.log((v + near) / (value + near))));
  return off.indexOf(Math.min(...off));
}

/** Cells over repeats (across) and sparsity (up); pointer or arrow keys choose one, of which
 * `chosen(i, j)` hears, and `ended(words)` of a key that leads out of the map. */
export function cells(title, across, up, chosen, ended) {
  const [size, left, bottom] = [Math.max(24, 240 / across.length), 58, 44];
  const [w, h] = [left + size * across.length + 6, size * up.length + bottom];
  const place = (i, j) => ({ x: left + j * size, y: (up.length - 1 - i) * size });
  const rects = up.map((_, i) =>
    across.map((_, j) =>
      svg("rect", {
        ...place(i, j),
        width: size - 1,
        height: size - 1,
        fill: "#fbfbfb",
        stroke: "none",
        onclick: () => choose(i, j),
      }),
    ),
  );
  const frame = svg("rect", {
    width: size + 1,
    height: size + 1,
    fill: "none",
    stroke: COLOURS.ink,
    "stroke-width": 2.5,
  });
  const every = (n) => Math.ceil(n / 5);
  const names = [
    ...across.map((v, j) =>
      j % every(across.length)
        ? ""
        : text(left + (j + 0.5) * size, h - bottom + 14, v.toPrecision(2).replace(/\.?0+$/, ""), {
            "text-anchor": "middle",
          }),
    ),
    ...up.map((v, i) =>
      i % every(up.length)
        ? ""
        : text(left - 5, place(i, 0).y + size / 2 + 4, v.toPrecision(2).replace(/\.?0+$/, ""), {
            "text-anchor": "end",
          }),
    ),
    text(left + (size * across.length) / 2, h - 8, "repeat fraction r", {
      "text-anchor": "middle",
    }),
    text(12, (h - bottom) / 2, "sparsity λ", {
      "text-anchor": "middle",
      transform: `rotate(-90 12 ${(h - bottom) / 2})`,
    }),
  ].filter(Boolean);
  const picture = html(
    "div",
    {
      class: "fn-picture fn-cells",
      tabindex: 0,
      role: "application",
      "aria-label": `${title}; arrow keys choose a cell`,
      onkeydown: (event) => {
        if (event.altKey || event.ctrlKey || event.metaKey) return;
        const by = STEPS[event.key];
        if (!by) return;
        event.preventDefault();
        const [i, j] = [at[0] + by[0], at[1] + by[1]];
        if (i in up && j in across) choose(i, j);
        else ended(by[0] ? edge("λ", up, at[0]) : edge("r", across, at[1]));
      },
    },
    svg(
      "svg",
      { viewBox: `0 -4 ${w} ${h + 4}`, "aria-hidden": true },
      ...rects.flat(),
      ...names,
      frame,
    ),
  );
  const element = html("figure", { class: "fn-card" }, html("figcaption", {}, title), picture);
  let at = [0, 0];
  function choose(i, j, tell = true) {
    at = [i, j];
    const { x, y } = place(i, j);
    frame.setAttribute("x", x - 1);
    frame.setAttribute("y", y - 1);
    if (tell) chosen(i, j);
  }
  /** Fill a share of a cell from below. */
  const cover = (i, j, share, fill) => {
    const { x, y } = place(i, j);
    const [width, height] = [size - 1, share * (size - 1)];
    const where = { x, y: y + size - 1 - height, width, height };
    frame.before(svg("rect", { ...where, fill, "pointer-events": "none" }));
  };
  choose(0, 0, false);
  const paint = (i, j, fill) => rects[i][j].setAttribute("fill", fill);
  return { element, picture, choose, paint, cover };
}

const edge = (name, values, k) =>
  `The map ends here: ${name} = ${digits(values[k])} is its ${k ? "largest" : "smallest"}.`;

/** The states and their colours, and what else a picture shows. */
export function legend(more = {}) {
  return html(
    "p",
    { class: "fn-legend fn-card fn-wide" },
    ...Object.entries({ ...COLOURS.states, ...more }).flatMap(([name, fill]) => [
      html("i", { style: `background: ${fill}` }),
      `${name} `,
    ]),
  );
}
