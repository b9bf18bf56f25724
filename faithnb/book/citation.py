"""How to cite the book, and what its pages link to: all from ``CITATION.cff``.

What the file does not say (a repository, a DOI, a date) is left out everywhere.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faithnb.book.contents import plain_yaml
from faithnb.common.files import write_whole


@dataclass(frozen=True)
class Work:
    """A work as a CITATION.cff names it: the book itself, or one that it refers to."""

    key: str
    """Of its BibTeX entry."""
    title: str
    authors: tuple[str, ...]
    year: str = ""
    journal: str = ""
    version: str = ""
    doi: str = ""
    repository: str = ""
    url: str = ""

    @classmethod
    def read(cls, found: Mapping[str, Any], key: str) -> Work:
        """From the fields of a file, or of one of its references."""
        released = str(found.get("date-released", ""))
        return cls(
            key,
            str(found["title"]),
            tuple(map(_name, found["authors"])),
            str(found.get("year", released[:4])),
            *(str(found.get(name, "")) for name in
              ("journal", "version", "doi", "repository-code", "url")),
        )  # fmt: skip

    @property
    def address(self) -> str:
        """Where it is found, the most lasting place first; empty if none is known."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url or self.repository

    @property
    def as_sentence(self) -> str:
        """The title, with a full stop unless it ends with a mark of its own."""
        return self.title if self.title[-1] in ".?!" else f"{self.title}."

    @property
    def in_words(self) -> str:
        """As in a list of references."""
        rest = [self.journal, self.version and f"Version {self.version}", self.address]
        year = f" ({self.year})" if self.year else ""
        by = " and ".join(self.authors)
        return " ".join(
            [f"{by[:1].upper()}{by[1:]}{year}.", self.as_sentence]
            + [part if part == self.address else f"{part}." for part in rest if part]
        )

    @property
    def bibtex(self) -> str:
        """As a BibTeX entry."""
        fields = {
            "title": f"{{{self.title}}}", "author": " and ".join(map(_in_braces, self.authors)),
            "year": self.year, "journal": self.journal, "version": self.version, "doi": self.doi,
            "url": self.url or self.repository,
        }  # fmt: skip
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{'article' if self.journal else 'misc'}{{{self.key},", *lines, "}"])


def _name(author: Mapping[str, Any]) -> str:
    """A group's name, or "Family, Given"."""
    parts = (author.get("family-names"), author.get("given-names"))
    return str(author.get("name") or ", ".join(filter(None, parts)))


def _in_braces(name: str) -> str:
    """BibTeX takes a name without a comma apart, unless braces hold it."""
    return name if "," in name else f"{{{name}}}"


def read_citation(path: Path) -> tuple[Work, Work]:
    """The book, and the note that it is about.

    Raises:
        OSError: if the file cannot be read.
    """
    found = plain_yaml().load(path.read_text(encoding="utf-8"))
    (note,) = found["references"]
    return Work.read(found, "faithnb"), Work.read(note, "olah2025faithfulness")


def identify(src: Path, citation: Path) -> None:
    """Let staged pages say who wrote them and link to what is known: the title and the author in
    the configuration, buttons and a footer on every page, ``{{ byline }}`` and ``{{ links }}`` for
    prose, and ``book/cite_as.md`` for the page that says how to cite.

    Args:
        src: what :func:`faithnb.book.staging.stage` made.
        citation: a CITATION.cff.

    Raises:
        OSError: if a file cannot be read or written.
    """
    book, note = read_citation(citation)
    config = plain_yaml().load((src / "_config.yml").read_text(encoding="utf-8"))
    config |= {"title": book.title, "author": ", ".join(book.authors)}
    theme = config["sphinx"]["config"]["html_theme_options"]
    theme["extra_footer"] = " · ".join(_footer(book))
    if book.repository:
        config["repository"] = {"url": book.repository}
        theme |= {
            "repository_url": book.repository,
            "use_repository_button": True,
            "use_issues_button": True,
        }
    config.setdefault("parse", {})["myst_substitutions"] = {
        "byline": byline(book),
        "links": " · ".join(_links(book, note)),
    }
    # JSON is YAML in which every reader takes "off" for text
    write_whole(src / "_config.yml", json.dumps(config, indent=1, ensure_ascii=False))
    write_whole(src / "book" / "cite_as.md", f"{_entry(book)}\nThe note:\n\n{_entry(note)}")


def byline(book: Work) -> str:
    """Who wrote the book, in a sentence."""
    return f"By {' and '.join(book.authors)}, independent of the note's author."


def _links(book: Work, note: Work) -> Iterator[str]:
    """For prose of a page in ``book`` or ``notebooks``, in Markdown."""
    yield f"[The note]({note.url})"
    if book.repository:
        yield f"[Code]({book.repository})"
    if book.doi:
        yield f"[DOI](https://doi.org/{book.doi})"
    yield "[Cite](../book/cite.md)"


def _footer(book: Work) -> Iterator[str]:
    """For every page, in HTML; links within the book would depend on where the page lies."""
    yield html.escape(f"{book.as_sentence} {byline(book)}")
    if book.repository:
        yield f'<a href="{html.escape(book.repository)}">Code</a>'
    if book.doi:
        yield f'<a href="https://doi.org/{html.escape(book.doi)}">DOI</a>'


def _entry(work: Work) -> str:
    return f"> {work.in_words}\n\n```bibtex\n{work.bibtex}\n```\n"
