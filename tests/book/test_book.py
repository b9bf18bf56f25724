"""The whole book, built, in a real browser."""

import json
import os
import re
from io import BytesIO
from pathlib import Path

import browsing
import nbformat
import papermill
import pytest
from browsing import grave, opened, real
from ledger_file import check_ledger
from made import sources
from pypdf import PdfReader

from faithnb.book.contents import ROOT, pages


@pytest.mark.book
def test_a_build_writes_nothing_into_the_repository(built):
    assert sources() == built[1]


@pytest.mark.book
def test_the_book_says_what_it_was_built_with(html):
    freeze = (html.parent / "src" / "book" / "freeze.txt").read_text()
    assert "torch==" in freeze
    assert "faithnb" not in freeze
    page = (html / "book" / "reproduce.html").read_text()
    assert "profile <code" in page
    assert "torch==" in re.sub("<[^>]+>", "", page)


@pytest.mark.book
@pytest.mark.parametrize("page", pages(ROOT / "_toc.yml"))
def test_pages_without_images_stay_small(html, page):
    assert (html / f"{page}.html").stat().st_size < 2_000_000


@pytest.mark.book
@pytest.mark.parametrize("page", pages(ROOT / "_toc.yml"))
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_open_in_a_browser(html, browser, page, mode):
    """Loaded as on a telephone, then made wider."""
    tab, errors = opened(browser, (html / f"{page}.html").as_uri(), browsing.WIDTHS[0], mode)
    if (html / "_static" / "vendor").exists():
        if tab.locator("article .math").count():
            tab.wait_for_selector("article .math mjx-container")
        for widget in range(tab.locator("[type*='widget-view']").count()):
            tab.wait_for_selector(f".faithnb >> nth={widget}")
    assert tab.evaluate("document.documentElement.dataset.theme") == mode
    images = "[...document.querySelectorAll('article img')].map((i) => [i.naturalWidth > 0, i.alt])"
    assert all(drawn and alt for drawn, alt in tab.evaluate(images))
    assert tab.locator("article h1").count() == 1
    shots = Path(os.environ.get("FAITHNB_SCREENSHOTS", html.parent / "screenshots"))
    for width in browsing.WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        tab.screenshot(path=shots / f"{page.replace('/', '-')}-{width}-{mode}.png", full_page=True)
    assert real(errors, html) == []  # before axe asks for style sheets, which file:// refuses
    assert grave(tab) == []
    if mode == "light":
        tab.set_viewport_size({"width": browsing.WIDTHS[0], "height": 900})
        assert grave(tab) == []
    tab.context.close()


@pytest.mark.book
def test_a_browser_finds_the_book_s_icon(html):
    """One that does not asks the server for a file that is not there."""
    for page in pages(ROOT / "_toc.yml"):
        (icon,) = re.findall(
            r'<link rel="icon" href="([^"]+)"', (html / f"{page}.html").read_text()
        )
        assert (html / page).parent.joinpath(icon).resolve().is_file()


@pytest.mark.book
def test_without_scripts_there_are_pictures(html, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    for page in ("explorer", "atlas", "02_when_do_datapoint_features_form"):
        tab.goto((html / "notebooks" / f"{page}.html").as_uri())
        assert tab.locator("article figure img, article img").count() >= 1
        assert "needs scripts" in tab.locator("article noscript").first.text_content()
    context.close()


@pytest.mark.book
def test_search_and_download_work(html, browser):
    tab = browser.new_context().new_page()
    tab.goto((html / "search.html").as_uri() + "?q=datapoint")
    tab.wait_for_selector("#search-results li a")
    assert "datapoint" in tab.inner_text("#search-results").lower()
    tab.goto((html / "notebooks" / "01_absolute_value.html").as_uri())
    assert tab.locator("a[href$='01_absolute_value.ipynb']").count() >= 1
    tab.goto((html / "index.html").as_uri())
    tab.wait_for_url("**/notebooks/index.html")


@pytest.mark.book
def test_a_downloaded_notebook_runs_as_it_is(html, tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    downloaded = html / "_sources" / "notebooks" / "explorer.ipynb"
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(downloaded), str(out), kernel_name="python3", progress_bar=False,
        cwd=str(tmp_path), start_timeout=120, execution_timeout=300,
    )  # fmt: skip
    shown = [o for c in nbformat.read(out, as_version=4).cells for o in c.get("outputs", [])]
    assert sum("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in shown) == 4


@pytest.mark.book
def test_the_ledger_is_written_for_programs(html):
    check_ledger(html)


@pytest.mark.book
def test_no_page_scrolls_sideways_at_400_percent(html, browser):
    """The pages of the contents are looked at above, with all else."""
    tab, errors = opened(browser, (html / "genindex.html").as_uri(), browsing.WIDTHS[0])
    for page in browsing.PLAIN:
        tab.goto((html / f"{page}.html").as_uri())
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= browsing.WIDTHS[0]
    assert real(errors, html) == []
    tab.context.close()


@pytest.mark.book
@pytest.mark.parametrize("page", pages(ROOT / "_toc.yml"))
def test_on_paper_all_is_dark_on_white_whole_and_unfolded(html, browser, page):
    """Printed from dark mode, which comes back with what was folded."""
    tab, _ = opened(browser, (html / f"{page}.html").as_uri(), browsing.PAPER, "dark")
    browsing.wait_for_widgets(tab, html)
    before = tab.evaluate(browsing.THEME_AND_FOLDS)
    assert before[0] == "dark"
    tab.emulate_media(media="print", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'light'")
    found = tab.evaluate(browsing.ON_PAPER)
    assert found.pop("words") > 5
    assert found == {"pale": [], "cut": [], "folded": 0}
    tab.emulate_media(media="screen", color_scheme="dark")
    tab.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert tab.evaluate(browsing.THEME_AND_FOLDS) == before
    tab.context.close()


@pytest.mark.book
def test_a_printed_ledger_has_its_evidence_and_no_knobs_are_printed(html, browser):
    """In a real PDF, for which the browser says that it prints."""
    words = {}
    for page in ("claims", "explorer"):
        tab, _ = opened(browser, (html / "notebooks" / f"{page}.html").as_uri(), mode="dark")
        browsing.wait_for_widgets(tab, html)
        sheets = PdfReader(BytesIO(tab.pdf())).pages
        words[page] = " ".join("".join(sheet.extract_text() for sheet in sheets).split())
        tab.context.close()
    rows = json.loads((html / "claims.json").read_text())["claims"]
    assert words["claims"].count("rule and evidence") == len(rows)
    shown = words["claims"].replace(" ", "")
    assert all(row["evidence"][0]["text"].replace(" ", "")[:10] in shown for row in rows)
    assert "as fast as it goes" not in words["explorer"]


@pytest.mark.book
def test_a_finger_finds_what_to_press_and_the_scheme_may_change(html, browser):
    context = browser.new_context(
        has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740}
    )
    tab = context.new_page()
    tab.goto((html / "notebooks" / "claims.html").as_uri())
    sizes = tab.evaluate(browsing.TO_PRESS)
    assert len(sizes) > 10
    assert min(sizes) >= 44
    for scheme in ("dark", "light"):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    context.close()
