"""What a piece of a notebook's code says, without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from faithnb.common.syntax import parse

OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Pow: operator.pow,
}  # fmt: skip
BUILT_IN = {kind.__name__: kind for kind in (float, int, list, range, tuple)}


def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, with IPython's own lines as calls; ``None`` if it is not Python."""
    try:
        return parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def imported(tree: ast.Module) -> dict[str, Any]:
    """What the imports of a piece of code bind.

    Raises:
        ImportError, AttributeError: if there is no such module, or name in it.
    """
    found: dict[str, Any] = {}
    for line in tree.body:
        if isinstance(line, ast.Import):
            for alias in line.names:
                module, top = import_module(alias.name), alias.name.partition(".")[0]
                found[alias.asname or top] = module if alias.asname else import_module(top)
        elif isinstance(line, ast.ImportFrom):
            module = import_module("." * line.level + (line.module or ""))
            for alias in line.names:
                if alias.name == "*":
                    found |= vars(module)
                elif hasattr(module, alias.name):
                    found[alias.asname or alias.name] = getattr(module, alias.name)
                else:
                    part = import_module(f"{line.module}.{alias.name}")
                    found[alias.asname or alias.name] = part
    return found


def evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """What an expression stands for that is made of plain values, arithmetic, and names.

    Args:
        node: the expression.
        names: what is known, to be read, called, or looked up in; a few built-in types are.

    Raises:
        NameError: if a name is not known.
        ValueError: if the expression is made of anything else.
        Exception: that an operation or a call raises.
    """
    if isinstance(node, ast.Name):
        if node.id in names:
            return names[node.id]
        if node.id in BUILT_IN:
            return BUILT_IN[node.id]
        raise NameError(f"{node.id} is not imported")
    if isinstance(node, ast.Attribute):
        return getattr(evaluate(node.value, names), node.attr)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](evaluate(node.left, names), evaluate(node.right, names))
    if isinstance(node, ast.Call):
        given = {k.arg: evaluate(k.value, names) for k in node.keywords if k.arg}
        return evaluate(node.func, names)(*(evaluate(a, names) for a in node.args), **given)
    if isinstance(node, (ast.List, ast.Tuple)):
        elements = [evaluate(element, names) for element in node.elts]
        return elements if isinstance(node, ast.List) else tuple(elements)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{ast.unparse(node)} is no plain value") from None
