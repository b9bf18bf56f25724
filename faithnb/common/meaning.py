"""What Python source does, apart from its words and its layout: what keys are made of."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from faithnb.common.syntax import parse

SAYS_NOTHING = {"ctx", "kind", "type_comment", "type_ignores"}
"""Fields of a syntax tree that follow from others, or are comments."""


@lru_cache(maxsize=1024)
def meaning(source: bytes) -> str:
    """Hash of a module's syntax tree without docstrings and comments, equal in every version of
    Python; of the bytes themselves, if they are not Python."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError):
        return hashlib.sha256(b"\0" + source).hexdigest()
    return hashlib.sha256("".join(_written(tree)).encode(errors="surrogatepass")).hexdigest()


def _written(node: Any) -> Iterator[str]:
    """A tree as text, without what some versions of Python write and others leave out."""
    if isinstance(node, list):
        yield "["
        for item in node:
            if not _is_words(item):
                yield from _written(item)
                yield ","
        yield "]"
    elif isinstance(node, ast.AST):
        yield type(node).__name__ + "("
        for name, value in ast.iter_fields(node):
            if name not in SAYS_NOTHING and value is not None and value != []:
                if isinstance(node, ast.JoinedStr):  # Python 3.12 sees empty pieces
                    value = [piece for piece in value if getattr(piece, "value", None) != ""]
                yield name + "="
                yield from _written(value)
        yield ")"
    else:
        yield repr(node)


def _is_words(node: Any) -> bool:
    """A text that stands as a statement of its own: a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
