"""Executed notebooks that are kept, and used again while nothing that they depend on changed."""

from __future__ import annotations

import glob
import hashlib
import json
import platform
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbformat import NotebookNode

from faithnb.book.cells import code, merge, plain
from faithnb.book.contents import ROOT
from faithnb.book.processes import say_at_once
from faithnb.common.files import clear_parts, read_file
from faithnb.common.meaning import meaning
from faithnb.common.store import default_folder
from faithnb.notebook import default_records


def code_key(notebook: NotebookNode, parameters: Mapping[str, Any]) -> str:
    """What an executed notebook depends on: its code and parameters, the package without docstrings
    and comments, the pins, the measurements of speed if it runs those, and the benchmark's entries
    if it shows them."""
    values = {name: plain(value) for name, value in parameters.items()}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
    files = [f for f in sorted((ROOT / "faithnb").rglob("*")) if f.suffix in (".py", ".js", ".css")]
    files.append(ROOT / "requirements.txt")
    if any("benchmarks" in cell.source for cell in notebook.cells if cell.cell_type == "code"):
        files += sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
        files += sorted((ROOT / "book" / "static").glob("*gpu.json"))
    if any(reads_records(cell.source) for cell in notebook.cells):
        files += sorted(default_records().glob("*.json"))
    if any("benchmark.page" in cell.source for cell in notebook.cells):
        files += sorted((ROOT / "results").rglob("*.json"))
    for path in files:
        content = path.read_bytes()
        digest.update(meaning(content).encode() if path.suffix == ".py" else content + b"\0")
    digest.update(f"{torch.__version__} {platform.python_version()}".encode())
    return digest.hexdigest()[:16]


def reads_records(code: str) -> bool:
    """Whether a notebook reads what the others hand over, and so runs after them."""
    return "read_records(" in code or "read_ledger(" in code


def cache() -> Path:
    """The folder of executed notebooks, beside the results that ``$FAITHNB_STORE`` names.

    Raises:
        ParameterError: if that is no folder.
    """
    folder = default_folder() / "notebooks"
    if folder not in _opened:
        _opened.add(folder)
        clear_parts(folder)
    return folder


_opened: set[Path] = set()


def short(stem: str) -> str:
    """A notebook's name where a hash follows, for people; as long as names of files may be."""
    return stem.replace(".", "_").encode(errors="replace")[:80].decode(errors="ignore")


def files_of(beginning: Path) -> list[Path]:
    """The kept files of a notebook and key: of several runs, where there were several."""
    return sorted(beginning.parent.glob(f"{glob.escape(beginning.name)}-*.ipynb"))


def kept_as(beginning: Path, content: bytes) -> Path:
    """Where an executed notebook is kept: the name tells its content, so that damage shows, and so
    does a file under another's name.

    Args:
        beginning: the folder, the notebook's name and the key of what it depends on.
        content: of the file.
    """
    key = beginning.name.rpartition("-")[2]
    digest = hashlib.sha256(key.encode() + b"\0" + content).hexdigest()[:32]
    return beginning.with_name(f"{beginning.name}-{digest}.ipynb")


def read_kept(
    kept: Path, source: NotebookNode, asked: NotebookNode, parameters: Mapping[str, Any]
) -> NotebookNode | None:
    """The source with the outputs of a kept run; ``None`` if the file is damaged or is another
    notebook's, and then it is set aside.

    Args:
        kept: the file.
        source: the notebook as it is before a run.
        asked: what would be run.
        parameters: with which values.
    """
    try:
        content = read_file(kept)
        beginning, _, _ = kept.stem.rpartition("-")
        if kept_as(kept.with_name(beginning), content) != kept:
            raise ValueError("its content is not what its name says")
        return verified(content, source, asked, parameters)
    except FileNotFoundError:  # another process was quicker
        return None
    except Exception as error:  # whatever a damaged file makes its readers raise
        aside = kept.with_name(f"{kept.name}.{uuid.uuid4().hex[:8]}.damaged")
        try:
            kept.replace(aside)
            done = f"it was set aside as {aside.name}"
        except OSError:
            done = "it is ignored"
        why = (str(error) or type(error).__name__).splitlines()[0]
        say_at_once(f"{kept} cannot be used ({why}); {done}, and its notebook runs again.")
        return None


def verified(
    content: bytes, source: NotebookNode, asked: NotebookNode, parameters: Mapping[str, Any]
) -> NotebookNode:
    executed = nbformat.reads(content.decode(), as_version=4)
    if code(executed) != code(asked):
        raise ValueError("its cells are not those asked for")
    return merge(source, executed, parameters)
