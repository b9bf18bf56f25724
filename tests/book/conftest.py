"""A small notebook that takes parameters."""

import nbformat
import pytest

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


@pytest.fixture
def path(tmp_path, monkeypatch):
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
    nbformat.write(notebook, tmp_path / "small.ipynb")
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return tmp_path / "small.ipynb"
