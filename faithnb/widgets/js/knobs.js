// Knobs for the fields of an experiment; where one has no effect, it is off and says why.

import { digits, html } from "./elements.js";

/** Why knobs have no effect beside these fields, by name. */
export function withoutEffect(fields) {
  const { jacobian_matching: form, sparsity_penalty: penalty } = fields;
  const off = {};
  if (form === "none")
    off.jacobian_coefficient = off.kink = "No effect: no form of matching is chosen.";
  else if (form !== "plain")
    off.kink = `No effect: ${form} matching reads no derivative where a coordinate is 0.`;
  else if (fields.jacobian_coefficient === 0)
    off.kink = "No effect: the weight μ of matching is 0.";
  if (penalty === "none")
    off.sparsity_coefficient = off.tanh_scale = "No effect: no penalty is chosen.";
  else if (penalty !== "tanh") off.tanh_scale = `No effect: ${penalty} has no scale.`;
  else if (fields.sparsity_coefficient === 0)
    off.tanh_scale = "No effect: the weight λ of the penalty is 0.";
  if (fields.architecture !== "topk")
    off.k = `No effect: ${fields.architecture} keeps no fixed number of features.`;
  if (!fields.points.length) off.repeat_frac = "No effect: there is no point to repeat.";
  return off;
}

/** A slider or a choice. `changed(value)` hears of every turn; `put` shows a value, `allow` turns
 * the knob on, or off for a reason. */
export function knob({ name, label, choices, min, max, step }, changed) {
  const output = html("output", { "aria-live": "off" });
  const input = choices
    ? html(
        "select",
        { name },
        ...choices.map((choice) => html("option", { value: choice }, choice)),
      )
    : html("input", { name, type: "range", min, max, step });
  const read = () => (choices ? input.value : Number(input.value));
  const tell = (value) => {
    if (choices) return;
    output.textContent = digits(value);
    input.setAttribute("aria-valuetext", output.textContent); // also where the slider has no place for it
  };
  input.oninput = () => {
    tell(read());
    changed(read());
  };
  const element = html("label", { title: name }, html("span", {}, label), input, output);
  const put = (value) => {
    if (!choices) {
      input.min = Math.min(min, value);
      input.max = Math.max(max, value);
    }
    input.value = value;
    tell(value);
  };
  const allow = (reason) => {
    input.disabled = Boolean(reason);
    element.title = reason || name;
  };
  return { element, put, allow };
}
