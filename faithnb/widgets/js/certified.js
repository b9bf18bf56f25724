// The button that certifies, and what it comes to: the proof in words, the witness in pictures.

import { COLOURS } from "./constants.js";
import { card, coordinates, text } from "./drawing.js";
import { html, svg } from "./elements.js";

const NAME = "certify worst error";
const LOOKS = {
  layer: { stroke: COLOURS.ink, fill: "#fff", "stroke-dasharray": "4 3" },
  transcoder: { stroke: COLOURS.series[0], fill: COLOURS.series[0] },
};

const decimals = (value) => value.toFixed(3).replace("-0.000", "0.000");
const bound = (value) => decimals(Math.ceil(1000 * value - 1e-6) / 1000); // never rounded down
const tuple = (values) => `(${values.map(decimals).join(", ")})`;

/** A button, a place for what it finds, and who hears of the search: `ask(number)` starts one. */
export function certified(ask) {
  let number = 0; // counted, so that nothing of a search that was given up is shown
  let computing = false;
  const button = html(
    "button",
    {
      type: "button",
      title: "the largest error of any output on p's coordinates, proved in this page",
      onclick: () => {
        if (computing) return;
        clear();
        computing = true;
        said.textContent = "Computing the worst error …";
        progress.hidden = false;
        progress.value = 0;
        ask(number);
      },
    },
    NAME,
  );
  const said = html("p", { class: "fn-certified", role: "status" });
  const progress = html("progress", { hidden: true, "aria-label": "corners visited" });
  const shown = html("div");
  const element = html("div", {}, said, progress, shown);
  const clear = () => {
    number += 1;
    computing = false;
    said.textContent = "";
    progress.hidden = true;
    shown.replaceChildren();
    delete element.dataset.error;
  };
  const told = ({ certified: of, share, certificate }) => {
    if (of !== number) return;
    if (!certificate) {
      progress.value = share;
      return;
    }
    computing = false;
    progress.hidden = true;
    said.textContent = certificate.refused || inWords(certificate);
    if (certificate.refused) return;
    element.dataset.error = certificate.error;
    shown.replaceChildren(table(certificate), proof(certificate), pictures(certificate));
  };
  return { button, element, clear, told };
}

function inWords({ error, output, witness, at, sampled }) {
  const names = coordinates("x", at).join(", ");
  const where =
    at.length > 1 ? `(${names}) = ${tuple(witness)}` : `${names} = ${decimals(witness[0])}`;
  return `Certified worst error: ${bound(error)}, of output y${output + 1}, at ${where}. The largest error of ${SAMPLED} is ${decimals(sampled.error)}.`;
}

const SAMPLED = "20,000 random inputs";

function table({ at, error, output, witness, sampled, point }) {
  const row = (name, told, of) => {
    const cells = [told, `y${of.output + 1}`, ...of.witness.map(decimals)];
    const named = html("th", { scope: "row" }, name);
    return html("tr", {}, named, ...cells.map((cell) => html("td", {}, cell)));
  };
  const head = ["largest |ŷ − y|", "output", ...coordinates("x", at)];
  const columns = head.map((name) => html("th", { scope: "col" }, name));
  return html(
    "div",
    {
      class: "fn-table",
      tabindex: 0,
      role: "region",
      "aria-label": "Worst error, certified and sampled",
    },
    html(
      "table",
      {},
      html("thead", {}, html("tr", {}, html("td"), ...columns)),
      html(
        "tbody",
        {},
        row("certified", bound(error), { output, witness }),
        row(SAMPLED, decimals(sampled.error), sampled),
        row("p", decimals(point.error), point),
      ),
    ),
  );
}

/** What is proved, of which inputs, and how. */
function proof({ error, at, corners, kinks }) {
  const names = coordinates("x", at);
  const list = names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)}` : names[0];
  return html(
    "p",
    {},
    `No output of the transcoder is further than ${bound(error)} from the layer's, whatever ${list} are in [−1, 1], with every other coordinate 0. ` +
      `Between the ${kinks} planes on which a feature switches or a coordinate is 0 every error is linear, so it is largest at a corner of such a region: ` +
      `all ${corners.toLocaleString("en")} were visited, in float64. What was sampled is a lower bound only.`,
  );
}

function pictures(found) {
  const [bars, line] = [
    card("Outputs at p and at the witness"),
    card(`y${found.output + 1} on the way to the witness`),
  ];
  drawBars(bars.show, found);
  drawLine(line.show, found);
  return html("div", { class: "fn-cards" }, bars.element, line.element);
}

const [WIDTH, HEIGHT, LEFT, TOP, BOTTOM] = [360, 200, 38, 22, 34];

/** An axis that holds some values and 0: where a value is, and the lines of its grid. */
function axis(values) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const span = high - low || 1;
  const rough = 10 ** Math.floor(Math.log10(span));
  const step = [0.2, 0.5, 1, 2].map((s) => s * rough).find((s) => span / s <= 5);
  const y = (v) => TOP + ((high - v) / span) * (HEIGHT - TOP - BOTTOM);
  const grid = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) {
    const at = y(k * step);
    grid.push(
      svg("line", { x1: LEFT, x2: WIDTH, y1: at, y2: at, stroke: k ? "#ddd" : "#777" }),
      text(LEFT - 5, at + 4, Number((k * step).toPrecision(3)), {
        "text-anchor": "end",
        fill: "#444",
      }),
    );
  }
  return { y, grid };
}

/** Which look is the layer's, and which the transcoder's. */
function key(shape) {
  return Object.entries(LOOKS).flatMap(([name, look], k) => [
    shape(LEFT + 4 + 90 * k, look),
    text(LEFT + 30 + 90 * k, 10, name, { fill: COLOURS.ink }),
  ]);
}

/** Every output of p's coordinates, and the one that is wrong, at p and at the witness. */
function drawBars(show, { at, output, both }) {
  const shown = at.includes(output) ? at : [...at, output];
  const places = Object.entries({ p: both.p, "the witness": both.witness });
  const { y, grid } = axis(
    places.flatMap(([, o]) => shown.flatMap((k) => [o.layer[k], o.transcoder[k]])),
  );
  const [half, names] = [(WIDTH - LEFT) / 2, coordinates("y", shown)];
  const slot = (half - 16) / shown.length;
  const width = Math.min(16, slot / 2 - 2);
  const shapes = places.flatMap(([place, outputs], g) => {
    const start = LEFT + g * half + 8;
    return [
      ...shown.flatMap((k, n) => {
        const middle = start + (n + 0.5) * slot;
        const bar = (name, x) => {
          const value = outputs[name][k];
          const height = Math.abs(y(value) - y(0));
          return svg("rect", { x, y: Math.min(y(value), y(0)), width, height, ...LOOKS[name] });
        };
        return [
          bar("layer", middle - width - 1),
          bar("transcoder", middle + 1),
          text(middle, HEIGHT - BOTTOM + 14, names[n], { "text-anchor": "middle" }),
        ];
      }),
      text(start + half / 2 - 8, HEIGHT - 3, `at ${place}`, {
        "text-anchor": "middle",
        fill: COLOURS.ink,
      }),
    ];
  });
  const said = places.map(([place, o]) => {
    const each = shown.map(
      (k, n) => `${names[n]} ${decimals(o.transcoder[k])}, should be ${decimals(o.layer[k])}`,
    );
    return `At ${place}: ${each.join("; ")}.`;
  });
  const square = (x, look) => svg("rect", { x, y: 1, width: 20, height: 10, ...look });
  show(said.join(" "), WIDTH, HEIGHT, ...grid, ...key(square), ...shapes);
}

/** The output that is wrong, on the line from p, or from 0 if p is the witness. */
function drawLine(show, { line, output, fromP, error }) {
  const { y, grid } = axis(line.flatMap((e) => [e.layer, e.transcoder]));
  const x = (t) => LEFT + 6 + t * (WIDTH - LEFT - 12);
  const curve = (name) =>
    svg("polyline", {
      points: line.map((e) => `${x(e.t).toFixed(1)},${y(e[name]).toFixed(1)}`).join(" "),
      ...LOOKS[name],
      fill: "none",
      "stroke-width": 2,
    });
  const [start, last] = [fromP ? "p" : "0", line.at(-1)];
  const stroke = (from, look) =>
    svg("line", { x1: from, x2: from + 20, y1: 6, y2: 6, "stroke-width": 3, ...look });
  show(
    `y${output + 1} on the line from ${start} to the witness: the transcoder goes from ${decimals(line[0].transcoder)} to ${decimals(last.transcoder)}, the layer from ${decimals(line[0].layer)} to ${decimals(last.layer)}; at the witness they are ${decimals(error)} apart.`,
    WIDTH,
    HEIGHT,
    ...grid,
    ...key(stroke),
    svg("line", {
      x1: x(1),
      x2: x(1),
      y1: y(last.layer),
      y2: y(last.transcoder),
      stroke: COLOURS.series[3],
      "stroke-width": 3,
    }),
    curve("layer"),
    curve("transcoder"),
    text(x(0), HEIGHT - BOTTOM + 16, start, { "text-anchor": "start" }),
    text(x(1), HEIGHT - BOTTOM + 16, "the witness", { "text-anchor": "end" }),
  );
}
