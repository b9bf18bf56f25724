// A table or a piece of code that is wider than the page scrolls; then it can be reached with the
// keyboard too, also after the window has become narrower.
function reach() {
  const wide = ".cell_output .output.text_html, .pst-scrollable-table-container, article pre";
  for (const region of document.querySelectorAll(wide)) {
    if (region.scrollWidth > region.clientWidth) {
      region.tabIndex = 0;
      if (region.matches("pre")) continue;
      region.setAttribute("role", "region");
      region.setAttribute("aria-label", "a table that scrolls");
    }
  }
}
addEventListener("load", reach);
addEventListener("resize", reach);

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
