// What is wider than the page scrolls in a box of its own; then it can be reached with the keyboard
// too, also after the window has become narrower, and a line says so.
const WIDE = {
  ".cell_output .output.text_html:has(table)": "a table that scrolls",
  ".pst-scrollable-table-container": "a table that scrolls",
  ".wide-figure": "a figure that scrolls",
  "article pre": "",
};

function reach() {
  for (const [selector, name] of Object.entries(WIDE)) {
    for (const region of document.querySelectorAll(selector)) {
      const scrolls = region.scrollWidth > region.clientWidth + 1;
      region.classList.toggle("scrolls", scrolls && name !== "");
      if (!scrolls) continue;
      region.tabIndex = 0;
      if (name === "") continue;
      region.setAttribute("role", "region");
      region.setAttribute("aria-label", name);
    }
  }
}

// On a narrow screen a figure keeps the size at which it can be read.
function boxFigures() {
  for (const image of document.querySelectorAll("article :is(figure, .cell_output) img")) {
    const box = document.createElement("div");
    box.className = "wide-figure";
    image.replaceWith(box);
    box.append(image);
  }
}
addEventListener("DOMContentLoaded", boxFigures);
addEventListener("load", reach);
addEventListener("resize", reach);

// One switch shows or hides a page's code. It is hidden at first, and what a reader chose stays.
// Without scripts there is no switch, and the code is folded as it was written.
const CODE = "faithnb-code";
const page = document.documentElement;

function remembered() {
  try {
    return localStorage.getItem(CODE) === "shown" ? "shown" : "hidden";
  } catch {
    return "hidden"; // a browser may keep nothing for a page on disk
  }
}
page.dataset.code = remembered(); // before anything is drawn

function switchCode(button, state) {
  page.dataset.code = state;
  for (const fold of document.querySelectorAll(".cell > details.above-input")) {
    fold.open = state === "shown";
  }
  const words = state === "shown" ? "Hide code" : "Show code";
  button.setAttribute("aria-label", `${words} on this page`);
  button.querySelector("span").textContent = words;
  reach();
}

function addSwitch() {
  const header = document.querySelector(".article-header-buttons");
  if (!header || !document.querySelector("article .cell .cell_input")) return;
  oneBox();
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm code-switch";
  button.innerHTML = "<i class='fa-solid fa-code' aria-hidden='true'></i> <span></span>";
  button.addEventListener("click", () => {
    const state = page.dataset.code === "shown" ? "hidden" : "shown";
    switchCode(button, state);
    try {
      localStorage.setItem(CODE, state);
    } catch {
      // it holds for this page alone
    }
  });
  header.prepend(button);
  switchCode(button, page.dataset.code);
}

// Parameters, imports and what reads the parameters stand in cells of their own, because papermill
// puts its values after the first; a reader sees one box.
function oneBox() {
  const first = document.querySelector("article .cell.tag_parameters");
  const box = first?.querySelector("pre");
  while (box && first.nextElementSibling?.matches(".cell:not(:has(> .cell_output))")) {
    const next = first.nextElementSibling;
    box.append("\n", ...next.querySelector("pre").childNodes);
    next.remove();
  }
}
addEventListener("DOMContentLoaded", addSwitch);

// On paper all is dark on white, and evidence that was folded away is open.
const screenAgain = [];

function toPaper() {
  if (screenAgain.length) return;
  const { dataset } = document.documentElement;
  const { theme } = dataset;
  dataset.theme = "light";
  screenAgain.push(() => (dataset.theme = theme));
  for (const details of document.querySelectorAll("article details:not([open], .hide)")) {
    details.open = true;
    screenAgain.push(() => (details.open = false));
  }
}

function toScreen() {
  for (const again of screenAgain.splice(0)) again();
}
addEventListener("beforeprint", toPaper);
addEventListener("afterprint", toScreen);
matchMedia("print").addEventListener("change", ({ matches }) => (matches ? toPaper() : toScreen()));

// Where a widget does not come, a sentence says why, until it comes (book.css).
const PATIENCE = 30_000; // milliseconds, also for a slow machine

function excuse(why) {
  for (const view of document.querySelectorAll("article script[type*='widget-view']")) {
    if (view.matches(":has(+ .no-widget)")) continue;
    const words = document.createElement("p");
    words.className = "no-widget";
    words.setAttribute("role", "status");
    words.textContent = `Here a widget computes in the page, but ${why}. The figures of this page show what was computed when the book was built.`;
    view.after(words);
  }
}
addEventListener("securitypolicyviolation", ({ effectiveDirective, disposition }) => {
  if (disposition === "enforce" && effectiveDirective.startsWith("script-src")) {
    excuse("a security policy, of this page or of the browser, forbids the scripts that it needs");
  }
});
addEventListener("load", () =>
  setTimeout(excuse, PATIENCE, "the scripts that it needs did not run"),
);
