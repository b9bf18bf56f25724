"""The book's pages as one page for print."""

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from faithnb.book.citation import Work
from faithnb.book.contents import ROOT, pages
from faithnb.book.paper import ON_SCREEN, compose, number_contents, on_paper

HEAD = """<html><head><link rel="stylesheet" href="../_static/theme.css?v=1"/>
<script>window.MathJax = {}</script><script src="../_static/book.js"></script></head><body>"""

LANDING = (
    HEAD
    + """<article><section id="title"><h1>The title<a class="headerlink">#</a></h1>
<p>By us</p>
<div class="abstract"><p>What is found <a href="../book/back.html#id9">Olah</a>.</p></div>
<section id="results"><h2>Results</h2><p>Five</p></section></section></article></body></html>"""
)

BACKGROUND = (
    HEAD
    + """<article><section id="back"><h1>Background</h1><p>Words</p>
<section id="references"><h2>References<a class="headerlink">#</a></h2><div class="citation-list">
<div class="citation" id="id9">Olah, a note</div></div></section></section></article></body>"""
)

CHAPTER = (
    HEAD
    + """<article><section id="one"><h1><span>1. </span>A &amp; B</h1>
<p><a href="../book/back.html">back</a> <a href="#fig-a">Fig. 1.1</a>
<a href="explorer.html#x">live</a>
<a href="../book/back.html#gone">gone</a> <a href="https://example.org/">out</a></p>
<div class="cell"><details class="hide"><summary>Show code cell source</summary>
<div class="cell_input">hidden()</div></details><div class="cell_input">shown()</div>
<div class="cell_output"><figure id="fig-a"><img src="../_images/a.svg"/></figure></div></div>
<details><summary>rule</summary>evidence</details><button>press</button>
<section id="try"><h2>Try it</h2><p>Turn a knob</p><div class="cell"><div class="cell_output">
<script type="application/vnd.jupyter.widget-view+json">{}</script>
<noscript>scriptless</noscript></div></div>
</section></section></article></body></html>"""
)


@pytest.fixture
def html(tmp_path):
    for name, text in (("notebooks/index", LANDING), ("book/back", BACKGROUND),
                       ("notebooks/01_one", CHAPTER)):  # fmt: skip
        (tmp_path / f"{name}.html").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.html").write_text(text)
    return tmp_path


@pytest.fixture
def paper(html) -> BeautifulSoup:
    work = Work("key", "The title", ("Ada", "Bo"), version="1.0")
    return compose(html, ["notebooks/index", "book/back", "notebooks/01_one"], work)


def test_it_begins_with_title_authors_abstract_and_contents(paper):
    front, contents = paper.article.header, paper.article.nav
    assert paper.title.string == front.h1.string == "The title"
    assert "Ada and Bo" in front.select_one(".authors").string
    assert front.select_one(".date").string == "version 1.0"
    assert front.select_one(".abstract").get_text() == "What is found Olah."
    titles = [a.get_text() for a in contents.select("a")]
    assert titles == ["In short", "Background", "1. A & B", "References"]
    assert paper.article.get_text().count("The title") == 1
    assert "By us" not in paper.article.get_text()


def test_a_build_says_when_and_with_what_it_was_computed(html):
    build = {"date": "2026-03-01T10:00:00+00:00", "profile": "quick"}
    (html / "claims.json").write_text(json.dumps({"build": build}))
    work = Work("key", "T", ("Ada",), version="1.0", doi="10.1/x")
    paper = compose(html, ["notebooks/index"], work)
    said = "1 March 2026 · version 1.0 · computed with profile quick · https://doi.org/10.1/x"
    assert paper.select_one(".date").string == said


def test_code_and_what_is_pressed_are_left_out_and_folds_are_open(paper):
    words = paper.article.get_text()
    for gone in ("Show code", "hidden()", "shown()", "press", "scriptless"):
        assert gone not in words
    assert paper.article.select("script, noscript, button, .headerlink") == []
    assert [d.has_attr("open") for d in paper.select("details")] == [True]


def test_a_section_about_a_widget_becomes_a_line_that_says_where_it_is(paper):
    assert "Turn a knob" not in paper.get_text()
    assert paper.select_one(".live").get_text() == "In the browser a widget computes here: Try it."


def test_a_widget_beside_a_figure_takes_nothing_with_it(html):
    page = html / "notebooks" / "01_one.html"
    page.write_text(page.read_text().replace("<p>Turn a knob</p>", "<figure>seen</figure>"))
    work = Work("key", "T", ("Ada",))
    paper = compose(html, ["notebooks/index", "notebooks/01_one"], work)
    assert "seen" in paper.get_text()
    assert paper.select_one("section .live")


def test_links_lead_within_the_paper_or_elsewhere_or_are_none(paper):
    text = str(paper.select_one("#notebooks-01_one p"))
    found = BeautifulSoup(text, "html.parser").select("a[href]")
    assert [(a.get_text(), a["href"]) for a in found] == [
        ("back", "#book-back"), ("Fig. 1.1", "#notebooks-01_one--fig-a"), ("gone", "#book-back"),
        ("out", "https://example.org/"),
    ]  # fmt: skip
    anchors = [tag["id"] for tag in paper.select("[id]")]
    assert len(anchors) == len(set(anchors))
    assert {a["href"][1:] for a in paper.select("a[href^='#']")} <= set(anchors)


def test_references_come_last(paper):
    assert paper.article.find_all("div", class_="chapter")[-1].h1.get_text() == "References"
    assert paper.select_one(".abstract a")["href"] == "#book-back--id9"
    assert paper.get_text().count("Olah, a note") == 1


def test_pictures_and_styles_are_found_from_anywhere(paper, html):
    assert paper.img["src"] == (html / "_images" / "a.svg").resolve().as_uri()
    styles = [Path(link["href"]).name for link in paper.head.select("link")]
    assert styles == ["theme.css", "paper.css"]
    assert [script.get_text() for script in paper.select("script")] == ["window.MathJax = {}"]


def test_contents_have_the_pages_that_are_known(paper):
    number_contents(paper, {"notebooks-index": 2, "notebooks-01_one": 7})
    assert [span.string for span in paper.select("nav .page")] == ["2", "", "7", ""]


def test_the_paper_has_the_chapters_and_not_the_manual():
    every = pages(ROOT / "_toc.yml")
    kept = on_paper(every)
    chapters = {name for name in every if name.split("/")[-1][:2].isdecimal()}
    assert kept[0] == "notebooks/index"
    assert len(chapters) > 10
    assert chapters <= set(kept)
    assert all(any(name.startswith(start) for name in every) for start in ON_SCREEN)
    assert not any(name.startswith(ON_SCREEN) for name in kept)
