"""Rendering: what a page must show, and what must not be in it."""

import re
import shutil

import pytest

from faithnb.book import rendering
from faithnb.book.contents import ROOT, BuildError


def made_page(folder, article, source="# Title\n\n![x](y.svg)\n"):
    (folder / "src" / "book").mkdir(parents=True)
    (folder / "html" / "book").mkdir(parents=True)
    (folder / "src" / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (folder / "src" / "book" / "index.md").write_text(source)
    (folder / "html" / "book" / "index.html").write_text(f"<article>{article}</article>")
    return folder / "html", folder / "src"


@pytest.mark.parametrize(
    ("article", "wrong"),
    [
        ('<img src="y.svg">', None),
        ("no picture", "0 pictures where 1 belong"),
        ('<img src="y"> {glue:text}`n`', "was not filled in"),
        ('<img src="y"> {numref}`fig`', "was not filled in"),
        ('<img src="y"> <div class="output stderr highlight">', "prints warnings"),
    ],
)
def test_pages_are_checked_for_pictures_and_values(tmp_path, article, wrong):
    html, src = made_page(tmp_path, article)
    if wrong is None:
        rendering.check(html, src)
    else:
        with pytest.raises(BuildError, match=wrong):
            rendering.check(html, src)
    (html / "book" / "index.html").unlink()
    with pytest.raises(BuildError, match="the page is missing"):
        rendering.check(html, src)


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://a.org/x.js">',
        "<link rel=preconnect href=//a.org/x.js>",
        '<source title="a > b" srcset="x.png, https://a.org/x.js 2x">',
        '<svg><image xlink:href="https://a.org/x.js"/></svg>',
        '<p style="background: url(https://a.org/x.js)">',
        "<style>@import 'https://a.org/x.js';</style>",
        '<script>const FROM = "https://a.org/x.js"</script>',
        '<script type="application/json">{"a": "https://a.org/x.js\\n"}</script>',
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_found(tmp_path, page):
    html, src = made_page(tmp_path, f'<img src="y.svg">{page}')
    rendering.check(html, src)  # a book that can only be had with a network
    (html / "_static" / "vendor").mkdir(parents=True)
    with pytest.raises(BuildError, match=r"index.html: it would load .*//a\.org/x\.js$"):
        rendering.check(html, src)


def test_links_names_and_what_lies_beside_are_not_from_elsewhere(tmp_path):
    page = """<img src="y.svg"><a href="https://a.org/">x</a> <code>src="https://a.org/"</code>
        <!-- <script src="https://a.org/x.js"> --><svg xmlns="http://www.w3.org/2000/svg"></svg>
        <script>const NAME = "http://www.w3.org/2000/svg";</script>
        <source src="data:image/png;base64,//a"><link href="../x.css">"""
    assert rendering.FromElsewhere(page).found == []
    html, src = made_page(tmp_path, page)
    (html / "_static" / "vendor").mkdir(parents=True)
    rendering.check(html, src)
    (html / "_static" / "x.css").write_text("p { background: url(//a.org/x.png) }")
    with pytest.raises(BuildError, match=r"x.css: it would load //a.org/x.png"):
        rendering.check(html, src)


@pytest.mark.book
@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("# T\n\n{numref}`fig-nowhere`\n", "fig-nowhere"),
        ("# T\n\n{glue:text}`nothing`\n", "nothing"),
        ("# T\n\n{cite}`nobody1999`\n", "nobody1999"),
        ("# T\n\n[x](missing.md)\n", "missing"),
    ],
)
def test_what_does_not_resolve_fails_the_rendering(tmp_path, page, complaint):
    src = tmp_path / "_build" / "src"
    (src / "book").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", src)
    shutil.copytree(ROOT / "book" / "static", src / "book" / "static")
    shutil.copy(ROOT / "book" / "references.bib", src / "book")
    (src / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (src / "book" / "index.md").write_text(page)
    with pytest.raises(BuildError, match=complaint):
        rendering.render(src, tmp_path / "_build")


def test_tables_are_called_tables_and_figures_figures():
    number = '<span class="caption-number">Fig. 8.{} </span>'
    link = (
        '<a class="reference internal" href="{}"><span class="std std-numref">Fig. 8.2</span></a>'
    )
    figure = '<figure class="x" id="{}"><div></div><figcaption>{}</figcaption></figure>'
    page = "".join([
        figure.format("fig-a", number.format(1)), figure.format("tab-b", number.format(2)),
        link.format("#tab-b"), link.format("08_kinks.html#tab-b"), link.format("#fig-a"),
    ])  # fmt: skip
    named = rendering.with_tables_named(page)
    assert re.findall(r"(Fig\.|Table) 8", named) == ["Fig.", "Table", "Table", "Table", "Fig."]
