// What pictures and pages are made of: elements, and colours on a scale.

/** An element with attributes, listeners (`onclick`) and children. */
export function html(tag, attributes = {}, ...children) {
  return furnish(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element[name] = value;
    else if (value !== null && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** A name and a list to choose from. */
export function choice(label, names, onchange) {
  const options = names.map((name) => html("option", { value: name }, name));
  const select = html("select", { name: label, onchange }, ...options);
  return { element: html("label", {}, html("span", {}, label), select), select };
}

/** A number to three digits, a whole one in full. */
export const digits = (value) =>
  `${Number.isInteger(value) ? value : Number(value.toPrecision(3))}`;

/** The colour of t in [0, 1] on a scale of equally spaced hexadecimal colours. */
export function colour(scale, t) {
  const at = Math.min(1, Math.max(0, t)) * (scale.length - 1);
  const k = Math.min(scale.length - 2, Math.floor(at));
  const channel = (hex, c) => parseInt(hex.slice(1 + 2 * c, 3 + 2 * c), 16);
  const mixed = [0, 1, 2].map((c) =>
    Math.round(channel(scale[k], c) * (k + 1 - at) + channel(scale[k + 1], c) * (at - k)),
  );
  return `rgb(${mixed.join()})`;
}
