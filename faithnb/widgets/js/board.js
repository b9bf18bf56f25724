// The benchmark: a table to sort and filter, curves, differences in words, and the entries.

import { choice, html } from "./elements.js";
import { curves } from "./curves.js";
import { addressOf, entryOf, openAddressed } from "./entries.js";
import { unpack } from "./packed.js";
import { AXES, csv, differenceInWords, lensesInWords, rowsOf, shown } from "./words.js";

export default {
  async render({ model, el }) {
    const place = html("section", { class: "faithnb", "aria-label": "The benchmark" });
    el.replaceChildren(place);
    try {
      const page = await unpack(model.get("packed"));
      new Board(place, { ...page, differences: rowsOf(page.differences) });
    } catch (error) {
      place.textContent = `This browser cannot open the table: ${error.message}.`;
    }
  },
};

const ALL = "all tasks";
const SETS = {
  "all columns": () => true,
  "earned, and sparsity": (c, earned) => earned(c) || c.kind === "sparsity",
  errors: (c) => c.kind === "error",
  faithfulness: (c) => c.kind === "faithfulness",
  "sparsity and cost": (c) => c.kind === "sparsity" || c.kind === "cost",
};

class Board {
  constructor(place, page) {
    this.page = page;
    this.sorted = { by: "recipe", down: false };
    const tasks = page.tasks.map(({ name }) => name);
    const used = new Set(page.rows.map(({ task }) => task));
    const judged = page.columns.filter(({ kind }) => kind !== "cost" && kind !== "sparsity");
    const show = () => this.show();
    this.task = choice("task", [...tasks.filter((t) => used.has(t)), ALL], show);
    this.set = choice("columns", Object.keys(SETS), show);
    this.column = choice(
      "measure",
      judged.map(({ name }) => name),
      show,
    );
    this.axis = choice("over", Object.values(AXES), show);
    this.find = html("input", { type: "search", name: "find", oninput: show });
    this.column.select.value = "mechanism_error_at_p";
    this.table = html("div", {
      class: "fn-table fn-board",
      tabindex: 0,
      role: "region",
      "aria-label": "Scores of every entry",
    });
    this.said = html("p", { class: "fn-status", "aria-live": "polite" });
    this.plot = html("div", { class: "fn-cards" });
    this.words = html("div", { class: "fn-words" });
    place.append(
      html(
        "div",
        { class: "fn-knobs" },
        this.task.element,
        this.set.element,
        html("label", {}, html("span", {}, "recipes with"), this.find),
      ),
      this.said,
      this.table,
      html(
        "p",
        { class: "fn-buttons" },
        html("button", { onclick: () => this.download() }, "Download this table as CSV"),
      ),
      html("div", { class: "fn-knobs" }, this.column.element, this.axis.element),
      this.plot,
      this.words,
      html("p", { class: "fn-title" }, "Entries"),
      ...page.entries.map((entry) => entryOf(page, entry)),
    );
    if (!page.rows.length) this.said.textContent = "There is no entry yet.";
    this.show();
    addEventListener("hashchange", () => openAddressed(place));
    openAddressed(place);
  }

  /** Whether something may be ranked by a column on the task that is shown; on all of them, if it
   * may on one. */
  earned(column) {
    return this.lenses(column).some((of) => of.earned);
  }

  lenses({ name }) {
    const { lenses } = this.page;
    const tasks = this.task.select.value === ALL ? Object.keys(lenses) : [this.task.select.value];
    return tasks.map((task) => lenses[task]?.[name]).filter(Boolean);
  }

  get rows() {
    const [task, wanted] = [this.task.select.value, this.find.value.trim().toLowerCase()];
    return this.page.rows.filter(
      (row) =>
        (task === ALL || row.task === task) &&
        (row.control || row.recipe.toLowerCase().includes(wanted)),
    );
  }

  show() {
    const { page } = this;
    this.columns = page.columns.filter((c) =>
      SETS[this.set.select.value](c, (one) => this.earned(one)),
    );
    const found = this.ordered(this.rows);
    this.table.replaceChildren(
      html("table", {}, this.head(), html("tbody", {}, ...found.map((row) => this.row(row)))),
    );
    if (page.rows.length) {
      const entries = found.filter(({ control }) => !control);
      const about = page.tasks.find(({ name }) => name === this.task.select.value)?.about ?? "";
      this.said.textContent = `${about} ${entries.length} rows of entries, ${found.length - entries.length} of controls.`;
    }
    this.showCurves();
    this.showWords();
  }

  ordered(rows) {
    const { by, down } = this.sorted;
    const k = this.page.columns.findIndex(({ name }) => name === by);
    const key = (row) => (k < 0 ? row[by] : (row.values[k]?.[0] ?? null));
    const before = (a, b) => {
      if (a === b) return 0;
      if (a === null || b === null) return a === null ? 1 : -1; // what is not defined stands last
      return (a < b ? -1 : 1) * (down ? -1 : 1);
    };
    return [...rows].sort(
      (a, b) =>
        (by === "recipe" && b.control - a.control) ||
        before(key(a), key(b)) ||
        before(a.sparsity, b.sparsity),
    );
  }

  sortBy(name) {
    this.sorted = { by: name, down: this.sorted.by === name && !this.sorted.down };
    this.show();
    this.table.querySelector("th[aria-sort] button")?.focus();
  }

  /** Names of columns, then what the three lenses say of each. */
  head() {
    const sorting = (name, may = true, about = "") => {
      const state = this.sorted.down ? "descending" : "ascending";
      const attributes = this.sorted.by === name ? { "aria-sort": state } : {};
      const button = html("button", { class: "fn-link", onclick: () => this.sortBy(name) }, name);
      const words = may ? button : html("s", {}, name);
      return html("th", { scope: "col", title: about || null, ...attributes }, words);
    };
    const fixed = this.fixed.map((name) => sorting(name));
    const names = this.columns.map((c) =>
      sorting(c.name, !this.lenses(c).length || this.earned(c), c.about),
    );
    const said = ["noise", "order", "training"].map((lens) => {
      const cells = this.columns.map((column) => {
        const { text, bad, why } = lensesInWords(lens, this.lenses(column));
        return html("td", { class: bad && "fn-fails", title: why || null }, text);
      });
      const name = html("th", { scope: "row", colspan: this.fixed.length }, lens);
      return html("tr", { class: "fn-lens" }, name, ...cells);
    });
    return html("thead", {}, html("tr", {}, ...fixed, ...names), ...said);
  }

  get fixed() {
    const task = this.task.select.value === ALL ? ["task"] : [];
    return [...task, "recipe", "sparsity", "seeds"];
  }

  row(row) {
    const at = (name) => this.page.columns.findIndex((c) => c.name === name);
    const cells = this.columns.map(({ name }) => {
      const value = row.values[at(name)];
      const why = name === "certified_worst_error" ? row.not_certified : "";
      if (!value) return html("td", { title: why || null }, "–");
      const [mean, low, high] = value;
      const interval = low === undefined ? null : `[${shown(low)}, ${shown(high)}]`;
      return html("td", { title: interval }, shown(mean));
    });
    const address = `#${addressOf(row.recipe)}`;
    const linked = (name) =>
      name === "recipe" && !row.control ? html("a", { href: address }, row.recipe) : null;
    const words = { sparsity: row.sparsity ?? "", seeds: row.control ? "" : this.seeds(row) };
    return html(
      "tr",
      { class: row.control && "fn-control" },
      ...this.fixed.map((name) => html("td", {}, linked(name) ?? `${words[name] ?? row[name]}`)),
      ...cells,
    );
  }

  seeds({ seeds, failed }) {
    return failed ? `${seeds}, ${failed} failed` : `${seeds}`;
  }

  showCurves() {
    const [name, axis] = [this.column.select.value, this.axis.select.value];
    const at = (column) => this.page.columns.findIndex((c) => c.name === column);
    const task = this.task.select.value === ALL ? this.page.rows[0]?.task : this.task.select.value;
    const x = Object.keys(AXES).find((k) => AXES[k] === axis);
    const points = this.rows
      .filter((row) => row.task === task && !row.control)
      .map((row) => ({ recipe: row.recipe, x: row.values[at(x)]?.[0], y: row.values[at(name)] }))
      .filter((point) => point.x > 0 && point.y);
    this.plot.replaceChildren(curves(points, `${name} on ${task ?? "no task"}`, axis));
  }

  /** Every pair of recipes by the measure that is chosen, those that are decided first. */
  showWords() {
    const [task, column] = [this.task.select.value, this.column.select.value];
    const wanted = this.find.value.trim().toLowerCase();
    const lists = Object.keys(AXES).flatMap((axis) => {
      const found = this.page.differences.filter(
        (d) =>
          d.axis === axis &&
          d.column === column &&
          (task === ALL || d.task === task) &&
          `${d.first} ${d.second}`.toLowerCase().includes(wanted),
      );
      return [true, false].map((decided) => {
        const these = found.filter((d) => d.decided === decided);
        const title = `At equal ${AXES[axis]}, ${decided ? "decided" : "not decided"}: ${these.length}`;
        const items = these.map((d) =>
          html(
            "li",
            {},
            `${task === ALL ? `${d.task}: ` : ""}${differenceInWords(d, this.page.least)}`,
          ),
        );
        const open = decided && these.length < 30;
        return html("details", { open }, html("summary", {}, title), html("ul", {}, ...items));
      });
    });
    const [of] = this.lenses({ name: column });
    const why =
      of && !this.earned({ name: column })
        ? `Nothing is ranked by ${column} here: ${of.reasons.join("; ")}.`
        : "";
    this.words.replaceChildren(
      html("p", { class: "fn-title" }, `Differences in ${column}`),
      ...(why ? [html("p", {}, why)] : lists),
    );
  }

  download() {
    const text = csv(this.fixed, this.columns, this.page.columns, this.ordered(this.rows));
    const link = html("a", {
      href: URL.createObjectURL(new Blob([text], { type: "text/csv" })),
      download: `faithnb-${this.task.select.value.replace(" ", "-")}.csv`,
    });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
