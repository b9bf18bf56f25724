"""A notebook's cells: as they are before a run, what they take, and what they gave."""

from __future__ import annotations

import ast
import uuid
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbformat import NotebookNode
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from papermill.translators import PythonTranslator

from faithnb.book.expressions import evaluate, imported, parsed
from faithnb.common.files import read_file
from faithnb.common.syntax import parse
from faithnb.notebook import assigned

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
ADDED = {"injected-parameters", "papermill-error-cell-tag"}
"""Tags of cells that papermill adds."""

WIDGET = "application/vnd.jupyter.widget-view+json"
NO_SCRIPTS = {"text/html": (
    "<noscript><p><em>Here a widget computes in the page, for which it needs scripts. The figures "
    "of this page show what was computed when the book was built.</em></p></noscript>"
)}  # fmt: skip


class NotebookError(Exception):
    """A file that is no notebook, or whose parameters cannot be read; the message says why."""


def read_notebook(path: Path) -> NotebookNode:
    """A notebook as it is before a run, whatever was done with the file: downloaded from the book,
    executed, stripped of its metadata.

    Raises:
        NotebookError: if it cannot be read, or is no notebook.
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NotebookError(f"{path} cannot be read: {error}.") from None
    try:
        notebook = pristine(nbformat.convert(nbformat.reader.reads(text), 4))
        nbformat.validate(notebook)
    except Exception as error:  # whatever another file makes nbformat raise
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise NotebookError(f"{path} cannot be read as a notebook: {said}.") from None
    return notebook


def pristine(notebook: NotebookNode) -> NotebookNode:
    """The same notebook without outputs and traces of runs, for a Python kernel."""
    notebook = deepcopy(notebook)
    notebook = nbformat.v4.upgrade(notebook) or notebook
    kept: list[NotebookNode] = []
    ids: set[str | None] = {None}
    for cell in notebook.cells:
        cell.setdefault("metadata", NotebookNode())
        if ADDED & set(_tags(cell)):
            continue
        for trace in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(trace, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if cell.get("id") in ids:
            cell.id = uuid.uuid4().hex[:8]
        ids.add(cell.id)
        kept.append(cell)
    notebook.cells = kept
    about = notebook.get("metadata", {})
    about = {k: v for k, v in about.items() if k not in ("papermill", "widgets")}
    notebook.metadata = NotebookNode(about)
    notebook.metadata.kernelspec = NotebookNode(KERNEL)
    notebook.metadata.setdefault("language_info", NotebookNode(name="python"))
    return notebook


def _tags(cell: NotebookNode) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def code(notebook: NotebookNode) -> list[str]:
    """The sources of the cells that run, in order."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def parameters_cell(notebook: NotebookNode) -> NotebookNode | None:
    """The cell with the tag ``parameters``, the first of them as papermill counts."""
    tagged = (c for c in notebook.cells if c.cell_type == "code" and "parameters" in _tags(c))
    return next(tagged, None)


def parameter_names(notebook: NotebookNode) -> set[str]:
    """The names that the parameters cell assigns."""
    cell = parameters_cell(notebook)
    tree = parsed(cell.source) if cell else None
    if tree is None:
        return set()
    return {name for name in assigned(ast.unparse(tree)) if not name.startswith("_")}


def defaults(notebook: NotebookNode, name: str) -> dict[str, Any]:
    """The parameters that the parameters cell sets, with their values. The cell does not run.

    Raises:
        NotebookError: if it sets one to something other than a value; ``name`` is the notebook's.
    """
    cell = parameters_cell(notebook)
    tree = parsed(cell.source) if cell else ast.Module([], [])
    if tree is None:
        raise NotebookError(f"the parameters cell of {name} is not Python.")
    found: dict[str, Any] = {}
    try:
        names = imported(tree)
        # a line for IPython only sets nothing
        for line in (line for line in tree.body if "get_ipython" not in ast.dump(line)):
            for parameter in assigned(ast.unparse(line)):
                found[parameter] = evaluate(_assigned_value(line), names | found)
    except Exception as error:
        raise NotebookError(
            f"the parameters cell of {name} fails with {type(error).__name__}: {error}."
        ) from None
    return {n: v for n, v in found.items() if not n.startswith("_")}


def _assigned_value(line: ast.stmt) -> ast.expr:
    """What a plain assignment sets its names to."""
    targets = getattr(line, "targets", [getattr(line, "target", None)])
    if (
        isinstance(line, (ast.Assign, ast.AnnAssign))
        and line.value is not None
        and all(isinstance(target, ast.Name) for target in targets)
    ):
        return line.value
    raise ValueError(f"{ast.unparse(line)} is no plain assignment")


def plain(value: Any) -> Any:
    """A value in types that papermill knows; it writes others, such as tuples, as text."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def asked_for(source: NotebookNode, parameters: Mapping[str, Any]) -> NotebookNode:
    """What papermill runs: a pristine notebook with a cell for its parameters."""
    asked = load_notebook_node(deepcopy(source))
    if not parameters:
        return asked
    values = {name: plain(value) for name, value in parameters.items()}
    return parameterize_notebook(asked, values, kernel_name="python3", language="python")


def with_values(source: str, parameters: Mapping[str, Any]) -> str:
    """The source of a parameters cell with these values in place of its own, comments and
    annotations kept. A value that cannot stand in place is assigned in a line at the end."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError):
        tree = ast.Module([], [])
    starts, text = [0], source.encode()
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    places: list[tuple[int, int, str]] = []
    at_end = []
    for name, value in parameters.items():
        written = PythonTranslator.translate(plain(value))
        node = _only_value(tree, name)
        if node is None or node.end_lineno is None or node.end_col_offset is None:
            at_end.append(f"{name} = {written}")
            continue
        begin = starts[node.lineno - 1] + node.col_offset
        places.append((begin, starts[node.end_lineno - 1] + node.end_col_offset, written))
    for begin, end, written in sorted(places, reverse=True):
        text = text[:begin] + written.encode() + text[end:]
    return "\n".join([text.decode().rstrip("\n"), *at_end]) if at_end else text.decode()


def _only_value(tree: ast.Module, name: str) -> ast.expr | None:
    """What a name is set to, if one plain assignment sets it and nothing in the cell reads it."""
    if sum(bound == name for bound in _names(tree)) != 1:
        return None
    for line in tree.body:
        if isinstance(line, ast.Assign):
            if [getattr(target, "id", None) for target in line.targets] == [name]:
                return line.value
        elif isinstance(line, ast.AnnAssign) and getattr(line.target, "id", None) == name:
            return line.value
    return None


def _names(tree: ast.Module) -> Iterator[str]:
    """Every name in a tree, as often as it is set or read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]


def merge(
    source: NotebookNode, executed: NotebookNode, parameters: Mapping[str, Any]
) -> NotebookNode:
    """Prose and metadata of the source with the outputs of the executed cells. No cell is added:
    the parameters cell says what ran.

    Raises:
        KeyError, StopIteration, and others: if ``executed`` is no run of ``source``.
    """
    merged = deepcopy(source)
    ran = (c for c in executed.cells if c.cell_type == "code" and not ADDED & set(_tags(c)))
    first = parameters_cell(merged)
    for cell in merged.cells:
        if cell.cell_type != "code":
            continue
        result = next(ran)
        cell.outputs, cell.execution_count = result.outputs, result.execution_count
        if any(WIDGET in output.get("data", {}) for output in cell.outputs):
            cell.outputs.append(nbformat.v4.new_output("display_data", NO_SCRIPTS))
        if first is not None and cell is first:
            cell.source = with_values(cell.source, parameters)
            if not {"hide-input", "remove-input"} & set(cell.metadata.tags):
                cell.metadata.tags.append("hide-input")
    merged.metadata["seconds"] = executed.metadata.papermill.duration
    merged.metadata["core_seconds"] = executed.metadata.papermill.get("core_seconds", 0.0)
    merged.metadata["cells"] = [
        (cell.metadata.get("papermill") or {}).get("duration") or 0.0
        for cell in executed.cells if cell.cell_type == "code"
    ]  # fmt: skip
    if "widgets" in executed.metadata:
        merged.metadata["widgets"] = executed.metadata.widgets
    return merged
