// A table that is wider than the page scrolls; then it can be reached with the keyboard too.
addEventListener("load", () => {
  for (const output of document.querySelectorAll(".cell_output .output.text_html")) {
    if (output.scrollWidth > output.clientWidth) {
      output.tabIndex = 0;
      output.setAttribute("role", "region");
      output.setAttribute("aria-label", "a table that scrolls");
    }
  }
});
