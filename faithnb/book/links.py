"""Links within the rendered book: whether each leads to a page, and to a place on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINK = re.compile(r'<a\s[^>]*?\bhref="([^"]*)"')
PLACE = re.compile(r'\s(?:id|name)="([^"]+)"')
SCRIPT = re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL)


def broken_links(html: Path) -> list[str]:
    """Links between pages that lead nowhere, as "page: address". Links to other hosts are not
    followed.

    Args:
        html: the folder of the pages.

    Raises:
        OSError: if a page cannot be read.
    """
    texts = {
        path.resolve(): SCRIPT.sub("", path.read_text(encoding="utf-8"))
        for path in sorted(html.rglob("*.html"))
    }
    places = {path: set(map(unescape, PLACE.findall(text))) for path, text in texts.items()}
    found = []
    for path, text in texts.items():
        for address, page, place in _inside(path, text):
            there = place in places[page] if page in places and place else page.exists()
            if not there:
                found.append(f"{path.relative_to(html.resolve())}: {address}")
    return list(dict.fromkeys(found))


def _inside(path: Path, text: str) -> Iterator[tuple[str, Path, str]]:
    """Each link within the book: as it is written, its page, and the place on it."""
    for address in dict.fromkeys(map(unescape, LINK.findall(text))):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or address in ("", "#"):
            continue
        page = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        # #r=0.1&lambda=0.1 is for a widget to read, and names no place
        yield address, page, "" if "=" in parts.fragment else unquote(parts.fragment)
