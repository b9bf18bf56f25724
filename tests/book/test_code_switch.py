"""One switch for the code of a page."""

import re
import shutil

import pytest

from faithnb.book.contents import ROOT

CELL = "<div class='cell {}'>{}</div>"
CODE = "<div class='cell_input'><pre>{}</pre></div>"
FOLDED = (
    "<details class='admonition hide above-input'><summary><p>Show code cell source</p></summary>"
    f"{CODE}</details>"
)
PAGE = "".join([
    "<script src=book.js></script><link rel=stylesheet href=book.css>",
    "<div class=article-header-buttons></div><article class=bd-article><h1>A title</h1>",
    CELL.format("tag_parameters", FOLDED.format("d_in = 16")),
    CELL.format("", CODE.format("import numpy")),
    CELL.format("tag_hide-input", FOLDED.format("read(d_in)")),
    "<p>Words.</p>",
    CELL.format("", CODE.format("draw()") + "<div class=cell_output>a figure</div>"),
    CELL.format("tag_hide-input", FOLDED.format("glue(n)")),
    "<p>More words.</p></article>",
])  # fmt: skip


@pytest.fixture
def address(tmp_path):
    """A page of the kind that Jupyter Book makes, on disk."""
    for name in ("book.js", "book.css"):
        shutil.copy(ROOT / "book" / "static" / name, tmp_path)
    (tmp_path / "page.html").write_text(f"<!doctype html><html lang=en>{PAGE}</html>")
    (tmp_path / "prose.html").write_text(PAGE.replace("cell", "words"))
    return tmp_path.as_uri()


def seen(tab):
    """What a reader sees, line by line."""
    return re.split(r"\s*\n\s*", tab.inner_text("article").strip())


ALL = ["A title", "d_in = 16", "import numpy", "read(d_in)", "Words.", "draw()", "a figure",
       "glue(n)", "More words."]  # fmt: skip


def test_code_is_hidden_until_a_reader_asks_for_it(page, address):
    page.goto(f"{address}/page.html")
    assert seen(page) == ["A title", "Words.", "a figure", "More words."]
    page.get_by_role("button", name="Show code on this page").click()
    assert seen(page) == ALL
    page.get_by_role("button", name="Hide code on this page").click()
    assert seen(page) == ["A title", "Words.", "a figure", "More words."]


def test_parameters_imports_and_what_reads_them_are_one_box(page, address):
    page.goto(f"{address}/page.html")
    assert page.locator(".cell").count() == 3
    assert page.text_content("pre") == "d_in = 16\nimport numpy\nread(d_in)"


def test_the_keyboard_switches_and_the_choice_stays(page, address):
    page.goto(f"{address}/page.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert seen(page) == ALL
    page.reload()
    assert seen(page) == ALL


def test_a_browser_that_keeps_nothing_still_switches(page, address):
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw 0; }})")
    wrong = []
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto(f"{address}/page.html")
    page.get_by_role("button").click()
    assert seen(page) == ALL
    assert wrong == []


def test_without_scripts_code_is_folded(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}/page.html")
    fold = "Show code cell source"
    assert seen(tab) == ["A title", fold, "import numpy", fold, "Words.", "draw()", "a figure",
                         fold, "More words."]  # fmt: skip
    context.close()


def test_a_page_without_cells_has_no_switch(page, address):
    page.goto(f"{address}/prose.html")
    assert page.get_by_role("button").count() == 0
