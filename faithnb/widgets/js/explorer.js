// Train it yourself: knobs, a training in a worker, and what becomes of p.

import { certified } from "./certified.js";
import { card, jacobian, losses, map, meter } from "./drawing.js";
import { html } from "./elements.js";
import { support } from "./measures.js";
import { startWorker } from "./start.js";

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
        html("fieldset", {}, html("legend", {}, group), ...knobs.map((knob) => this.knob(knob))),
      );
    return html("form", { class: "fn-knobs", onsubmit: () => false }, ...groups);
  }

  knob({ name, label, choices, min, max, step, live }) {
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
      output.textContent = Number(value.toPrecision(6));
      input.setAttribute("aria-valuetext", output.textContent); // also where the slider has no place for it
    };
    input.oninput = () => {
      tell(read());
      this.changed(name, read(), live);
    };
    this.knobs.set(name, {
      put: (value) => {
        if (!choices) {
          input.min = Math.min(min, value);
          input.max = Math.max(max, value);
        }
        input.value = value;
        tell(value);
      },
      allow: (yes) => (input.disabled = !yes),
    });
    return html("label", { title: name }, html("span", {}, label), input, output);
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
    for (const [name, knob] of this.knobs) knob.put(this.fields[name]);
    this.restart();
  }

  restart() {
    this.history = [];
    this.training += 1;
    this.certified.clear();
    this.settle();
    this.working(false);
    this.worker.postMessage({ make: this.settled, training: this.training });
  }

  /** One knob: what training can take over goes on, anything else begins anew. */
  changed(name, value, live) {
    this.fields[name] = value;
    if (live) {
      this.settle();
      this.worker.postMessage({ set: this.settled });
    } else {
      this.restart();
    }
  }

  /** The fields as an experiment that makes sense: nothing is set that has no effect. */
  settle() {
    const matching = this.fields.jacobian_matching;
    const settled = { ...this.fields };
    if (matching === "none") settled.jacobian_coefficient = 0;
    if (matching === "none" || matching === "finite") settled.kink = "zero";
    this.knobs.get("jacobian_coefficient").allow(matching !== "none");
    this.knobs.get("kink").allow(matching === "plain" || matching === "smoothed");
    this.knobs.get("tanh_scale").allow(this.fields.sparsity_penalty === "tanh");
    this.certified.button.hidden = !settled.points.length;
    this.settled = settled;
    this.model.set("fields", settled);
    this.model.save_changes();
    const usual = this.model.get("usual");
    const said = Object.keys(settled).filter(
      (name) =>
        this.knobs.has(name) || JSON.stringify(settled[name]) !== JSON.stringify(usual[name]),
    );
    const lines = said.map((name) => `${name}: ${JSON.stringify(settled[name])}\n`);
    this.yaml.href = `data:text/yaml;charset=utf-8,${encodeURIComponent(lines.join(""))}`;
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
    map(this.map.show, found.map);
    this.meter.show(found);
    this.jacobian.element.hidden = !found.jacobian;
    if (found.jacobian) {
      jacobian(
        this.jacobian.show,
        found.jacobian,
        support(this.settled.points[0]),
        "Jacobian at p,",
      );
    }
    this.numbers.textContent = `step ${found.step.toLocaleString("en")} of ${this.settled.steps.toLocaleString("en")} · FVU ${found.fvu.toFixed(4)} · L0 ${found.l0.toFixed(2)}`;
    this.element.dataset.step = found.step;
    this.element.dataset.state = found.state || "";
    if (found.done) {
      this.working(false);
      this.finished = true;
      if (!this.torch.disabled)
        this.status.textContent = `Trained. ${found.state ? `At p: ${found.state}.` : ""}`;
    }
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
