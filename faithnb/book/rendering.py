"""Pages rendered by Jupyter Book, and held to what they must show."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from faithnb.book.contents import BuildError, pages
from faithnb.book.links import broken_links
from faithnb.book.processes import run, say_at_once
from faithnb.common.files import write_whole


def render(src: Path, build: Path, whole: bool = True) -> Path:
    """Render with Jupyter Book, warnings as errors, into an empty folder.

    Args:
        src: what :func:`faithnb.book.staging.fill` made.
        build: where to.
        whole: whether no page is left out; a reference to one that is would be an error.

    Raises:
        BuildError: if Jupyter Book reports anything.
    """
    for stale in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(build / stale, ignore_errors=True)
    command = [
        str(Path(sys.executable).parent / "jupyter-book"), "build", str(src),
        "--path-output", str(build.parent), *(["-W", "--keep-going", "-n"] if whole else []),
    ]  # fmt: skip
    result = run(command, NO_COLOR="1")
    if result.returncode:
        log = build / "jupyter-book.log"
        said_all = result.stdout + result.stderr
        write_whole(log, said_all)
        said = [line for line in said_all.splitlines() if re.search("WARNING|ERROR", line)]
        raise BuildError(
            "Jupyter Book reports:\n" + "\n".join(dict.fromkeys(said)) + f"\nThe whole log: {log}"
        )
    for page in (build / "html").rglob("*.html"):
        write_whole(page, with_tables_named(page.read_text(encoding="utf-8")))
    return build / "html"


TABLE = re.compile(
    r"""(<figure[^>]*\ id="tab-(?:(?!</figure>).)*?<span\ class="caption-number">
    |\ href="[^"]*\#tab-[^"]*"[^>]*><span\ class="std\ std-numref">)Fig\.\ """,
    re.DOTALL | re.VERBOSE,
)


def with_tables_named(page: str) -> str:
    """A page on which tables, which MyST-NB counts among the figures, are called tables."""
    return TABLE.sub(r"\1Table ", page)


def check(html: Path, src: Path, whole: bool = True) -> None:
    """Every page is there, with as many pictures as its source asks for, nothing unresolved, no
    warnings, no link within the book that leads nowhere, and nothing that it would load from
    elsewhere if it can do without.

    Args:
        html: the rendered pages.
        src: their sources.
        whole: whether no page is left out; values and references that came from one that is are
            said, and raise nothing.

    Raises:
        BuildError: naming the pages and what they lack.
    """
    wrong = []
    if (html / "_static" / "vendor").exists():
        for file in sorted(html.rglob("*.html")):
            for address in FromElsewhere(file.read_text(encoding="utf-8")).found:
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
        for file in sorted(html.rglob("*.css")):
            for address in FromElsewhere.STYLE.findall(file.read_text(encoding="utf-8")):
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
    for page in pages(src / "_toc.yml"):
        built = html / f"{page}.html"
        if not built.exists():
            wrong.append(f"{page}: the page is missing")
            continue
        text = built.read_text(encoding="utf-8")
        article = text[text.find("<article") : text.find("</article>")]
        expected, found = _count_pictures(src / page), len(re.findall("<img ", article))
        if found != expected:
            wrong.append(f"{page}: {found} pictures where {expected} belong")
        if re.search(r"\{glue|\{numref|\{cite|pasted-missing|undefined label", article):
            unfilled = f"{page}: a value or a reference was not filled in"
            if whole:
                wrong.append(unfilled)
            else:
                say_at_once(unfilled)
        if 'class="output stderr' in article:
            wrong.append(f"{page}: a cell prints warnings, which readers would see")
    if whole:
        wrong += [f"{link}: the link leads nowhere" for link in broken_links(html)]
    if wrong:
        raise BuildError("the book is not complete:\n" + "\n".join(wrong))


class FromElsewhere(HTMLParser):
    """Gathers addresses on other hosts that a page loads, or that a script in it names. Links that
    a reader may follow are none, nor are the names of XML's vocabularies."""

    LOAD = ("src", "srcset", "href", "xlink:href", "data", "poster")
    ADDRESS = re.compile(r"(?:^|\s)((?:https?:)?//\S+)")
    STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^\s"')]+)""")
    SCRIPT = re.compile(r"""(?:https?|wss?)://(?!www\.w3\.org/)[^\s"'`<>)\\]+""")

    def __init__(self, page: str):
        super().__init__()
        self.inside, self.found = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        for name, value in attributes:
            if name == "style":
                self.found += self.STYLE.findall(value or "")
            elif name in self.LOAD and tag not in ("a", "area"):
                self.found += self.ADDRESS.findall(value or "")

    def handle_data(self, text: str) -> None:
        if self.inside == "script":
            self.found += self.SCRIPT.findall(text)
        elif self.inside == "style":
            self.found += self.STYLE.findall(text)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def _count_pictures(page: Path) -> int:
    in_prose = re.compile(r"!\[|^:*`*\{(?:figure|image)\}", re.MULTILINE)
    if (markdown := page.with_suffix(".md")).exists():
        return len(in_prose.findall(markdown.read_text(encoding="utf-8")))
    count = 0
    for cell in nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells:
        if cell.cell_type == "markdown":
            count += len(in_prose.findall(cell.source))
        elif "image" in cell.metadata.get("mystnb", {}):  # a table has a caption, but no image
            count += 1
    return count
