"""What a page's figures and tables look like: by day, by night, on a telephone."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from faithnb.book.contents import ROOT

FIGURE = """<svg xmlns='http://www.w3.org/2000/svg' width='500' height='40'>
<rect width='500' height='40' fill='white'/><rect x='10' width='100' height='40' fill='#222222'/>
<rect x='200' width='100' height='40' fill='#0072B2'/></svg>"""
PAGE = """<!doctype html><html lang=en data-theme={theme}><script src=book.js></script>
<link rel=stylesheet href=book.css><body style='margin: 0; background: {ground}'>
<article class=bd-article><figure style='margin: 0'><img src=figure.svg alt=''></figure>"""


@pytest.fixture
def folder(tmp_path):
    for name in ("book.js", "book.css"):
        shutil.copy(ROOT / "book" / "static" / name, tmp_path)
    (tmp_path / "figure.svg").write_text(FIGURE)
    return tmp_path


@pytest.mark.parametrize(("theme", "ground"), [("light", 255), ("dark", 18)])
def test_a_figure_has_the_page_s_ground_and_its_own_hues(page, folder, theme, ground):
    text = PAGE.format(theme=theme, ground=f"rgb({ground}, {ground}, {ground})")
    (folder / "page.html").write_text(text)
    page.goto((folder / "page.html").as_uri())
    shot = page.locator("img").screenshot()
    pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
    empty, ink, blue = pixels[20, 150], pixels[20, 50], pixels[20, 250]
    assert abs(empty - ground).max() <= 1
    assert abs(ink.mean() - ground) > 150
    assert abs(blue.mean() - ground) > 80
    assert blue.argmax() == 2
    assert blue.argmin() == 0


@pytest.mark.parametrize(("width", "drawn"), [(1280, 500), (390, 425)])
def test_a_figure_keeps_its_size_on_a_telephone_and_scrolls(page, folder, width, drawn):
    (folder / "page.html").write_text(PAGE.format(theme="light", ground="white"))
    page.set_viewport_size({"width": width, "height": 600})
    page.goto((folder / "page.html").as_uri())
    assert page.locator("img").bounding_box()["width"] == pytest.approx(drawn, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scrolling = page.get_by_role("region", name="a figure that scrolls")
    assert scrolling.count() == (drawn > width)
    if drawn > width:
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("document.querySelector('.wide-figure').scrollLeft > 0")


def test_the_style_sheet_is_whole():
    text = (ROOT / "book" / "static" / "book.css").read_text()
    assert text.count("{") == text.count("}")
    assert "<<<<<<<" not in text
