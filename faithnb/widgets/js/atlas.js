// The book's own phase diagram as a map: choose a cell and look inside its transcoder.

import { card, cells, jacobian, map, meter } from "./drawing.js";
import { colour, html } from "./elements.js";
import {
  circuitMap,
  contributingJacobian,
  evaluationSample,
  memorization,
  state,
  support,
} from "./measures.js";
import { COLOURS } from "./constants.js";

export default {
  async render({ model, el }) {
    const atlas = new Atlas(model);
    el.replaceChildren(atlas.element);
    await atlas.open();
  },
};

/** Weights of all transcoders: 16-bit integers, compressed, with a scale for each transcoder. */
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int16Array(await new Response(plain).arrayBuffer());
}

/** Where among rising values one is most like this: the cell stays when the scan changes. */
function nearest(values, value) {
  if (value === Infinity) return values.length - 1;
  const off = values.map((v) => Math.abs(v - value));
  return off.indexOf(Math.min(...off));
}

class Atlas {
  constructor(model) {
    this.scans = model.get("scans");
    this.packed = model.get("weights");
    this.p = model.get("p");
    this.at = support(this.p);
    this.choice = html(
      "select",
      { name: "scan", onchange: () => this.chooseScan() },
      ...this.scans.map(({ name }, k) => html("option", { value: k }, name)),
    );
    this.where = html("p", { class: "fn-numbers", "aria-live": "polite" });
    this.place = html("div", { class: "fn-place" });
    this.meter = meter();
    this.seeds = html("div", {
      class: "fn-table",
      tabindex: 0,
      role: "region",
      "aria-label": "Every seed of this cell",
    });
    this.jacobian = card("Jacobian at p, of what contributes there");
    this.map = card("Which circuit each feature is", true);
    this.element = html(
      "section",
      {
        class: "faithnb",
        "aria-label": "Atlas of the phase diagram",
        "data-lm-suppress-shortcuts": true,
      },
      html(
        "div",
        { class: "fn-knobs" },
        html("label", {}, html("span", {}, "which scan"), this.choice),
      ),
      html("div", { class: "fn-cards" }, this.place, this.jacobian.element),
      this.where,
      this.meter.element,
      this.seeds,
      html("div", { class: "fn-cards" }, this.map.element),
    );
  }

  async open() {
    try {
      this.weights = await unpack(this.packed);
    } catch (error) {
      this.where.textContent = `This browser cannot open the atlas: ${error.message}.`;
      return;
    }
    this.chooseScan();
  }

  chooseScan() {
    const scan = this.scans[this.choice.value];
    const grid = cells(
      `Share of seeds that memorise: ${scan.name}`,
      scan.repeat_frac,
      scan.sparsity_coefficient,
      (i, j) => this.choose(scan, i, j),
    );
    const share = (states) =>
      states.filter((s) => s === "datapoint" || s === "pair").length / states.length;
    scan.states.forEach((row, i) =>
      row.forEach((states, j) => grid.paint(i, j, colour(COLOURS.share, share(states)))),
    );
    const scale = `linear-gradient(to right, ${COLOURS.share.join()})`;
    grid.element.append(
      html(
        "p",
        { class: "fn-scale" },
        "no seed ",
        html("i", { style: `background: ${scale}` }),
        " all seeds memorise",
      ),
    );
    this.place.replaceChildren(grid.element);
    const { sparsity = Infinity, repeats = Infinity } = this.cell || {};
    grid.choose(nearest(scan.sparsity_coefficient, sparsity), nearest(scan.repeat_frac, repeats));
  }

  /** The transcoder of a cell's first seed, from the packed weights. */
  network(scan, i, j) {
    const { d, H } = scan;
    const size = 2 * d * H + H;
    const n = scan.first + i * scan.repeat_frac.length + j;
    const scale = scan.scales[i][j] / 32767;
    const all = Float64Array.from(
      this.weights.subarray(n * size, (n + 1) * size),
      (v) => v * scale,
    );
    return {
      d,
      H,
      W_enc: all.subarray(0, d * H),
      b_enc: all.subarray(d * H, d * H + H),
      W_dec: all.subarray(d * H + H),
    };
  }

  choose(scan, i, j) {
    this.cell = { sparsity: scan.sparsity_coefficient[i], repeats: scan.repeat_frac[j] };
    const net = this.network(scan, i, j);
    const sample = evaluationSample(net.d, scan.density, 256);
    map(this.map.show, circuitMap(net, [this.p], sample));
    jacobian(
      this.jacobian.show,
      contributingJacobian(net, this.p, this.at),
      this.at,
      "Jacobian at p,",
    );
    this.meter.show({ memorization: memorization(net, this.p), state: state(net, this.p) });
    const cell = `r = ${scan.repeat_frac[j].toPrecision(2)}, λ = ${scan.sparsity_coefficient[i].toPrecision(2)}`;
    this.where.textContent = `${scan.name}, ${cell}. Drawn: seed ${scan.seeds[0]}, the first.`;
    this.element.dataset.cell = cell;
    const head = html(
      "tr",
      {},
      ...["seed", "at p", ...scan.measures.map(({ label }) => label)].map((name) =>
        html("th", {}, name),
      ),
    );
    const rows = scan.seeds.map((seed, s) => {
      const found = scan.states[i][j][s];
      return html(
        "tr",
        {},
        html("td", {}, seed),
        html(
          "td",
          {},
          html("i", { style: `background: ${COLOURS.states[found] || "transparent"}` }),
          found || "diverged",
        ),
        ...scan.measures.map(({ values }) =>
          html("td", {}, values[i][j][s] === null ? "–" : values[i][j][s].toFixed(3)),
        ),
      );
    });
    this.seeds.replaceChildren(
      html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)),
    );
  }
}
