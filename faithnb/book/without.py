"""Pages that need a language model, and the book where it cannot be had."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from faithnb.book.contents import pages, plain_yaml
from faithnb.book.processes import say_at_once
from faithnb.common.files import write_whole
from faithnb.lm.errors import Unavailable
from faithnb.lm.fetched import MODEL, TEXTS, fetched
from faithnb.lm.loading import load

NEED_A_MODEL = ("notebooks/15_repeated_text", "notebooks/16_which_parts_matter")


def leave_out(toc: Path) -> list[str]:
    """Fetch the model and the texts if a page needs them; where they cannot be had, say so, and
    take those pages out of the table of contents.

    Returns:
        the pages that are left out.

    Raises:
        OSError: if the table cannot be written.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    needed = [page for page in pages(toc) if page in NEED_A_MODEL]
    if not needed:
        return []
    try:
        fetch()
    except Unavailable as error:
        say_at_once(f"{error} The book is built without {' and '.join(needed)}.")
        table = _less(plain_yaml().load(toc.read_text(encoding="utf-8")), needed)
        write_whole(toc, json.dumps(table, indent=1, ensure_ascii=False))  # JSON is YAML
        return needed
    return []


def without_links(src: Path, left_out: Iterable[str]) -> None:
    """In staged sources, turn links to pages that are left out into their words, with a note.

    Raises:
        OSError: if a source cannot be read or written.
    """
    stems = "|".join(re.escape(page.rpartition("/")[2]) for page in left_out)
    if not stems:
        return
    link = re.compile(rf"\[([^][\n]*)\]\((?:[./\w]*/)?(?:{stems})\.ipynb(?:#[^)\s]*)?\)")
    for path in (*(src / "book").rglob("*.md"), *(src / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        if (found := link.sub(_words, text)) != text:
            write_whole(path, found)


def _words(link: re.Match[str]) -> str:
    return f"{link[1]} (a page that this copy lacks)" if link[1] else "a page that this copy lacks"


def fetch() -> None:
    """The model, decoded once for all kernels, and the texts.

    Raises:
        Unavailable: if one cannot be had.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    for wanted in (MODEL, *TEXTS.values()):
        fetched(wanted, show=True)
    load()


def _less(node: Any, dropped: Collection[str]) -> Any:
    """A table without some pages, and without parts that have no page left."""
    if isinstance(node, dict):
        return {key: _less(value, dropped) for key, value in node.items()}
    if isinstance(node, list):
        return list(_kept([_less(value, dropped) for value in node], dropped))
    return node


def _kept(nodes: Iterable[Any], dropped: Collection[str]) -> Iterable[Any]:
    for node in nodes:
        if isinstance(node, dict) and (node.get("file") in dropped or node.get("chapters") == []):
            continue
        yield node
