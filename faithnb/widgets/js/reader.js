// Windows of text: point at a token, see which features act there, replace it, see what follows.

import { behind, consequences } from "./consequences.js";
import { choice, html } from "./elements.js";
import { unpack } from "./packed.js";
import { shown } from "./words.js";

export default {
  async render({ model, el }) {
    const place = html("section", {
      class: "faithnb",
      "aria-label": "Read along with a transcoder",
      "data-lm-suppress-shortcuts": true,
    });
    el.replaceChildren(place);
    try {
      new Reader(place, await unpack(model.get("packed")));
    } catch (error) {
      place.textContent = `This browser cannot open the windows: ${error.message}.`;
    }
  },
};

/** A token as it can be seen: with signs for what is only white. */
const visible = (token) =>
  token
    .replaceAll("\n", "↵")
    .replaceAll("\t", "⇥")
    .replace(/ {3,}/g, (white) => `␣×${white.length}`)
    .replace(/^ +$/, (white) => "␣".repeat(white.length)) || "∅";
const quoted = (token) => `“${visible(token)}”`;

class Reader {
  constructor(place, windows) {
    this.windows = windows;
    this.window = choice(
      "window",
      windows.map(({ title }) => title),
      () => this.open(),
    );
    this.transcoder = choice("transcoder", [], () => this.show());
    this.tokens = html("div", {
      class: "fn-tokens",
      role: "group",
      "aria-label": "Tokens of the window. Arrow keys go from one to the next.",
      onkeydown: (event) => this.walk(event),
      onpointerleave: () => this.point(this.at),
    });
    this.said = html("p", { class: "fn-status", "aria-live": "polite" });
    this.button = html("button", { class: "fn-primary", onclick: () => this.replace() });
    this.features = scrolling("Features at the token");
    this.follows = html("div", { class: "fn-follows" });
    place.append(
      html("div", { class: "fn-knobs" }, this.window.element, this.transcoder.element),
      html("p", {}, "Point at a token, or go along with the arrow keys; a press stays there."),
      this.tokens,
      this.said,
      this.features,
      html("p", { class: "fn-buttons" }, this.button),
      this.follows,
    );
    this.window.element.hidden = windows.length < 2;
    this.open();
  }

  get page() {
    return this.windows[this.window.select.selectedIndex];
  }

  get reading() {
    return this.page.transcoders[this.transcoder.select.selectedIndex];
  }

  /** Another window: its first token that can be replaced, behind position 0 if there is one. */
  open() {
    const { transcoders, replacements, tokens } = this.page;
    const { select, element } = this.transcoder;
    const kept = Math.max(0, select.selectedIndex);
    select.replaceChildren(...transcoders.map(({ name }) => html("option", { value: name }, name)));
    select.selectedIndex = Math.min(kept, transcoders.length - 1);
    element.hidden = transcoders.length < 2;
    this.at = Math.max(
      0,
      replacements.findIndex((r, k) => k > 0 && r !== null),
    );
    [this.pointed, this.replaced, this.marked] = [this.at, null, null];
    this.buttons = tokens.map((_, k) =>
      html("button", {
        type: "button",
        title: `token ${k}`,
        onclick: () => this.choose(k),
        onpointerenter: ({ pointerType }) => pointerType === "mouse" && this.point(k),
      }),
    );
    this.tokens.replaceChildren(...this.buttons);
    this.show();
  }

  walk(event) {
    const last = this.page.tokens.length - 1;
    const to = {
      ArrowLeft: Math.max(0, this.at - 1),
      ArrowRight: Math.min(last, this.at + 1),
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(to);
    this.buttons[to].focus();
  }

  choose(k) {
    this.at = k;
    this.point(k);
  }

  /** The pointer passes a token: it is shown as long as it is there. */
  point(k) {
    this.pointed = k;
    this.show();
  }

  replace() {
    this.replaced = this.replaced === this.at ? null : this.at;
    this.show();
  }

  mark(feature) {
    this.marked = this.marked === feature ? null : feature;
    this.show();
    this.features.querySelector("[aria-pressed=true]")?.focus();
  }

  show() {
    this.showTokens();
    this.showFeatures();
    this.showReplacing();
  }

  showTokens() {
    const { tokens, replacements, output, change } = this.page;
    const changes = this.replaced === null ? [] : change[this.replaced];
    this.buttons.forEach((button, k) => {
      const share = Math.min(1, (changes[k - this.replaced] ?? 0) / (output[k] || 1));
      const old = k === this.replaced ? html("del", {}, visible(tokens[k])) : visible(tokens[k]);
      const now = k === this.replaced ? [html("ins", {}, visible(replacements[k]))] : [];
      const bar = html("i", { style: `width: ${Math.round(100 * share)}%` });
      button.replaceChildren(old, ...now, bar);
      button.tabIndex = k === this.at ? 0 : -1;
      button.setAttribute("aria-pressed", k === this.at);
      const found = this.marked !== null && this.reading.features[k].includes(this.marked);
      button.classList.toggle("fn-marked", found);
      button.classList.toggle("fn-pointed", k === this.pointed);
    });
  }

  /** The strongest features at the token that is pointed at; a press marks where else they act. */
  showFeatures() {
    const { tokens, output } = this.page;
    const { features, contributions, n_active, output_error } = this.reading;
    const k = this.pointed;
    this.said.textContent = `Token ${k}, ${quoted(tokens[k])}: ${n_active[k]} features contribute. The layer's output has norm ${shown(output[k])}, the transcoder's a relative squared error of ${shown(output_error[k])}.`;
    const found = features[k].filter((feature) => feature >= 0);
    const largest = contributions[k][0] || 1;
    const rows = found.map((feature, j) => {
      const size = contributions[k][j];
      const places = features.filter((at) => at.includes(feature)).length;
      const button = html(
        "button",
        {
          class: "fn-link",
          "aria-pressed": `${feature === this.marked}`,
          onclick: () => this.mark(feature),
        },
        `#${feature}`,
      );
      const bar = html("i", { class: "fn-size", style: `width: ${(4 * size) / largest}rem` });
      return html(
        "tr",
        {},
        html("td", {}, button),
        html("td", {}, bar, shown(size)),
        html("td", {}, `${places} of ${tokens.length}`),
      );
    });
    const head = ["feature", "contribution", "among the strongest at"];
    this.features.replaceChildren(table(head, rows));
    if (!found.length) this.features.textContent = "No feature contributes here.";
  }

  showReplacing() {
    const { tokens, replacements } = this.page;
    const now = replacements[this.at];
    const undone = this.replaced === this.at;
    this.button.disabled = now === null;
    this.button.textContent =
      now === null
        ? `No replacement for ${quoted(tokens[this.at])}`
        : undone
          ? `Put ${quoted(tokens[this.at])} back`
          : `Replace ${quoted(tokens[this.at])} by ${quoted(now)}`;
    this.follows.hidden = this.replaced === null;
    if (this.replaced === null) return this.follows.replaceChildren();
    const [from, to] = [tokens[this.replaced], replacements[this.replaced]].map(quoted);
    const here = `at token ${this.pointed}, ${quoted(tokens[this.pointed])}`;
    const all = scrolling("What the layer and the transcoders do");
    all.append(this.changes());
    return this.follows.replaceChildren(
      consequences(
        this.page,
        this.reading,
        this.replaced,
        this.pointed,
        `${from} replaced by ${to} at token ${this.replaced}`,
      ),
      html(
        "p",
        {},
        `Below, changes ${here}, and errors at the replaced token and all behind it together. “Before” predicts by the features that were active before. Errors are squared and relative to the layer's change; 1 is that of expecting no change. The bar under a token is the layer's change relative to its output there.`,
      ),
      all,
    );
  }

  /** Every transcoder at the token that is pointed at, and from the replaced token on. */
  changes() {
    const { change, transcoders } = this.page;
    const [at, j] = [this.replaced, this.pointed - this.replaced];
    const head = [
      "",
      "change",
      "error",
      "before",
      "its error",
      "behind: error",
      "before: its error",
    ];
    const cells = (...values) => values.map((v) => html("td", {}, v === "" ? "" : shown(v)));
    const row = (name, ...values) =>
      html("tr", {}, html("th", { scope: "row" }, name), ...cells(...values));
    const own = transcoders.map((t) =>
      row(
        t.name,
        t.change[at][j],
        t.change_error[at][j],
        t.patched[at][j],
        t.patching_error[at][j],
        behind(t.change_error[at], change[at]),
        behind(t.patching_error[at], change[at]),
      ),
    );
    return table(head, [row("the layer", change[at][j], "", "", "", "", ""), ...own]);
  }
}

/** A place whose table may be wider than the page. */
const scrolling = (label) =>
  html("div", { class: "fn-table", tabindex: 0, role: "region", "aria-label": label });

function table(head, rows) {
  const titles = head.map((title) =>
    title ? html("th", { scope: "col" }, title) : html("td", {}),
  );
  const body = html("tbody", {}, ...rows);
  return html("table", {}, html("thead", {}, html("tr", {}, ...titles)), body);
}
