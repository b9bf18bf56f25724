"""A notebook before and after a run, whatever was done with its file."""

import json
import subprocess
import sys

import nbformat
import pytest

from faithnb.book import cells, many, running

V4 = nbformat.v4
PARAMETERS = """\
steps: int | None = None  # how many = as the profile says
density = (  # share
    0.1  # of entries
)
points = ((1, 1, 1),); profile = "quick"
word = "é→"  # text
"""


def notebook(parameters=PARAMETERS, *sources):
    made = [V4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    return cells.pristine(V4.new_notebook(cells=[*made, *map(V4.new_code_cell, sources)]))


def test_values_stand_where_the_old_ones_stood():
    values = {"steps": 7, "density": float("inf"), "points": [[1, 2]], "word": 'a"ü\n', "new": None}
    written = cells.with_values(PARAMETERS, values)
    assert written == (
        "steps: int | None = 7  # how many = as the profile says\n"
        "density = (  # share\n    float('inf')  # of entries\n)\n"
        'points = [[1, 2]]; profile = "quick"\n'
        'word = "a\\"\\xfc\\n"  # text\nnew = None'
    )
    found = {}
    exec(written, found)
    assert {name: found[name] for name in values} == values
    assert cells.with_values(PARAMETERS, {}) == PARAMETERS


@pytest.mark.parametrize(
    "source",
    [
        "a = 1\nb = a + 1",  # another value follows from it
        "a = 1\na = 2",
        "a = c = 1",
        "a, c = 1, 2",
        "a = 1\na += 1",
        "if True:\n    a = 1",
        "%who\na = 1",
        "a = 1\nimport os as a",
        "a: int",
    ],
)
def test_a_value_that_cannot_stand_in_place_comes_last(source):
    """So that the cell gives what papermill's cell after it gave."""
    assert cells.with_values(source, {"a": 5}) == source + "\na = 5"


def test_parameters_are_what_the_cell_assigns():
    content = notebook("%who\nimport math\n" + PARAMETERS + "_x = 1\ntwice = 2 * math.pi")
    known = {"steps", "density", "points", "profile", "word", "twice"}
    assert cells.parameter_names(content) == known
    found = cells.defaults(content, "n")
    assert set(found) == known
    assert (found["steps"], found["word"], found["points"]) == (None, "é→", ((1, 1, 1),))
    assert cells.parameter_names(V4.new_notebook()) == set()
    for wrong in ("a = 1 +", "a = 1 / 0", "a, c = 1, 2", "a = 1\na += 1", "a = open('x')"):
        with pytest.raises(cells.NotebookError, match="the parameters cell of n "):
            cells.defaults(notebook(wrong), "n")


def test_values_reach_papermill_as_what_they_are():
    import numpy as np

    values = {"points": ((1, np.float32(0.5)),), "steps": np.int64(3), "density": np.array([1.0])}
    assert cells.code(cells.asked_for(notebook(), values))[1] == (
        "# Parameters\npoints = [[1, 0.5]]\nsteps = 3\ndensity = [1.0]\n"
    )


def test_whatever_was_done_with_a_file_it_is_read_as_it_was(tmp_path):
    content = notebook(PARAMETERS, "1 + 1")
    path = tmp_path / "n.ipynb"
    nbformat.write(content, path)
    path.write_text(
        "\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8"
    )  # as Notepad does
    before = cells.read_notebook(path)

    used = cells.asked_for(before, {"steps": 3})
    used.cells[0].outputs = [V4.new_output("stream", text="x")]
    used.cells[0].metadata["execution"] = {"iopub.status.idle": "x"}
    used.cells.insert(0, V4.new_markdown_cell("!", metadata={"tags": ["papermill-error-cell-tag"]}))
    used.metadata["widgets"] = {}
    nbformat.write(used, path)
    assert cells.code(cells.read_notebook(path)) == cells.code(before)

    bare = json.loads(path.read_text(encoding="utf-8"))
    bare["metadata"] = {}
    for cell in bare["cells"]:
        cell.pop("id", None)
        cell["metadata"] = {k: v for k, v in cell["metadata"].items() if k == "tags"}
    path.write_text(json.dumps(bare), encoding="utf-8")
    found = cells.read_notebook(path)
    assert cells.code(found) == cells.code(before)
    assert found.metadata.kernelspec.name == "python3"
    assert "widgets" not in found.metadata
    assert not any(cell.get("outputs") or "papermill" in cell.metadata for cell in found.cells)


NO_CELLS = '{"nbformat": 4, "nbformat_minor": 5, "metadata": [], "cells": 3}'


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", "{}", '{"nbformat": 4}', "3", "[" * 10**5, NO_CELLS]
)
def test_a_file_that_is_no_notebook_is_said(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text, encoding="utf-8")
    with pytest.raises(cells.NotebookError, match="n.ipynb cannot be read as a notebook: ."):
        cells.read_notebook(tmp_path / "n.ipynb")
    with pytest.raises(running.BuildError, match="cannot be read as a notebook"):
        running.execute(tmp_path / "n.ipynb", {}, tmp_path / "failed")


READ = "from faithnb.notebook import read_parameters\nexperiment, run = read_parameters(globals())"
SHOW = "print(experiment.steps, experiment.density, run.interactive)"


@pytest.mark.book
def test_what_we_made_runs_again_everywhere(tmp_path, monkeypatch):
    """Our row, edited by a reader; papermill's output of it; that, stripped of its metadata."""
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    parameters = "steps: int | None = None  # a = b\ndensity = 0.1\ninteractive = False\n"
    path, elsewhere = tmp_path / "n.ipynb", tmp_path / "else where"
    elsewhere.mkdir()
    nbformat.write(notebook(parameters, READ, SHOW), path)

    def given(path):
        outputs = [o for c in nbformat.read(path, 4).cells for o in c.get("outputs", [])]
        return "".join(o["text"] for o in outputs)

    assert many.run(path, [{"steps": 7}], tmp_path / "out", progress=False)[0]["error"] == ""
    row = tmp_path / "out" / "row-1.ipynb"
    assert given(row) == "7 0.1 False\n"

    ours = nbformat.read(row, as_version=4)
    ours.cells[0].source = ours.cells[0].source.replace("= 7", "= 8")
    nbformat.write(ours, elsewhere / "edited.ipynb")
    command = [sys.executable, "-m", "papermill", "edited.ipynb", "again.ipynb", "-p", "density"]
    command += ["0.2", "--no-progress-bar"]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
    assert given(elsewhere / "again.ipynb") == "8 0.2 False\n"

    bare = json.loads((elsewhere / "again.ipynb").read_text(encoding="utf-8"))
    bare["metadata"] = {}
    (elsewhere / "bare.ipynb").write_text(json.dumps(bare), encoding="utf-8")
    done = many.run(elsewhere / "bare.ipynb", [{"density": 0.3}], tmp_path / "2", progress=False)
    assert done[0]["error"] == ""
    assert given(tmp_path / "2" / "row-1.ipynb") == "8 0.3 False\n"
