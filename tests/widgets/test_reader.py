"""Windows of text in a browser: a token is pointed at, its features are marked, it is replaced."""

import base64
import json
import zlib

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from showing import show

from faithnb.common.errors import InputError
from faithnb.lm.reading import Reading, Window
from faithnb.widgets import reader
from faithnb.widgets.reader import read_along

TOKENS = ("The", " cat", "\n    ", " ", " sat", " on", " the", " mat", ".")
N = len(TOKENS)


def square(value, of=lambda k, j: 1.0):
    """Rows from the replaced token on, NaN before it and where nothing is replaced."""
    nan = float("nan")
    rows = [[value * of(k, j) if j >= k and k != 2 else nan for j in range(N)] for k in range(N)]
    return torch.tensor(rows)


def reading(first, error):
    features = torch.tensor([[first + k % 3, 7, -1] for k in range(N)])
    return Reading(
        features=features, contributions=torch.tensor([[2.0, 0.51234, 0.0]] * N),
        n_active=torch.arange(N), output_error=torch.full((N,), 0.25),
        change=square(3.0, lambda k, j: 0.5 ** (j - k)), change_error=square(error),
        patched=square(2.0), patching_error=square(0.7),
    )  # fmt: skip


def window(title="a mat", **more):
    return Window(
        title=title, tokens=TOKENS, replacements=(" A", " dog", None, *["x"] * (N - 3)),
        output=torch.full((N,), 10.0), change=square(4.0, lambda k, j: 0.5 ** (j - k)),
        transcoders={"relu": reading(10, 0.4), "matched": reading(20, 0.2)} | more,
    )  # fmt: skip


@pytest.fixture
def errors(page):
    found = show(page, read_along([window(), window("another")]))
    page.wait_for_selector("tbody tr")
    return found


def pressed(page):
    return page.locator(".fn-tokens [aria-pressed=true]").all_inner_texts()


def test_a_token_is_pointed_at(page, errors):
    assert pressed(page) == [" cat"]
    assert "Token 1, “ cat”: 1 features contribute" in page.inner_text(".fn-status")
    assert "squared error of 0.25" in page.inner_text(".fn-status")
    page.hover(".fn-tokens button >> nth=6")
    assert page.inner_text(".fn-status").startswith("Token 6, “ the”: 6")
    assert pressed(page) == [" cat"]
    page.hover(".fn-status")
    assert page.inner_text(".fn-status").startswith("Token 1,")
    page.click(".fn-tokens button >> nth=5")
    assert pressed(page) == [" on"]
    assert errors == []


def test_the_keyboard_walks_along(page, errors):
    page.focus(".fn-tokens [tabindex='0']")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert pressed(page) == ["␣"]
    assert page.locator(".fn-tokens [tabindex='0']").count() == 1
    assert page.evaluate("document.activeElement.title") == "token 3"
    page.keyboard.press("End")
    assert pressed(page) == ["."]
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".fn-marked").count() == 3
    assert page.locator("[aria-label='Features at the token'] [aria-pressed=true]").count() == 1
    assert errors == []


def test_features_are_the_chosen_transcoder_s(page, errors):
    def rows():
        return [t.split("\t") for t in page.locator("tbody tr").all_inner_texts()]

    assert rows() == [["#11", "2", "3 of 9"], ["#7", "0.512", "9 of 9"]]
    page.select_option("[name=transcoder]", "matched")
    assert rows()[0] == ["#21", "2", "3 of 9"]
    page.click("text='#21'")
    assert [b.inner_text() for b in page.locator(".fn-marked").all()] == [" cat", " sat", " mat"]
    page.select_option("[name=window]", "another")  # the same transcoder there, nothing marked
    assert rows()[0][0] == "#21"
    assert page.locator(".fn-marked").count() == 0


def test_a_token_is_replaced_and_put_back(page, errors):
    page.click("text=Replace “ cat” by “ dog”")
    assert pressed(page) == [" cat dog"]
    label = page.get_attribute(".fn-follows [role=img]", "aria-label")
    assert label.startswith("Norm of the change, from token 1 on: the layer 4, 2, 1, 0.5,")
    assert "; relu 3, 1.5" in label
    page.click(".fn-tokens button >> nth=4")
    changes = page.locator(".fn-follows tbody tr").all_inner_texts()
    assert [c.split("\t") for c in changes] == [
        ["the layer", "0.5", "", "", "", "", ""],
        ["relu", "0.375", "0.4", "2", "0.7", "0.4", "0.7"],
        ["matched", "0.375", "0.2", "2", "0.7", "0.2", "0.7"],
    ]
    bars = page.locator(".fn-tokens i").evaluate_all("bars => bars.map((b) => b.style.width)")
    assert bars[:5] == ["0%", "40%", "20%", "10%", "5%"]
    page.click(".fn-tokens button >> nth=0")  # before the replaced token nothing changes
    assert "the layer\t–" in page.inner_text(".fn-follows tbody")
    page.click(".fn-tokens button >> nth=2")
    assert page.is_disabled("text=No replacement for “↵␣×4”")
    page.click(".fn-tokens button >> nth=1")
    page.click("text=Put “ cat” back")
    assert page.is_hidden(".fn-follows")
    assert pressed(page) == [" cat"]
    assert errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_and_used_by_everybody(page, scheme):
    page.set_viewport_size({"width": 390, "height": 800})
    ground, ink = ("#fff", "#222") if scheme == "light" else ("#14181e", "#ced6dd")
    surface, muted = ("#f3f4f5", "#48566b") if scheme == "light" else ("#29313d", "#9ca4af")
    theme = f"""<!doctype html><html lang='en'><title>x</title><style>:root {{
        --pst-color-text-base: {ink};
        --pst-color-surface: {surface}; --pst-color-text-muted: {muted}; }}
        body {{ background: {ground}; }}</style><main>"""
    show(page, read_along([window()]), theme)
    page.click("text='#7'")
    page.click("text=Replace “ cat”")
    page.click(".fn-tokens button >> nth=3")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    found = Axe().run(page).response["violations"]
    grave = [v["id"] for v in found if v["impact"] in ("serious", "critical")]
    assert grave == []


@pytest.mark.parametrize(("finger", "least"), [(False, 24), (True, 44)])
def test_what_one_presses_is_large_enough(browser, finger, least):
    size = {"width": 320, "height": 740}
    context = browser.new_context(has_touch=finger, is_mobile=finger, viewport=size)
    page = context.new_page()
    show(page, read_along([window()]), "<meta name='viewport' content='width=device-width'>")
    page.click("text=Replace “ cat”")
    sizes = page.evaluate("""() => [...document.querySelectorAll("button, select")]
        .filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect())
        .map(({ width, height }) => Math.min(width, height))""")
    assert len(sizes) >= N + 3
    assert min(sizes) >= least
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    context.close()


def test_numbers_have_three_digits_and_the_page_stays_small(monkeypatch):
    packed = read_along([window()]).packed
    [page] = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert page["transcoders"][0]["contributions"][0] == [2.0, 0.512, 0.0]
    assert page["change"][2] is None
    assert page["change"][7] == [4.0, 2.0]
    monkeypatch.setattr(reader, "MOST_BYTES", 100)
    with pytest.raises(InputError, match=r"bytes are not allowed: a page holds 100; replace fewer"):
        read_along([window()])
    with pytest.raises(InputError, match=r"windows = \[\] is not allowed: there must be"):
        read_along([])
