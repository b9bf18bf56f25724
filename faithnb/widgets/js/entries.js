// An entry's own page: what it is, how it is run again, and its scores on every task.

import { html } from "./elements.js";
import { shown } from "./words.js";

const TOLD = [
  "l0",
  "fvu",
  "mechanism_error",
  "mechanism_error_at_p",
  "circuit_match",
  "memorized",
  "parts_error",
  "patching_error_at_p",
  "jacobian_error_at_p",
  "seconds",
];

/** Where an entry stands in the page, for links from elsewhere. */
export const addressOf = (name) => `entry-${name}`;

/** An entry, folded. */
export function entryOf(page, entry) {
  const { name, file, recipe, code, configurations, versions, seeds, tasks, failures } = entry;
  const lines = [
    `File: results/${file}`,
    `Run: python -m faithnb.benchmark run ${recipe} --task ${tasks.join(" ")} --seeds ${seeds[0]}-${seeds.at(-1)}`,
    `Code: ${code}`,
    ...versions.map((said) => `Versions: ${said}`),
    ...configurations.map((of, k) => `Point ${k}: ${JSON.stringify(of)}`),
    ...(failures.length ? failures : ["No seed failed."]),
  ];
  return html(
    "details",
    { id: addressOf(name) },
    html("summary", {}, name),
    html("ul", {}, ...lines.map((line) => html("li", {}, line))),
    scores(page, name),
  );
}

/** Open the entry that the address of the page names, if it names one. */
export function openAddressed(place) {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const found = [...place.querySelectorAll("details[id]")].find(({ id }) => id === wanted);
  if (!found) return;
  found.open = true;
  found.scrollIntoView();
}

function scores(page, name) {
  const columns = TOLD.map((column) => page.columns.findIndex((c) => c.name === column));
  const head = ["task", "sparsity", ...TOLD].map((title) => html("th", { scope: "col" }, title));
  const rows = page.rows
    .filter((row) => row.recipe === name && !row.control)
    .map((row) => {
      const values = columns.map((k) => html("td", {}, shown(row.values[k]?.[0])));
      return html(
        "tr",
        {},
        html("td", {}, row.task),
        html("td", {}, `${row.sparsity ?? ""}`),
        ...values,
      );
    });
  const label = `Scores of ${name} on every task`;
  return html(
    "div",
    { class: "fn-table", tabindex: 0, role: "region", "aria-label": label },
    html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows)),
  );
}
