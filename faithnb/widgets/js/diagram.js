// The phase diagram computes itself: every cell a training, in as many workers as there are cores.

import { cells, legend } from "./cells.js";
import { digits, html } from "./elements.js";
import { startWorker } from "./start.js";
import { COLOURS } from "./constants.js";

const BLANK = "#fbfbfb";

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
    this.panels = model.get("panels").map(({ name }, k) =>
      cells(
        name,
        this.across,
        this.up,
        (i, j) => this.tell(k, i, j),
        (words) => (this.told.textContent = words),
      ),
    );
    this.all = this.panels.length * this.across.length * this.up.length;
    this.status = html("p", { class: "fn-status", role: "status" });
    this.told = html("p", { class: "fn-numbers", "aria-live": "polite" });
    this.bar = html("progress", { max: 1, value: 0, "aria-label": "trained" });
    this.button = html(
      "button",
      {
        type: "button",
        class: "fn-primary",
        onclick: () => (this.workers.length ? this.halt() : this.start()),
      },
      "train all",
    );
    this.fields = { ...model.get("experiment") };
    const changes = (name, value) => {
      this.fields[name] = value;
      this.clear();
    };
    const number = (name, label, min, max, step) => {
      const output = html("output", { "aria-live": "off" }, digits(this.fields[name]));
      const oninput = ({ target }) => {
        output.textContent = digits(Number(target.value));
        changes(name, Number(target.value));
      };
      return html(
        "label",
        {},
        html("span", {}, label),
        html("input", { type: "range", name, min, max, step, value: this.fields[name], oninput }),
        output,
      );
    };
    const penalties = ["tanh", "l1"].map((name) =>
      html("option", { selected: name === this.fields.sparsity_penalty }, name),
    );
    this.form = html(
      "form",
      { class: "fn-knobs", onsubmit: () => false },
      number("density", "density", 0.05, 1, 0.05),
      html(
        "label",
        {},
        html("span", {}, "penalty"),
        html(
          "select",
          {
            name: "sparsity_penalty",
            oninput: ({ target }) => changes("sparsity_penalty", target.value),
          },
          ...penalties,
        ),
      ),
      number("seed", "seed", 0, 999, 1),
    );
    this.element = html(
      "section",
      {
        class: "faithnb",
        "aria-label": "A phase diagram that the page trains",
        "data-lm-suppress-shortcuts": true,
      },
      this.form,
      html("div", { class: "fn-buttons" }, this.button, this.bar),
      this.status,
      html("div", { class: "fn-cards" }, ...this.panels.map((p) => p.element)),
      legend({ diverged: COLOURS.ink }),
      this.told,
    );
    this.clear();
  }

  /** No cell is trained: what is shown belongs to the settings beside it. */
  clear() {
    this.stop();
    this.found.clear();
    this.bar.value = 0;
    this.panels.forEach((panel) =>
      this.up.forEach((_, i) => this.across.forEach((_, j) => panel.paint(i, j, BLANK))),
    );
    this.status.textContent = `Nothing is trained yet: ${this.all} transcoders to go.`;
    this.told.textContent = "";
  }

  start() {
    this.clear();
    const queue = this.queue();
    const experiment = { ...this.fields };
    const began = performance.now();
    const n = Math.max(1, Math.min(8, navigator.hardwareConcurrency || 2, this.all));
    this.button.textContent = "stop";
    this.status.textContent = `Training ${this.all} transcoders, ${n} at once.`;
    this.workers = Array.from({ length: n }, () => {
      const next = () =>
        queue.length ? worker.postMessage({ scan: { experiment, cells: [queue.shift()] } }) : null;
      const worker = startWorker({
        onstop: (words) => {
          this.stop();
          this.status.textContent = words;
        },
        onmessage: ({
          data: {
            cell: [k, i, j],
            ...found
          },
        }) => {
          this.found.set(`${k},${i},${j}`, found);
          this.panels[k].paint(
            i,
            j,
            found.memorization ? COLOURS.states[found.state] : COLOURS.ink,
          );
          this.bar.value = this.found.size / this.all;
          const seconds = ((performance.now() - began) / 1000).toFixed(0);
          this.status.textContent = `${this.found.size} of ${this.all} transcoders in ${seconds} s, ${n} at once.`;
          if (this.found.size === this.all) this.stop();
          else next();
        },
      });
      next();
      return worker;
    });
  }

  /** Cells from the diagonal outwards, on which the border lies, of all panels by turns. */
  queue() {
    const panels = this.model.get("panels");
    const queue = this.up.flatMap((lambda, i) =>
      this.across.flatMap((r, j) =>
        panels.map(({ fields }, k) => ({
          key: [k, i, j],
          fields: { ...fields, repeat_frac: r, sparsity_coefficient: lambda },
        })),
      ),
    );
    const [m, n] = [this.up.length, this.across.length];
    const off = ({ key: [, i, j] }) => Math.abs((i + 0.5) / m + (j + 0.5) / n - 1);
    return queue.sort((a, b) => off(a) - off(b));
  }

  halt() {
    this.stop();
    this.status.textContent = `Stopped: ${this.found.size} of ${this.all} transcoders are trained.`;
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
    else
      this.told.textContent = `${where}: ${found.state}; memorization ${found.memorization.total.toFixed(3)}, FVU ${found.fvu.toFixed(4)}, L0 ${found.l0.toFixed(2)}.`;
  }
}
