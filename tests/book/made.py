"""Notebooks for tests, and what the repository holds."""

import hashlib

import nbformat

from faithnb.book.contents import ROOT

PARAMETERS = """\
profile = "quick"  # size
density = 0.1  # q
steps = None  # steps
points = ((1, 1, 1),)  # p
interactive = True  # bars
"""


READ = """\
experiment, run = read_parameters(globals(), density=Range(0, 0.5, open_low=True))
if experiment.density == 0.3:
    raise RuntimeError("no luck with 0.3")
"""


IMPORTS = """\
import numpy as np
from faithnb import read_parameters
from faithnb.parameters import Range
from faithnb.notebook import glue
"""


def small_notebook(folder):
    """The path of a small notebook that takes parameters."""
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell("# A small one"),
        v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        *map(v4.new_code_cell, (IMPORTS, READ, 'glue(twice=2 * experiment.density, word="yes")')),
    ]
    notebook = v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / "small.ipynb")
    return folder / "small.ipynb"


def notebook(*sources, **metadata):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    for source in sources:
        make = (
            nbformat.v4.new_markdown_cell if source.startswith("#") else nbformat.v4.new_code_cell
        )
        nb.cells.append(make(source))
    nb.cells[0].metadata.update(metadata)
    return nb


def write(path, nb):
    nbformat.write(nb, path)
    return path


def answer(executed):
    """What the last cell of an executed notebook prints."""
    return executed and executed.cells[-1].outputs[0].text


def sources():
    """What the repository holds: files, each with its hash and when it was written."""
    folders = [ROOT / name for name in ("book", "notebooks", "faithnb", "tests")]
    files = [file for folder in folders for file in folder.rglob("*")] + list(ROOT.iterdir())
    return {
        file: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in files if file.is_file() and "__pycache__" not in file.parts
    }  # fmt: skip
