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
