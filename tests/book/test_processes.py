"""What we start does not depend on who starts it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest

from faithnb.book import cells, many, processes, running
from faithnb.common.errors import ParameterError
from faithnb.experiment import Experiment
from faithnb.notebook import read_parameters

V4 = nbformat.v4
READ = "from faithnb.notebook import read_parameters\nexperiment, run = read_parameters(globals())"
SHOW = "print(experiment.steps, experiment.density)"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    made = [V4.new_code_cell("steps = None", metadata={"tags": ["parameters"]})]
    made += map(V4.new_code_cell, (READ, SHOW, "import os, sys\nprint(dict(os.environ))"))
    nbformat.write(cells.pristine(V4.new_notebook(cells=made)), tmp_path / "n.ipynb")
    return tmp_path / "n.ipynb"


@pytest.fixture
def habits(tmp_path, monkeypatch):
    """A person's start-up files, settings and kernels, each of which would change something."""
    (tmp_path / "start.py").write_text(
        "histfile = 'x'\nsteps = 7\ndensity = .5\n", encoding="utf-8"
    )
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("other = 1\nsteps = 8\nseed = 3\n", encoding="utf-8")
    config = startup.parent / "ipython_config.py"
    config.write_text("c.InteractiveShellApp.exec_lines = ['density = .7']", encoding="utf-8")
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["false"], "display_name": "x", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True", encoding="utf-8")
    settings = {"PYTHONSTARTUP": tmp_path / "start.py", "IPYTHONDIR": tmp_path / "ipython",
                "MATPLOTLIBRC": tmp_path / "matplotlibrc", "PYTHONWARNINGS": "error",
                "MPLBACKEND": "agg"}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    return monkeypatch, tmp_path / "jupyter"


def printed(notebook):
    return [o.text for c in notebook.cells for o in c.get("outputs", []) if o.name == "stdout"]


@pytest.mark.book
def test_a_kernel_is_this_python_and_knows_nothing_of_habits(path, habits, monkeypatch):
    habits[0].setenv("JUPYTER_PATH", str(habits[1]))
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("FAITHNB_STORE", "rel")
    shown, variables = printed(running.execute(path, {"steps": 9}, path.parent / "failed"))
    assert shown == "9 0.1\n"
    known = eval(variables)
    assert not set(processes.DROPPED[:3]) & set(known)
    assert known["PYTHONUTF8"] == "1"
    assert known["FAITHNB_STORE"] == str(path.parent / "rel")
    assert not Path(known["IPYTHONDIR"]).parent.exists()
    assert Path.cwd() == path.parent
    assert len(list((path.parent / "rel" / "notebooks").glob("*.ipynb"))) == 1


@pytest.mark.book
def test_under_bare_papermill_only_cells_set_parameters(path, habits):
    """Start-up files of Python and IPython do run there, and decide nothing."""
    out = papermill.execute_notebook(
        str(path), None, {"steps": 9}, kernel_name="python3", progress_bar=False
    )
    assert printed(out)[0] == "9 0.1\n"


def test_names_that_no_cell_assigned_are_no_parameters():
    ran = ["", "steps = None\ndensity: float = 0.2", "broken (", READ]
    variables = {"steps": None, "density": 0.2, "histfile": "x", "seed": 3, "In": ran}
    assert read_parameters({**variables})[0] == Experiment(density=0.2)
    with pytest.raises(ParameterError, match="histfile = 'x'"):
        read_parameters({**variables, "In": [*ran, "histfile = 'x'"]})
    for unlisted in ([], ["", "1"], "steps", [None]):  # then every name counts
        with pytest.raises(ParameterError, match="histfile = 'x'"):
            read_parameters({"histfile": "x", "In": unlisted})
    loops = ["for steps in (5, 6):\n    pass", READ]
    assert read_parameters({"steps": 6, "In": loops})[0].steps == 6


def test_surroundings_are_the_same_and_leave_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    with processes.clean_environment() as found:
        assert "PYTHONSTARTUP" not in found
        assert Path(found["MATPLOTLIBRC"]).read_bytes() == b""
        folder = Path(found["IPYTHONDIR"]).parent
    assert not folder.exists()
    assert os.environ["PYTHONSTARTUP"] == "x"
    with processes.clean_environment() as found:  # a process that is not waited for
        processes.remove_folders()
        assert not Path(found["IPYTHONDIR"]).exists()


def test_what_killed_processes_left_is_cleared_after_a_week(monkeypatch, tmp_path):
    monkeypatch.setattr(processes, "gettempdir", lambda: str(tmp_path))
    old, young = (tmp_path / f"{processes.PREFIX}{k}" for k in "ab")
    other = tmp_path / "faithnb-checkout"
    for folder in (old, young, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, time.time() - 2 * processes.LONGEST_RUN))
    with processes.clean_environment():
        assert set(tmp_path.iterdir()) == {young, other}


def test_any_bytes_are_text():
    code = "import sys; sys.stdout.buffer.write(b'\\xff\\xc3\\xa9')"
    assert processes.run([sys.executable, "-c", code]).stdout == "\ufffdé"


def test_every_character_can_be_printed():
    code = "from faithnb.book.processes import print_anything, leave; print_anything()\n"
    code += "print('\\u2192 \\udcff'); leave(3)"
    ascii_only = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | ascii_only,
                          capture_output=True)  # fmt: skip
    assert (done.stdout, done.returncode) == (b"\\u2192 \\udcff\n", 3), done.stderr


TRAIN = """\
import hashlib, torch
from dataclasses import replace
from faithnb import figures, sweep, Store
small = replace(experiment, d_in=4, d_sae=10, batch_size=32, repeat_frac=0.2, density=0.2)
grid = sweep(small, store=Store(), device="cpu", progress=False, weights=True, seed=[0, 1])
digest = hashlib.sha256()
for name in sorted(grid):
    digest.update(str(grid[name].values.tolist()).encode())
digest.update(figures.penalties(0.1)._repr_mimebundle_()["image/svg+xml"].encode())
"""
GLUE = "from faithnb.notebook import glue\nglue(digest=digest.hexdigest())"
ODD_START = """
import numpy, torch
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
torch.set_float32_matmul_precision("medium")
numpy.seterr(all="raise")
steps, batch_size, digest = 3, 7, None
"""
ODD = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "TZ": "Pacific/Apia",
       "PYTHONHASHSEED": "5", "COLUMNS": "20", "MPLBACKEND": "svg"}  # fmt: skip
EXECUTE = """
import sys
from pathlib import Path
import nbformat
from faithnb.book.running import execute
nbformat.write(execute(Path(sys.argv[1]), dict(steps=20), Path("failed")), sys.argv[2])
"""
WAYS = {
    "papermill": ["-m", "papermill", "{nb}", "{out}/row-1.ipynb", "-p", "steps", "20"],
    "sweep": ["-m", "faithnb.book.many", "{nb}", "{rows}", "--out", "{out}"],
    "build": ["-c", EXECUTE, "{nb}", "{out}/row-1.ipynb"],
}  # fmt: skip


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    """What a plain process gives."""
    return glued(tmp_path_factory.mktemp("plain"), "papermill", {})


def glued(folder, way, environment):
    """The number that a small notebook gives, run in one way with variables of its own."""
    made = [V4.new_code_cell("steps = None", metadata={"tags": ["parameters"]})]
    made += map(V4.new_code_cell, (READ, TRAIN, GLUE))
    nbformat.write(cells.pristine(V4.new_notebook(cells=made)), folder / "n.ipynb")
    (folder / "rows.yaml").write_text("steps: [20]\n", encoding="utf-8")
    out = folder / "out"
    out.mkdir()
    places = {"nb": folder / "n.ipynb", "rows": folder / "rows.yaml", "out": out}
    done = subprocess.run(
        [sys.executable, *(part.format(**places) for part in WAYS[way])], cwd=folder,
        env=os.environ | {"FAITHNB_STORE": str(folder / "store")} | environment,
        capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return many.numbers(nbformat.read(out / "row-1.ipynb", as_version=4))["digest"]


@pytest.mark.book
@pytest.mark.parametrize("way", WAYS)
def test_everything_odd_at_once_changes_no_number(usual, habits, tmp_path, way):
    """Whichever way a notebook runs: start-up files, locale, settings of torch, numpy and
    matplotlib, all odd."""
    for start in (tmp_path / "start.py", next((tmp_path / "ipython").glob("*/startup/00.py"))):
        start.write_text(ODD_START, encoding="utf-8")
    patch, foreign = habits
    patch.delenv("PYTHONWARNINGS")  # which papermill itself cannot bear
    if way != "papermill":
        patch.setenv("JUPYTER_PATH", str(foreign))
    assert glued(tmp_path, way, ODD) == usual
