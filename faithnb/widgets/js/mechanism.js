// Feel the mechanism: move the input, see what contributes in each transcoder and how it answers.

import { card, coordinates, jacobian, written } from "./drawing.js";
import { html } from "./elements.js";
import { contributingJacobian, contributions, encode, support } from "./measures.js";
import { METRICS } from "./constants.js";

const REACH = 1.2; // how far a coordinate can be moved
const ROWS = 6; // features shown at once; more than that many hardly ever contribute

export default {
  render({ model, el }) {
    const p = model.get("p");
    const at = support(p);
    const x = Array.from(p);
    const largest = Math.max(...at.map((k) => Math.abs(p[k])));
    const columns = model.get("transcoders").map(({ name, d, H, k, ...weights }) => {
      const net = {
        d,
        H,
        k,
        ...Object.fromEntries(Object.entries(weights).map(([of, v]) => [of, Float64Array.from(v)])),
      };
      const features = card("what each contributing feature writes");
      const slopes = card("Jacobian");
      const answer = html("p", { class: "fn-numbers" });
      const element = html(
        "div",
        { class: "fn-column" },
        html("p", { class: "fn-title" }, name),
        answer,
        features.element,
        slopes.element,
      );
      return { name, net, features, slopes, answer, element };
    });

    const sliders = at.map((k) =>
      slider(`x${k + 1}`, -REACH, REACH, (value) => {
        x[k] = value;
        show();
      }),
    );
    const ray = slider("t, along t · p", -REACH / largest, REACH / largest, (t) => {
      at.forEach((k) => (x[k] = t * p[k]));
      show();
    });
    const [pad, movePad] = plane(
      at.slice(0, 2).map((k) => `x${k + 1}`),
      (a, b) => {
        [x[at[0]], x[at[1]]] = [a, b];
        show();
      },
    );
    const button = (name, values) =>
      html(
        "button",
        {
          type: "button",
          onclick: () => {
            at.forEach((k, j) => (x[k] = values[j]));
            show();
          },
        },
        name,
      );
    const alone = at.map((_, j) => (j ? 0 : p[at[0]]));
    const missing = at.map((k, j) => (j ? p[k] : 0));

    function show() {
      at.forEach((k, j) => sliders[j].put(x[k]));
      const along =
        at.reduce((sum, k) => sum + x[k] * p[k], 0) / at.reduce((sum, k) => sum + p[k] ** 2, 0);
      ray.put(along);
      movePad(x[at[0]], x[at[1]]);
      for (const { name, net, features, slopes, answer } of columns) {
        const size = contributions(net, x);
        const h = encode(net, x);
        const found = [...size.keys()].filter((i) => size[i] > METRICS.contributes);
        found.sort((a, b) => size[b] - size[a]);
        const writes = (i) => at.map((k) => h[i] * net.W_dec[i * net.d + k]);
        const y = at.map((_, j) => found.reduce((sum, i) => sum + writes(i)[j], 0));
        const words = `${y.map((v) => v.toFixed(2)).join(", ")}; it should be ${at.map((k) => Math.abs(x[k]).toFixed(2)).join(", ")}`;
        answer.textContent = `writes ${words}`;
        written(
          features.show,
          found.map((i) => ({ name: `#${i}`, writes: writes(i) })),
          coordinates("y", at),
          ROWS,
          `${name}: ${found.length} features contribute${found
            .slice(0, ROWS)
            .map(
              (i) =>
                `; #${i} writes ${writes(i)
                  .map((v) => v.toFixed(2))
                  .join(", ")}`,
            )
            .join("")}.`,
        );
        jacobian(slopes.show, contributingJacobian(net, x, at), at, `${name}, Jacobian`);
      }
    }

    el.replaceChildren(
      html(
        "section",
        {
          class: "faithnb",
          "aria-label": "Move the input and see what contributes",
          "data-lm-suppress-shortcuts": true,
        },
        html(
          "div",
          { class: "fn-buttons" },
          button(
            "p",
            at.map((k) => p[k]),
          ),
          button("one coordinate missing", missing),
          button("one coordinate alone", alone),
        ),
        html(
          "div",
          { class: "fn-move" },
          at.length > 1 ? pad : "",
          html("div", {}, ray.element, ...sliders.map((s) => s.element)),
        ),
        html("div", { class: "fn-columns" }, ...columns.map((c) => c.element)),
      ),
    );
    show();
  },
};

function slider(name, min, max, moved) {
  const output = html("output", { "aria-live": "off" });
  const input = html("input", {
    type: "range",
    min,
    max,
    step: 0.01,
    oninput: () => moved(Number(input.value)),
  });
  const put = (value) => {
    if (Math.abs(Number(input.value) - value) > 0.004) input.value = value;
    output.textContent = value.toFixed(2).replace("-0.00", "0.00");
  };
  return { element: html("label", {}, html("span", {}, name), input, output), put };
}

/** A square to drag in, for the pointer; the sliders say and do the same for everybody. */
function plane([across, up], moved) {
  const knob = html("i");
  const square = html(
    "div",
    { class: "fn-pad", "aria-hidden": true, title: `drag: ${across} to the right, ${up} upwards` },
    html("span", { class: "fn-across" }, across),
    html("span", { class: "fn-up" }, up),
    knob,
  );
  const drag = (event) => {
    if (!event.buttons) return;
    const box = square.getBoundingClientRect();
    const value = (part) => Math.round(100 * REACH * Math.min(1, Math.max(-1, 2 * part - 1))) / 100;
    moved(
      value((event.clientX - box.left) / box.width),
      value(1 - (event.clientY - box.top) / box.height),
    );
  };
  square.onpointerdown = (event) => {
    square.setPointerCapture(event.pointerId);
    drag(event);
  };
  square.onpointermove = drag;
  const move = (a, b) => {
    knob.style.left = `${50 * (1 + a / REACH)}%`;
    knob.style.top = `${50 * (1 - b / REACH)}%`;
  };
  return [square, move];
}
