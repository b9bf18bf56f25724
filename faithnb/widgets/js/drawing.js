// Pictures in the style of the book's figures: same colours for the same thing, on white.

import { CIRCUITS, COLOURS, METRICS } from "./constants.js";
import { colour, html, svg } from "./elements.js";

/** A picture with a title, replaced by every call of its `show(label, width, height, ...shapes)`. */
export function card(title, wide = false) {
  const picture = html("div", {
    class: "fn-picture",
    role: "img",
    "aria-label": `${title}: not yet drawn`,
    tabindex: wide && "0", // wide ones scroll
  });
  const element = html(
    "figure",
    { class: wide ? "fn-card fn-wide" : "fn-card" },
    html("figcaption", {}, title),
    picture,
  );
  const show = (label, width, height, ...shapes) => {
    picture.setAttribute("aria-label", label);
    picture.replaceChildren(
      svg("svg", { viewBox: `0 -4 ${width} ${height + 4}`, "aria-hidden": true }, ...shapes),
    );
  };
  const wait = (words, width, height) =>
    show(
      `${words[0].toUpperCase()}${words.slice(1)} yet.`,
      width,
      height,
      note(words, width, height),
    );
  return { element, show, wait };
}

const note = (words, width, height) =>
  text(width / 2, height / 2, words, { "text-anchor": "middle", fill: "#595959" });
export const text = (x, y, words, attributes = {}) => svg("text", { x, y, ...attributes }, words);
const number = (value) => value.toFixed(2).replace("-0.00", "0.00");

/** Names of a point's coordinates, counted from 1 as in the note: x1, x2, … */
export const coordinates = (letter, at) => at.map((k) => `${letter}${k + 1}`);

/** What can be read on a colour: black or white, whichever contrasts more. */
function inkOn(background) {
  const [r, g, b] = background.match(/\d+/g).map((c) => ((Number(c) / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
}

/** A signed number in a coloured cell. */
function numbered(x, y, width, height, value) {
  const fill = colour(COLOURS.signed, value / 2.4 + 0.5);
  return svg(
    "g",
    { transform: `translate(${x},${y})` },
    svg("rect", { width: width - 1, height: height - 1, fill }),
    text(width / 2, height / 2 + 4, number(value), { "text-anchor": "middle", fill: inkOn(fill) }),
  );
}

/** A Jacobian on the coordinates `at`, with its numbers. */
export function jacobian(show, values, at, title) {
  const [size, left] = [46, 24];
  const rows = values.map((row) => row.map((v) => v.toFixed(2)).join(" "));
  show(
    `${title} row by row: ${rows.join("; ")}`,
    left + at.length * size,
    at.length * size + 20,
    ...values.flatMap((row, i) =>
      row.map((value, j) => numbered(left + j * size, i * size, size, size, value)),
    ),
    ...coordinates("y", at).map((name, i) => text(0, (i + 0.5) * size + 4, name)),
    ...coordinates("x", at).map((name, j) =>
      text(left + (j + 0.5) * size, at.length * size + 14, name, { "text-anchor": "middle" }),
    ),
  );
}

/** Circuits down, features across, in the map's order. */
export function map(show, { loadings, names, order }) {
  const [w, h, left] = [640, Math.max(3.2, 220 / names.length), 78];
  const step = (w - left) / order.length;
  const shapes = [
    svg("rect", { x: left, y: 0, width: w - left, height: h * names.length, fill: "#fbfbfb" }),
  ];
  names.forEach((name, k) => {
    order.forEach((i, column) => {
      if (loadings[k][i] > 0.03) {
        shapes.push(
          svg("rect", {
            x: left + column * step,
            y: k * h,
            width: step - 0.4,
            height: h - 0.4,
            fill: colour(COLOURS.loading, loadings[k][i]),
          }),
        );
      }
    });
    const point = name.startsWith("datapoint");
    const first = point || k === 0 || names[k - 1][5] !== name[5]; // of its sign
    if (first || h > 9) {
      shapes.push(
        text(left - 4, (k + 0.5) * h + 3.5, h > 9 || point ? name : `${name} …`, {
          "text-anchor": "end",
          fill: COLOURS.ink,
          "font-weight": point ? "bold" : "normal",
          "font-size": 10,
        }),
      );
    }
  });
  const loaded = names.filter((_, k) => loadings[k].some((v) => v > CIRCUITS.loaded)).length;
  show(
    `Circuit map: ${loaded} of ${names.length} circuits have a feature of their own.`,
    w,
    h * names.length + 4,
    ...shapes,
  );
}

/** Terms of the loss over steps, on a logarithmic axis. */
export function losses(show, history, steps) {
  const [w, h, left, bottom] = [360, 200, 44, 30];
  const terms = ["loss", "reconstruction", "sparsity", "jacobian"].filter((t) =>
    history.some((e) => e[t] > 0),
  );
  const values = terms.flatMap((t) => history.map((e) => e[t]).filter((v) => v > 0));
  if (!values.length) return show("No steps yet.", w, h, note("no steps yet", w, h));
  const low = Math.floor(Math.log10(Math.max(1e-6, Math.min(...values))));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
  const x = (step) => left + (step / steps) * (w - left - 8);
  const y = (value) =>
    8 + ((high - Math.log10(Math.max(value, 10 ** low))) / (high - low)) * (h - 8 - bottom);
  const shapes = [];
  for (let k = low; k <= high; k++) {
    shapes.push(
      svg("line", { x1: left, x2: w - 8, y1: y(10 ** k), y2: y(10 ** k), stroke: "#ddd" }),
    );
    shapes.push(text(left - 5, y(10 ** k) + 4, `1e${k}`, { "text-anchor": "end", fill: "#444" }));
  }
  for (const step of [0, steps / 2, steps]) {
    shapes.push(
      text(x(step), h - bottom + 14, Math.round(step), {
        "text-anchor": step ? (step === steps ? "end" : "middle") : "start",
        fill: "#444",
      }),
    );
  }
  shapes.push(
    text((left + w) / 2, h - 3, "training step", { "text-anchor": "middle", fill: COLOURS.ink }),
  );
  terms.forEach((t, k) => {
    const points = history
      .filter((e) => e[t] > 0)
      .map((e) => `${x(e.step).toFixed(1)},${y(e[t]).toFixed(1)}`);
    shapes.push(
      svg("polyline", {
        points: points.join(" "),
        fill: "none",
        stroke: COLOURS.terms[t],
        "stroke-width": 1.8,
      }),
    );
    shapes.push(
      svg("line", {
        x1: w - 24,
        x2: w - 10,
        y1: 14 + 13 * k,
        y2: 14 + 13 * k,
        stroke: COLOURS.terms[t],
        "stroke-width": 3,
      }),
    );
    shapes.push(text(w - 28, 18 + 13 * k, t, { "text-anchor": "end", fill: COLOURS.ink }));
  });
  const last = history[history.length - 1];
  return show(
    `Terms of the loss: ${terms.map((t) => `${t} ${last[t].toPrecision(2)}`).join(", ")}.`,
    w,
    h,
    ...shapes,
  );
}

/** How far a transcoder memorizes p: a bar up to a full datapoint feature, and the state. */
export function meter() {
  const bar = html("div", { class: "fn-bar" });
  const track = html(
    "div",
    {
      class: "fn-track",
      role: "meter",
      "aria-label": "memorization of p",
      "aria-valuemin": 0,
      "aria-valuemax": 1,
      "aria-valuenow": 0,
      "aria-valuetext": "not yet measured",
    },
    bar,
    ...["partial", "datapoint"].map((name) =>
      html("i", {
        style: `left: ${100 * METRICS[name]}%`,
        title: `from here on not ${name === "partial" ? "generalising" : "in part"}`,
      }),
    ),
  );
  const name = html("b", { class: "fn-state" });
  const value = html("span");
  const element = html(
    "div",
    { class: "fn-meter" },
    html("span", {}, "memorization of p "),
    value,
    track,
    name,
  );
  const show = (found) => {
    element.hidden = !found.state; // one coordinate alone cannot be memorized
    if (!found.state) return;
    const { total, full } = found.memorization || { total: 0, full: 1 };
    const share = Math.min(1, total / full);
    const fill = COLOURS.states[found.state] || COLOURS.grey;
    bar.style.cssText = `width: ${100 * share}%; background: ${fill}`;
    track.setAttribute("aria-valuenow", share.toFixed(3));
    value.textContent = found.memorization ? total.toFixed(3) : "–";
    track.setAttribute("aria-valuetext", `${value.textContent}, ${found.state}`);
    name.textContent = found.state;
    name.style.borderColor = fill;
  };
  return { element, show };
}

/** What each of at most `rows` features writes; blank rows keep the height. */
export function written(show, features, columnNames, rows, label) {
  const [w, h, left] = [46, 24, 48];
  const shapes = features
    .slice(0, rows)
    .flatMap(({ name, writes }, i) => [
      text(left - 6, (i + 0.5) * h + 4, name, { "text-anchor": "end", fill: "#595959" }),
      ...writes.map((value, j) => numbered(left + j * w, i * h, w, h, value)),
    ]);
  columnNames.forEach((name, j) =>
    shapes.push(text(left + (j + 0.5) * w, rows * h + 14, name, { "text-anchor": "middle" })),
  );
  show(label, left + columnNames.length * w, rows * h + 20, ...shapes);
}
