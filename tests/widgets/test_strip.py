"""The strip of the first page: what stands, and what its slider shows."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from conftest import ELSEWHERE, TRUE, P
from front import DARK, LIGHT, portrait, put

from faithnb import AbsoluteValue, Transcoder
from faithnb.data.sampling import evaluation_sample
from faithnb.model.layer import Circuit
from faithnb.widgets.in_page import InPage
from faithnb.widgets.portraits import __file__ as portraits_file
from faithnb.widgets.portraits import _cell, bar, cells, portraits
from faithnb.widgets.strip import strip

WHOLE = portrait(1.0, whole=True, state="datapoint")
APART = portrait(0.0, state="generalising")


def made(start=1):
    return strip(APART, [APART, WHOLE], [APART, APART], [0.0, 0.1], start, "Seed <7>.")


def test_portraits_tell_one_feature_for_p_from_three():
    layer, x = AbsoluteValue(6), evaluation_sample(6, 0.2)
    apart = Transcoder.from_circuits(TRUE)
    point = Circuit("p", P, P / 3, 0.0)
    both = [apart, Transcoder.from_circuits([*ELSEWHERE, point])]
    a, b = (portraits(t, layer, P, x)[0] for t in both)
    assert (a.share, a.state, a.at) == (pytest.approx(0), "generalising", (1, 2, 3))
    assert a.slots() == pytest.approx(torch.cat([torch.eye(3), torch.zeros(1, 3)]).numpy())
    assert b.whole == (True,)
    assert b.share == pytest.approx(1)
    assert b.state == "lost the task"  # it has nothing for its coordinates alone
    assert b.slots()[3] == pytest.approx([1, 1, 1])
    assert b.jacobian == pytest.approx(torch.full((3, 3), 1 / 3).numpy())


def test_a_portrait_in_html_says_its_numbers():
    page = cells(WHOLE)
    assert 'aria-label="Written at p by features of: all of p 1.00, 1.00, 1.00."' in page
    assert 'aria-label="Jacobian at p, row by row: 0.33, 0.33, 0.33; ' in page
    assert "width:100%" in bar(WHOLE)
    negative = replace(APART, writes=np.array([[1.0, -0.25, 0.0]]), whole=(False,))
    assert "−0.25</b>" in cells(negative)


def test_the_slider_shows_each_fraction(page):
    errors = put(page, made())
    assert page.inner_text("output") == "10 %"
    status = "10 % of the data is p: a datapoint feature without matching, a feature a coordinate"
    assert page.inner_text("[aria-live]").startswith(status)
    row = ".fn-picture-1 .fn-of-p"
    assert page.inner_text(row).split() == ["all", "of", "p", "1.00", "1.00", "1.00"]
    page.focus("input")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(row).split() == ["all", "of", "p", "·", "·", "·"]
    assert page.get_attribute("input", "aria-valuetext") == "0 %"
    assert page.inner_text("[aria-live]").startswith("No input repeats: a feature a coordinate")
    assert errors == []


def test_without_scripts_the_strip_stands(browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    put(page, made())
    assert page.locator(".fn-panel").count() == 3
    assert "1.00" in page.inner_text(".fn-picture-1 .fn-of-p")
    assert page.inner_text("figcaption") == "Seed <7>."
    heights = page.locator(".fn-panel").evaluate_all("ps => ps.map((p) => p.clientHeight)")
    assert len(set(heights)) == 1
    page.context.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("head", [LIGHT, DARK], ids=["light", "dark"])
def test_it_can_be_read_by_everybody(page, width, head):
    page.set_viewport_size({"width": width, "height": 800})
    put(page, made(), head)
    found = Axe().run(page).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "rows"), [(390, 3), (700, 1), (1280, 1)])
def test_panels_stand_in_one_row_where_there_is_room(page, width, rows):
    page.set_viewport_size({"width": width, "height": 800})
    put(page, made())
    tops = page.locator(".fn-panel").evaluate_all("ps => ps.map((p) => p.offsetTop)")
    assert len(set(tops)) == rows


def test_what_moves_nothing_brings_no_script():
    assert "<script" not in InPage("<p>still</p>")._repr_html_()


def test_data_cannot_end_the_script_they_stand_in(page):
    data = {"label": "</script><b>x</b>", "names": ["a"], "said": [""], "start": 0, "places": {}}
    errors = put(page, InPage('<div class="fn-control"></div>', "slides.js", data))
    assert page.inner_text(".fn-slider span") == "</script><b>x</b>"
    assert errors == []


def luminance(rgb):
    """WCAG's relative luminance."""
    parts = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("sign", ["plus", "minus"])
def test_every_number_can_be_read_on_its_colour(sign):
    css = (Path(portraits_file).parent / "js" / "front.css").read_text(encoding="utf-8")
    (found,) = re.findall(rf"\.fn-{sign} .*?rgb\((\d+) (\d+) (\d+) / var", css)
    colour = np.array(found, dtype=float)
    for size in np.arange(0.01, 1.005, 0.01):
        cell = _cell(size if sign == "plus" else -size)
        ground = luminance(np.round(255 * (1 - size) + colour * size))
        text = 1.0 if "fn-strong" in cell else 0.0
        light, dark = max(text, ground), min(text, ground)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, cell
