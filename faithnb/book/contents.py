"""The book's folder, its pages, and the error that it cannot be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from faithnb.common.files import CHECKOUT

ROOT = CHECKOUT


class BuildError(Exception):
    """The book cannot be built; the message says why and what to do."""


def pages(toc: Path) -> list[str]:
    """The pages of a table of contents, without extension, in order."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, Mapping):
            found.extend(str(node[key]) for key in ("root", "file") if key in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for value in node:
                walk(value)

    walk(plain_yaml().load(toc.read_text(encoding="utf-8")))
    return found


def plain_yaml() -> YAML:
    """A reader that makes nothing but plain values."""
    return YAML(typ="safe", pure=True)
