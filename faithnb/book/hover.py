"""A Sphinx extension: a word of the glossary shows its meaning under the pointer, offline."""

from __future__ import annotations

from typing import Any

from docutils import nodes


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("doctree-resolved", say_meanings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def say_meanings(app: Any, doctree: nodes.document, docname: str) -> None:
    """Give each reference to a word of the glossary the first sentences of its meaning as title.

    Args:
        app: Sphinx.
        doctree: a page whose references are resolved.
        docname: the page's name.
    """
    where = {
        f"{page}#{label}": page for (kind, _), (page, label)
        in app.env.domains["std"].objects.items() if kind == "term"
    }  # fmt: skip
    meanings = {
        f"{page}#{label}": text
        for page in set(where.values())
        for label, text in meanings_of(app.env.get_doctree(page)).items()
    }
    for reference in doctree.findall(nodes.reference):
        page, _, label = reference.get("refuri", "").partition("#")
        page = page.removesuffix(".html").rpartition("/")[2]
        for place, text in meanings.items():
            stem, _, of = place.rpartition("/")[2].partition("#")
            if (label or reference.get("refid")) == of and page in (stem, ""):
                reference["reftitle"] = text


def meanings_of(glossary: nodes.document) -> dict[str, str]:
    """The words of a glossary's page by their anchors, with the first paragraph of each."""
    found = {}
    for item in glossary.findall(nodes.definition_list_item):
        for term in item.findall(nodes.term):
            for label in term.get("ids", []):
                (meaning, *_) = item.findall(nodes.paragraph)
                found[label] = meaning.astext()
    return found
