"""The benchmark's table in a browser: it sorts, filters, draws, says and is downloaded."""

import pytest
from showing import show

from faithnb.benchmark.columns import CERTIFIED, COLUMNS
from faithnb.benchmark.compare import LEAST_SEEDS
from faithnb.widgets.board import Board

LENS = {"noise": 0.02, "order": True, "correlation": 0.9, "trend": 1.0, "reasons": [],
        "earned": True}  # fmt: skip
BAD = LENS | {"earned": False, "reasons": ["noise: it varies by 30% from sample to sample"]}


def row(recipe, value, **more):
    values = [[value, value - 0.1, value + 0.1] for _ in COLUMNS]
    of = {"task": "abs-v1", "recipe": recipe, "point": 0, "sparsity": 0.1, "seeds": 16}
    return of | {"failed": 0, "control": False, "values": values} | more


def difference(column, decided, **more):
    found = {"task": "abs-v1", "axis": "l0", "first": "a", "second": "b", "column": column,
             "mean": -0.5, "low": -0.7, "high": -0.3, "decidable": 0.2, "seeds": 16,
             "decided": decided, "better": "a" if decided else ""}  # fmt: skip
    return found | more


PAGE = {
    "least": LEAST_SEEDS,
    "columns": [vars(column) for column in COLUMNS.values()],
    "tasks": [{"name": "abs-v1", "about": "Magnitudes.", "twin": "abs-point-v1"}],
    "lenses": {"abs-v1": {name: BAD if name == "fvu" else LENS for name in COLUMNS}},
    "rows": [
        row("ideal", 0.0, control=True, seeds=0, sparsity=None), row("b", 1.0), row("a", 2.0),
        row("a", 3.0, sparsity=0.2, failed=1, seeds=15),
    ],
    "differences": [
        difference("mechanism_error_at_p", True),
        difference("mechanism_error_at_p", False, axis="fvu"),
        difference("mechanism_error", False, seeds=3),
    ],
    "entries": [{
        "name": "a", "file": "a@1.json", "recipe": "a", "code": "faithnb", "seeds": [300, 315],
        "configurations": [{"sparsity": 0.1}], "versions": ["torch 2"], "tasks": ["abs-v1"],
        "failures": ["abs-v1, seed 3: no luck."],
    }],
}  # fmt: skip


def shown(page):
    rows = page.locator(".fn-board tbody tr").all_inner_texts()
    return [text.split("\t")[0] for text in rows]


@pytest.fixture
def errors(page):
    found = show(page, Board(PAGE))
    page.wait_for_selector("tbody tr")
    return found


def test_it_sorts_and_filters(page, errors):
    assert shown(page) == ["ideal", "a", "a", "b"]
    page.click("th button:text-is('mechanism_error')")
    assert shown(page) == ["ideal", "b", "a", "a"]
    page.keyboard.press("Enter")  # the button is still under the keyboard
    assert shown(page) == ["a", "a", "b", "ideal"]
    page.fill("input[type=search]", "b")
    assert shown(page) == ["b", "ideal"]
    assert "15, 1 failed" not in page.inner_text("tbody")
    assert errors == []


def test_a_column_that_fails_is_shown_failing_and_ranks_nothing(page, errors):
    assert page.locator("th s").all_inner_texts() == ["fvu"]
    fails = page.locator(".fn-fails")
    assert fails.all_inner_texts() == ["2 % fails"]
    assert "varies by 30%" in fails.get_attribute("title")
    page.select_option("select >> nth=1", "earned, and sparsity")
    assert page.locator("th s").count() == 0
    page.select_option("select >> nth=2", "fvu")
    assert "Nothing is ranked by fvu here: noise: it varies" in page.inner_text(".fn-words")


def test_an_empty_cell_says_why(page):
    why = "layer = smooth is not allowed."
    none = row("a", 1.0, not_certified=why)
    none["values"][[*COLUMNS].index(CERTIFIED)] = None
    assert show(page, Board(PAGE | {"rows": [none]})) == []
    empty = page.locator("tbody td:text-is('–')")
    page.wait_for_selector("tbody tr")
    assert [cell.get_attribute("title") for cell in empty.all()] == [why]
    named = page.locator("th", has=page.locator(f"button:text-is('{CERTIFIED}')"))
    assert named.get_attribute("title") == COLUMNS[CERTIFIED].about


def test_it_says_what_is_decided(page, errors):
    words = page.locator(".fn-words")
    assert "a has less mechanism_error_at_p than b, by 0.5 [0.3, 0.7]. a is better." in (
        words.inner_text()
    )
    page.click("text=At equal FVU, not decided: 1")
    assert "one of 0.2 would be found four times in five" in words.inner_text()
    page.select_option("select >> nth=2", "mechanism_error")
    page.click("text=At equal L0, not decided: 1")
    assert f"3 seeds of both come to the same L0, and {LEAST_SEEDS} are needed" in (
        words.inner_text()
    )


def test_it_draws_lists_and_is_downloaded(page, errors):
    label = page.locator(".fn-card [role=img]").get_attribute("aria-label")
    assert label.startswith("mechanism_error_at_p on abs-v1. a: 2 at L0 2, 3 at L0 3; b: 1 at L0 1")
    assert page.locator(".fn-card polyline").count() == 2
    axes = page.locator(".fn-card [role=img] text").all_text_contents()
    assert axes == ["L0", "1", "1.5", "2", "2.5", "3", "0", "1", "2", "3"]
    page.locator("tbody a:text-is('a')").first.click()
    assert "no luck" in page.inner_text("#entry-a")
    own = page.locator("#entry-a tbody tr").all_inner_texts()
    assert [row.split("\t")[:3] for row in own] == [["abs-v1", "0.1", "2"], ["abs-v1", "0.2", "3"]]
    with page.expect_download() as waiting:
        page.click("text=Download this table as CSV")
    lines = waiting.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("recipe,sparsity,seeds,failed,fvu,fvu low,fvu high")
    assert lines[1].startswith("ideal,,0,0,0,-0.1,0.1")
    assert len(lines) == 5
    assert errors == []


def test_without_entries_it_says_so(page):
    errors = show(page, Board(PAGE | {"rows": [], "differences": [], "entries": [], "lenses": {}}))
    page.wait_for_selector(".fn-status")
    assert "There is no entry yet." in page.inner_text(".fn-status")
    assert "Nothing to draw" in page.inner_text(".fn-card")
    assert errors == []


def test_nothing_is_wider_than_a_narrow_screen(page):
    page.set_viewport_size({"width": 320, "height": 800})
    show(page, Board(PAGE))
    page.wait_for_selector("tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
