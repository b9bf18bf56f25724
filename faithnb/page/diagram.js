// The phase diagram computes itself: every cell a training, in as many workers as there are cores.

import { cells, html, legend } from "./drawing.js";
import { startWorker } from "./start.js";
import { COLOURS } from "./constants.js";

export default {
  render({ model, el }) {
    const diagram = new Diagram(model);
    el.replaceChildren(diagram.element);
    return () => diagram.stop();
  },
};

class Diagram {
  constructor(model) {
    this.model = model;
    this.across = model.get("repeat_frac");
    this.up = model.get("sparsity_coefficient");
    this.workers = [];
    this.found = new Map();
    this.panels = model.get("panels").map(({ name }, k) => cells(name, this.across, this.up, (i, j) => this.tell(k, i, j)));
    this.status = html("p", { class: "fn-status", role: "status" }, `Nothing is trained yet: ${this.panels.length * this.across.length * this.up.length} transcoders to go.`);
    this.told = html("p", { class: "fn-numbers", "aria-live": "polite" });
    this.bar = html("progress", { max: 1, value: 0, "aria-label": "trained" });
    this.button = html("button", { type: "button", class: "fn-primary", onclick: () => (this.workers.length ? this.stop() : this.start()) }, "train all");
    const number = (name, label, min, max, step) => html("label", {}, html("span", {}, label),
      html("input", { type: "range", name, min, max, step, value: this.model.get("experiment")[name], oninput: (e) => (e.target.nextSibling.textContent = e.target.value) }),
      html("output", {}, this.model.get("experiment")[name]));
    this.form = html("form", { class: "fn-knobs", onsubmit: () => false },
      number("density", "density", 0.05, 1, 0.05),
      html("label", {}, html("span", {}, "penalty"), html("select", { name: "sparsity_penalty" }, html("option", {}, "tanh"), html("option", {}, "l1"))),
      number("seed", "seed", 0, 999, 1));
    this.element = html("section", { class: "faithnb", "aria-label": "A phase diagram that the page trains" },
      this.form, html("div", { class: "fn-buttons" }, this.button, this.bar), this.status,
      html("div", { class: "fn-cards" }, ...this.panels.map((p) => p.element)), legend(), this.told);
  }

  start() {
    this.found.clear();
    const { density, sparsity_penalty, seed } = this.form.elements;
    const experiment = {
      ...this.model.get("experiment"), density: Number(density.value), sparsity_penalty: sparsity_penalty.value, seed: Number(seed.value),
    };
    const queue = [];
    this.model.get("panels").forEach(({ fields }, k) =>
      this.up.forEach((lambda, i) => this.across.forEach((r, j) => {
        this.panels[k].paint(i, j, "#fbfbfb");
        queue.push({ key: [k, i, j], fields: { ...fields, repeat_frac: r, sparsity_coefficient: lambda } });
      })));
    const all = queue.length;
    const began = performance.now();
    queue.reverse(); // the corner where it memorises first
    const n = Math.max(1, Math.min(8, (navigator.hardwareConcurrency || 2), all));
    this.workers = Array.from({ length: n }, () => {
      const worker = startWorker();
      const next = () => (queue.length ? worker.postMessage({ scan: { experiment, cells: [queue.shift()] } }) : null);
      worker.onerror = ({ message }) => { this.stop(); this.status.textContent = `The training stopped: ${message}.`; };
      worker.onmessage = ({ data: { cell: [k, i, j], ...found } }) => {
        this.found.set(`${k},${i},${j}`, found);
        this.panels[k].paint(i, j, COLOURS.states[found.state] || "#fbfbfb");
        this.bar.value = this.found.size / all;
        const seconds = ((performance.now() - began) / 1000).toFixed(0);
        this.status.textContent = `${this.found.size} of ${all} transcoders in ${seconds} s, ${n} at once.`;
        if (this.found.size === all) this.stop();
        else next();
      };
      next();
      return worker;
    });
    this.button.textContent = "stop";
  }

  stop() {
    this.workers.forEach((worker) => worker.terminate());
    this.workers = [];
    this.button.textContent = "train all";
  }

  tell(k, i, j) {
    const found = this.found.get(`${k},${i},${j}`);
    const where = `${this.model.get("panels")[k].name}, r = ${this.across[j].toPrecision(2)}, λ = ${this.up[i].toPrecision(2)}`;
    if (!found) this.told.textContent = `${where}: not trained.`;
    else if (!found.memorization) this.told.textContent = `${where}: diverged.`;
    else this.told.textContent = `${where}: ${found.state}; memorization ${found.memorization.total.toFixed(3)}, FVU ${found.fvu.toFixed(4)}, L0 ${found.l0.toFixed(2)}.`;
  }
}
