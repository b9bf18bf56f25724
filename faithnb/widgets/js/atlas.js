// The book's own phase diagram as a map: choose a cell and look inside its transcoder.

import { cells, nearest } from "./cells.js";
import { card, jacobian, map, meter } from "./drawing.js";
import { colour, digits, html } from "./elements.js";
import {
  LOST,
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
    const follow = () => atlas.follow();
    window.addEventListener("hashchange", follow);
    await atlas.open();
    return () => window.removeEventListener("hashchange", follow);
  },
};

/** Weights of all transcoders: 16-bit integers, compressed, with a scale for each transcoder. */
async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int16Array(await new Response(plain).arrayBuffer());
}

const BORDER = { repeats: 0.1, sparsity: 0.1 }; // near where memorizing begins: the first cell shown

/** The cell and scan that an address names after its # or ?, `r=0.1&lambda=0.1`; null if it names none. */
function linked(part) {
  const says = new URLSearchParams(part.slice(1));
  const [repeats, sparsity] = ["r", "lambda"].map((name) => parseFloat(says.get(name)));
  if (!(repeats >= 0 && sparsity >= 0)) return null;
  return { cell: { repeats, sparsity }, scan: Number(says.get("scan") || 1) - 1 };
}

/** What is said of each seed of a cell. */
function named(scan, i, j) {
  return scan.states[i][j].map((there, s) => {
    if (!there) return "diverged";
    return scan.lost[i][j][s] ? LOST : there;
  });
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
    this.link = html(
      "a",
      { class: "fn-link", title: "an address that opens the atlas here" },
      "link to this cell",
    );
    this.cell = BORDER;
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
      this.link,
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
    if (!this.follow()) this.chooseScan();
    this.opened = true;
  }

  /** Go where the page's address says; whether it says so. */
  follow() {
    const to = linked(window.location.hash) ?? linked(window.location.search);
    if (!to) return false;
    if (to.scan in this.scans) this.choice.value = to.scan;
    this.cell = to.cell;
    this.chooseScan();
    this.grid.picture.focus();
    return true;
  }

  /** The address names the cell that is shown, once the reader stays there. */
  name() {
    const { repeats, sparsity } = this.cell;
    const scan = Number(this.choice.value) ? `&scan=${Number(this.choice.value) + 1}` : "";
    const hash = `#r=${digits(repeats)}&lambda=${digits(sparsity)}${scan}`;
    this.link.href = hash;
    this.link.hidden = Boolean(document.getElementById("jupyter-config-data")); // a notebook's address is its own
    clearTimeout(this.naming);
    if (!this.opened || this.link.hidden) return;
    this.naming = setTimeout(() => window.history.replaceState(null, "", hash), 250);
  }

  chooseScan() {
    const scan = this.scans[this.choice.value];
    const grid = cells(
      `Share of seeds that memorize and do the task: ${scan.name}`,
      scan.repeat_frac,
      scan.sparsity_coefficient,
      (i, j) => this.choose(scan, i, j),
      (words) => (this.where.textContent = `${this.said} ${words}`),
    );
    const share = (states, ...which) =>
      states.filter((s) => which.includes(s)).length / states.length;
    scan.states.forEach((row, i) =>
      row.forEach((_, j) => {
        const states = named(scan, i, j);
        grid.paint(i, j, colour(COLOURS.share, share(states, "datapoint", "pair")));
        const lost = share(states, LOST, "diverged");
        if (lost) grid.cover(i, j, lost, COLOURS.states[LOST]);
      }),
    );
    const scale = `linear-gradient(to right, ${COLOURS.share.join()})`;
    grid.element.append(
      html(
        "p",
        { class: "fn-scale" },
        "no seed ",
        html("i", { style: `background: ${scale}` }),
        " all seeds memorize and do the task, ",
        html("i", { class: "fn-lost", style: `background: ${COLOURS.states[LOST]}` }),
        " from below: the share that lost the task",
      ),
    );
    this.place.replaceChildren(grid.element);
    this.grid = grid;
    const { sparsity, repeats } = this.cell;
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
    const states = named(scan, i, j);
    const first = states[0] === LOST ? LOST : state(net, this.p);
    this.meter.show({ memorization: memorization(net, this.p), state: first });
    const cell = `r = ${scan.repeat_frac[j].toPrecision(2)}, λ = ${scan.sparsity_coefficient[i].toPrecision(2)}`;
    this.said = `${scan.name}, ${cell}. Drawn: seed ${scan.seeds[0]}, the first.`;
    this.where.textContent = this.said;
    this.element.dataset.cell = cell;
    this.name();
    const head = html(
      "tr",
      {},
      ...["seed", "at p", ...scan.measures.map(({ label }) => label)].map((name) =>
        html("th", {}, name),
      ),
    );
    const rows = scan.seeds.map((seed, s) => {
      const found = states[s];
      return html(
        "tr",
        {},
        html("td", {}, seed),
        html(
          "td",
          {},
          html("i", { style: `background: ${COLOURS.states[found] || "transparent"}` }),
          found,
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
