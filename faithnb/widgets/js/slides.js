// A slider through pictures that were made when the page was built: each replaces what stands there.

import { html } from "./elements.js";

/** `names` of the positions, `places` by selector with the pictures of each, `said` of each. */
export default {
  render({ model, el }) {
    const [label, names, said] = ["label", "names", "said"].map((key) => model.get(key));
    const places = Object.entries(model.get("places")).map(([selector, pictures]) => [
      el.querySelector(selector),
      pictures,
    ]);
    const output = html("output", {});
    const input = html("input", {
      type: "range",
      min: 0,
      max: names.length - 1,
      step: 1,
      value: model.get("start"),
      oninput: () => show(Number(input.value)),
    });
    const status = html("p", { class: "fn-small", "aria-live": "polite" });
    const show = (k) => {
      for (const [place, pictures] of places) place.innerHTML = pictures[k];
      output.textContent = names[k];
      status.textContent = said[k];
      input.setAttribute("aria-valuetext", names[k]);
    };
    el.querySelector(".fn-control").append(
      html("label", { class: "fn-slider" }, html("span", {}, label), input, output),
      status,
    );
    show(Number(input.value));
  },
};
