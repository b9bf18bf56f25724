"""The book as a paper: one page to print, made of the built pages, without what only a screen
needs. How it looks is in ``book/static/paper.css``."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, SoupStrainer, Tag

from faithnb.book.citation import Work, byline

ON_SCREEN = (
    "notebooks/story", "book/minimal", "notebooks/audit", "notebooks/benchmark",
    "notebooks/explorer", "notebooks/atlas", "book/reproduce", "book/scaling", "book/cite",
    "book/api",
)  # fmt: skip
"""What the names of pages begin with that a paper does not have: a manual, and what computes."""

ON_SCREEN_ALONE = "noscript, button, .cell_input, details.hide, .headerlink, .fn-control"
"""Parts of pages: code and what is pressed."""

PAGE = """<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<title></title></head><body><main class="bd-main"><div class="bd-content">
<div class="bd-article-container"><article class="bd-article"><header class="front"><h1></h1>
<p class="authors"></p><p class="date"></p></header><nav class="entries"><h2>Contents</h2><ol></ol>
</nav></article></div></div></main></body></html>"""

ENTRY = '<li><a href="#{}"><span>{}</span><span class="page"></span></a></li>'

LIVE = '<p class="live">In the browser a widget computes here: <em>{}</em>.</p>'


def on_paper(names: Sequence[str]) -> list[str]:
    """The pages that the paper has, the landing page first."""
    return [name for name in names if not name.startswith(ON_SCREEN)]


def compose(html: Path, names: Sequence[str], work: Work) -> BeautifulSoup:
    """A title, the landing page's abstract, contents, the other pages in order, references.

    A link to another page leads to its chapter, and one to what the paper does not have is none.

    Args:
        html: the rendered book.
        names: its pages, the landing page first.
        work: the book, as it is cited.
    """
    chapters = [chapter(html, name) for name in names]
    paper = BeautifulSoup(PAGE, "html.parser")
    title, article = chapters[0].h1.get_text(), paper.article
    paper.title.string = article.h1.string = title
    article.select_one(".authors").string = byline(work)
    article.select_one(".date").string = " · ".join(_made(html, work))
    paper.head.extend(_styles_and_formulas(html, names[0]))
    for abstract in chapters[0].select(".abstract"):
        article.header.append(abstract.extract())
    _become_summary(chapters[0])
    article.extend(chapters)
    article.extend(_references(article))
    for part in article.find_all("div", class_="chapter", recursive=False):
        entry = ENTRY.format(part["id"], part.h1.decode_contents())
        article.nav.ol.append(BeautifulSoup(entry, "html.parser"))
    _lead_inside(paper)
    return paper


def number_contents(paper: BeautifulSoup, starts: Mapping[str, int]) -> None:
    """Fill in where each entry of the contents stands.

    Args:
        paper: what :func:`compose` made.
        starts: the pages of anchors, counted from 1.
    """
    for entry in paper.select("nav a"):
        entry.select_one(".page").string = str(starts.get(entry["href"][1:], ""))


def chapter(html: Path, name: str) -> Tag:
    """A page as a part of the paper: without code, all folds open, widgets named, and with ids and
    addresses that hold outside of the page."""
    part = _read(html, name, "article").find("article")
    part.name, part["class"] = "div", ["chapter"]
    for widget in part.select("script[type*='widget-view']"):
        _name_widget(widget)
    for found in part.select(f"{ON_SCREEN_ALONE}, script"):
        found.decompose()
    for fold in part.select("details"):
        fold["open"] = ""
    for marked in part.select("[id]"):
        marked["id"] = f"{_anchor(name)}--{marked['id']}"
    part["id"] = _anchor(name)
    for image in part.select("img[src]"):
        image["src"] = _absolute(html, name, image["src"])
    for link in part.select("a[href]"):
        link["href"] = _within(name, link["href"])
    return part


def _read(html: Path, name: str, tag: str) -> BeautifulSoup:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser", parse_only=SoupStrainer(tag))


def _name_widget(widget: Tag) -> None:
    """A line in place of a section that is about a widget, or else of the widget's cell."""
    section, cell = widget.find_parent("section"), widget.find_parent(class_="cell")
    heading = section.find(["h1", "h2", "h3"])
    line = BeautifulSoup(LIVE.format(heading.get_text().strip("#")), "html.parser")
    only_widget = heading.name != "h1" and not section.select("figure, table")
    (section if only_widget else cell).replace_with(line)


def _anchor(name: str) -> str:
    return name.replace("/", "-")


def _absolute(html: Path, name: str, address: str) -> str:
    if urlsplit(address).scheme:
        return address
    return (html / name).parent.joinpath(urlsplit(address).path).resolve().as_uri()


def _within(name: str, address: str) -> str:
    """The anchor that an address in the book has in the paper."""
    path, _, label = address.partition("#")
    if urlsplit(address).scheme:
        return address
    page = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)) if path else name
    anchor = _anchor(page.removesuffix(".html"))
    return f"#{anchor}--{label}" if label else f"#{anchor}"


def _lead_inside(paper: BeautifulSoup) -> None:
    """Links lead to what is there, at least to the chapter, or are none."""
    there = {marked["id"] for marked in paper.select("[id]")}
    for link in paper.select("a[href^='#']"):
        to = link["href"][1:]
        if to in there:
            continue
        if (home := to.partition("--")[0]) in there:
            link["href"] = f"#{home}"
        else:
            del link["href"]


def _made(html: Path, work: Work) -> Iterator[str]:
    """When, in which version and with what profile, as far as it is known."""
    record = html / "claims.json"
    build: Mapping[str, str] = {}
    if record.exists():
        build = json.loads(record.read_text(encoding="utf-8"))["build"]
        day = datetime.fromisoformat(build["date"])
        yield f"{day.day} {day:%B %Y}"
    yield f"version {work.version}"
    if build:
        yield f"computed with profile {build['profile']}"
    if work.address:
        yield work.address


def _styles_and_formulas(html: Path, name: str) -> Iterator[Tag]:
    """What a page's head says about how it looks and how formulas are drawn; then the paper's."""
    head = _read(html, name, "head")
    for found in head.select("link[rel~='stylesheet'], script"):
        if found.name == "link":
            found["href"] = _absolute(html, name, found["href"])
        elif "mathjax" in found.get("src", ""):
            found["src"] = _absolute(html, name, found["src"])
        elif "window.MathJax" not in found.get_text():
            continue
        yield found
    yield head.new_tag("link", rel="stylesheet", href=(html / "_static/paper.css").as_uri())


def _become_summary(landing: Tag) -> None:
    """The landing page without what the paper's front has of it: its title, byline and links."""
    landing.h1.string = "In short"
    for paragraph in landing.section.find_all("p", recursive=False):
        paragraph.decompose()


def _references(article: Tag) -> Iterator[Tag]:
    """The sections with references, taken out, as chapters."""
    for entries in article.select(".citation-list"):
        section = entries.find_parent("section").extract()
        section.name, section["class"] = "div", ["chapter", "references"]
        section.find(["h1", "h2", "h3"]).name = "h1"
        yield section
