"""Python source as a syntax tree, made by one thread at a time.

Python 3.11 counts the depth of the tree that it makes in one place for all threads, and says
``SystemError: AST constructor recursion depth mismatch`` when two of them count at once.
"""

from __future__ import annotations

import ast
import threading
from typing import Any

_ONE_AT_A_TIME = threading.Lock()


def parse(source: str | bytes) -> ast.Module:
    """The tree of a module.

    Raises:
        SyntaxError, ValueError: if it is not Python.
    """
    with _ONE_AT_A_TIME:
        return ast.parse(source)


def literal(text: str) -> Any:
    """The plain value that a text says.

    Raises:
        SyntaxError, ValueError: if it says none.
    """
    with _ONE_AT_A_TIME:
        return ast.literal_eval(text)
