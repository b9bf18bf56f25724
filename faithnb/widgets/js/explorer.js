// Train it yourself: knobs, a training in a worker, and what becomes of p.

import { certified } from "./certified.js";
import { card, jacobian, losses, map, meter } from "./drawing.js";
import { digits, html } from "./elements.js";
import { knob, withoutEffect } from "./knobs.js";
import { support } from "./measures.js";
import { startWorker } from "./start.js";
import { METRICS } from "./constants.js";

const UNTRAINED = "not trained";

const RATES = {
  "as fast as it goes": Infinity,
  "1,000 steps a second": 1000,
  "200 steps a second": 200,
  "50 steps a second": 50,
};

export default {
  render({ model, el }) {
    const view = new Explorer(model);
    el.replaceChildren(view.element);
    return () => view.worker.terminate();
  },
};

class Explorer {
  constructor(model) {
    this.model = model;
    this.history = [];
    this.running = false;
    this.training = 0; // counted, so that nothing of one that was given up is shown
    this.learned = false; // the task, in this training
    this.weight = model.get("weight"); // of matching, when a form is chosen
    this.knobs = new Map();
    this.worker = startWorker({
      onmessage: ({ data }) => {
        if (data.training === this.training) this.told(data);
      },
      onstop: (words) => this.failed(words),
    });
    this.status = html("p", { class: "fn-status", role: "status" });
    this.numbers = html("p", { class: "fn-numbers" });
    this.meter = meter();
    this.certified = certified((number) => this.worker.postMessage({ certify: number }));
    this.loss = card("Terms of the loss");
    this.jacobian = card("Jacobian at p, of what contributes there");
    this.map = card("Which circuit each feature is", true);
    this.element = html(
      "section",
      { class: "faithnb", "aria-label": model.get("title"), "data-lm-suppress-shortcuts": true },
      html("p", { class: "fn-title" }, model.get("title")),
      this.presets(),
      this.controls(),
      this.buttons(),
      this.status,
      html("div", { class: "fn-result" }, this.meter.element, this.numbers),
      this.certified.element,
      html(
        "div",
        { class: "fn-cards" },
        this.loss.element,
        this.jacobian.element,
        this.map.element,
      ),
    );
    this.put(model.get("fields"));
    model.on("change:fields", () => {
      if (model.get("fields") !== this.settled) this.put(model.get("fields"));
    });
    model.on("msg:custom", (message) => this.answered(message));
    model.send({ asks: "whether a kernel is there" });
  }

  presets() {
    const buttons = this.model.get("presets").map(({ name, about, fields }) =>
      html(
        "button",
        {
          type: "button",
          title: about,
          onclick: () => {
            const start = this.model.get("start");
            const points = start.points.length ? start.points : this.model.get("usual").points;
            this.put({ ...start, points, ...fields });
            this.say(about);
            this.run();
          },
        },
        name,
      ),
    );
    return html("div", { class: "fn-presets", role: "group", "aria-label": "Stories" }, ...buttons);
  }

  controls() {
    const groups = this.model
      .get("knobs")
      .map(({ group, knobs }) =>
        html("fieldset", {}, html("legend", {}, group), ...knobs.map((one) => this.knob(one))),
      );
    return html("form", { class: "fn-knobs", onsubmit: () => false }, ...groups);
  }

  knob(described) {
    const { name, live } = described;
    const made = knob(described, (value) => this.changed(name, value, live));
    this.knobs.set(name, made);
    return made.element;
  }

  buttons() {
    const button = (name, onclick, attributes = {}) =>
      html("button", { type: "button", onclick, ...attributes }, name);
    this.train = button("train", () => (this.running ? this.pause() : this.run()), {
      class: "fn-primary",
    });
    this.rate = html(
      "select",
      { "aria-label": "speed", onchange: () => this.running && this.run() },
      ...Object.keys(RATES).map((name) => html("option", {}, name)),
    );
    this.torch = button("train with torch", () => this.withTorch(), {
      hidden: true,
      title: "in the kernel; the result is this widget's .trained",
    });
    this.yaml = html(
      "a",
      { class: "fn-link", download: "parameters.yaml", title: "for papermill -f parameters.yaml" },
      "parameters as YAML",
    );
    return html(
      "div",
      { class: "fn-buttons" },
      this.train,
      button("one step", () => this.steps(1)),
      button("50 steps", () => this.steps(50)),
      button("reset", () => this.put(this.fields)),
      this.rate,
      this.certified.button,
      this.torch,
      this.yaml,
    );
  }

  /** Take over fields and start from the beginning. */
  put(fields) {
    this.fields = { ...fields };
    for (const [name, { put }] of this.knobs) put(this.fields[name]);
    this.restart();
  }

  restart() {
    this.history = [];
    this.learned = false;
    this.training += 1;
    this.certified.clear();
    this.settle();
    this.working(false);
    this.status.textContent = "Not trained yet: press train.";
    this.worker.postMessage({ make: this.settled, training: this.training });
  }

  /** One knob: what a training can take over goes on, anything else begins anew, as does what comes
   * after its end. */
  changed(name, value, live) {
    this.fields[name] = value;
    const said = this.complete(name, value);
    if (live && !this.finished) {
      this.settle();
      this.worker.postMessage({ set: this.settled });
      if (said) this.status.textContent = said;
    } else {
      this.restart();
      if (said) this.status.textContent = `${said} ${this.status.textContent}`;
    }
  }

  /** What a choice needs beside it to have an effect, put there; in a sentence. */
  complete(name, value) {
    if (name === "jacobian_matching") return this.weigh(value);
    if (value !== "topk" || this.fields.k > 0) return "";
    this.fields.k = this.model.get("k");
    this.knobs.get("k").put(this.fields.k);
    return `TopK: k is now ${this.fields.k}.`;
  }

  /** A form of matching gets a weight with which it works, and no form has none; in a sentence. */
  weigh(form) {
    const before = this.fields.jacobian_coefficient;
    if (before) this.weight = before;
    if (form !== "none" && before) return "";
    const weight = form === "none" ? 0 : this.weight;
    this.fields.jacobian_coefficient = weight;
    this.knobs.get("jacobian_coefficient").put(weight);
    return form === "none"
      ? "Nothing is matched: the weight μ is 0."
      : `Form ${form}: the weight μ is now ${digits(weight)}.`;
  }

  /** The fields as an experiment that makes sense: nothing is set that has no effect. */
  settle() {
    const settled = { ...this.fields };
    if (settled.jacobian_matching === "none") settled.jacobian_coefficient = 0;
    if (settled.jacobian_matching !== "plain") settled.kink = "zero";
    if (settled.architecture !== "topk") settled.k = 0;
    const off = withoutEffect(settled);
    for (const [name, { allow }] of this.knobs) allow(off[name]);
    this.certified.button.hidden = !settled.points.length || settled.architecture !== "relu";
    this.settled = settled;
    this.model.set("fields", settled);
    this.model.save_changes();
    this.yaml.href = `data:text/yaml;charset=utf-8,${encodeURIComponent(this.asYaml())}`;
  }

  /** What the knobs say, and what else is not as usual. */
  asYaml() {
    const usual = this.model.get("usual");
    const unusual = ([name, value]) => JSON.stringify(value) !== JSON.stringify(usual[name]);
    return Object.entries(this.settled)
      .filter((field) => this.knobs.has(field[0]) || unusual(field))
      .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
      .join("");
  }

  run() {
    if (this.finished) this.restart();
    this.certified.clear();
    this.working(true);
    this.worker.postMessage({ run: RATES[this.rate.value] });
  }

  pause() {
    this.working(false);
    this.worker.postMessage({ pause: true });
  }

  steps(n) {
    if (this.finished) this.restart();
    this.certified.clear();
    this.working(false);
    this.worker.postMessage({ steps: n });
  }

  working(yes) {
    this.running = yes;
    this.finished = false;
    this.train.textContent = yes ? "pause" : "train";
    this.certified.button.disabled = yes;
  }

  say(words) {
    this.status.textContent = words;
    this.working(false);
  }

  failed(words) {
    this.certified.clear();
    this.say(words);
    this.finished = true; // to train on is to begin anew
  }

  /** By the worker, of the present training. */
  told(data) {
    if (data.error) this.failed(data.error);
    else if (data.certified) this.certified.told(data);
    else this.show(data);
  }

  /** What the worker, or the kernel, sees of a training. */
  show(found) {
    this.history.push(...found.history);
    losses(this.loss.show, this.history, this.settled.steps);
    const state = this.named(found);
    this.picture(found);
    this.meter.show(found.step ? { ...found, state } : { state: state && UNTRAINED });
    const of = `step ${found.step.toLocaleString("en")} of ${this.settled.steps.toLocaleString("en")}`;
    const measured = `FVU ${found.fvu.toFixed(4)} · L0 ${found.l0.toFixed(2)}`;
    this.numbers.textContent = found.step ? `${of} · ${measured}` : of;
    this.element.dataset.step = found.step;
    this.element.dataset.state = found.step && state ? state : "";
    if (found.done) this.ended(found, state);
  }

  /** The state at p; before a training has learned the task, it cannot have lost it. */
  named({ state, lost, done }) {
    if (!lost) this.learned = true;
    return state && lost && !done && !this.learned ? "not learned yet" : state;
  }

  /** Jacobian and circuits; random weights are no result. */
  picture(found) {
    const { points } = this.settled;
    this.jacobian.element.hidden = !found.jacobian;
    if (!found.step) {
      this.jacobian.wait(UNTRAINED, 160, 160);
      this.map.wait(UNTRAINED, 640, 224);
      return;
    }
    map(this.map.show, found.map);
    if (found.jacobian)
      jacobian(this.jacobian.show, found.jacobian, support(points[0]), "Jacobian at p,");
  }

  ended({ lost }, state) {
    this.working(false);
    this.finished = true;
    if (this.torch.disabled) return;
    if (lost)
      this.status.textContent = `Trained, and it lost the task: its FVU is not below ${METRICS.lost}.`;
    else this.status.textContent = `Trained. ${state ? `At p: ${state}.` : ""}`;
  }

  withTorch() {
    this.pause();
    this.torch.disabled = true;
    this.status.textContent = "Training with torch in the kernel …";
    this.model.send({ train: true });
  }

  answered(message) {
    if (message.kernel) this.torch.hidden = false;
    if (message.refused || message.trained) this.torch.disabled = false;
    if (message.refused) this.say(message.refused);
    if (message.trained) {
      this.put(message.fields); // knobs may have been turned since
      this.worker.postMessage({ given: message.trained });
    }
  }
}
