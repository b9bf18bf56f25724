"""The notebooks as a reader or a script runs them."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest

from faithnb.book.contents import ROOT, pages
from faithnb.experiment import Experiment
from faithnb.lm import fetched
from faithnb.notebook import Run, read_parameters

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAPERMILL = Path(sys.executable).parent / "papermill"
OTHER = {
    "profile": "quick", "interactive": False, "n_seeds": 2, "scan_seeds": 2, "grid": 2,
    "first_seed": 7, "steps": 60, "d_in": 8, "d_sae": 24, "density": 0.2, "repeat_frac": 0.2,
    "sparsity_coefficient": 0.05, "tanh_scale": 2.0, "jacobian_matching": "smoothed",
    "jacobian_coefficient": 0.05, "kink": "masked", "batch_size": 64, "learning_rate": 1e-3,
    "scheduler": "local", "target": "superposed", "sparsity_penalty": "l1", "seed": 7,
    "architecture": "relu", "k": 0, "perturbation_scale": 0.05,
}  # fmt: skip
"""Another value for every parameter of a notebook."""
ELSE = {
    "kink": "one", "repeat_frac": 0.15, "sparsity_coefficient": 0.07,
    "jacobian_matching": "finite",
}  # fmt: skip
"""And another for notebooks that have the first by default."""
BOTH = ("explorer", "13_representation")
ONLY = {("06_superposition", "target"), *((n, k) for n in BOTH for k in ("architecture", "k"))}
"""What can have one value alone, or none without another."""


def others(path):
    """Another value than its own for every parameter of a notebook."""
    given = defaults(path)
    found = {k: OTHER[k] if v != OTHER[k] else ELSE.get(k, v) for k, v in given.items()}
    if found.get("jacobian_matching") == "finite" and "kink" in found:
        found["jacobian_matching"] = "plain"  # which reads a derivative at the kink
    return found


def defaults(path):
    """What the parameters cell of a notebook says."""
    cells = nbformat.read(path, as_version=4).cells
    source = next(c.source for c in cells if "parameters" in c.metadata.get("tags", []))
    variables = {}
    exec(source, variables)
    return {k: v for k, v in variables.items() if not k.startswith("_")}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_sources_hold_no_outputs_and_no_traces(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            figure = cell.metadata.get("mystnb", {}).get("figure")
            if figure:
                assert len(figure["caption"]) > 40
                assert figure["name"].startswith("tab-") or cell.metadata.mystnb.image.alt
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}


WITHOUT_CODE = ("index", "story")
"""Pages that show what they compute, and no code."""


def runs(path):
    """The cells that run, apart from the parameters, whose input the book hides."""
    cells = nbformat.read(path, as_version=4).cells
    for cell in cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            yield cell


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_are_short_and_half_of_them_open(path):
    hidden = []
    for cell in runs(path):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 12, cell.source
        tags = cell.metadata.get("tags", [])
        if path.stem in WITHOUT_CODE:
            assert "remove-input" in tags
        else:
            hidden.append(any(tag.startswith(("hide-", "remove-")) for tag in tags))
    assert sum(hidden) <= len(hidden) / 2


OPAQUE = re.compile(r"`+[^`]*`+|\$[^$\n]+\$|\]\([^)]*\)")
"""Code, roles, formulas and addresses: no dot in them ends a sentence."""
TWO_SENTENCES = re.compile(r"[^\s.]{2}[.!?…][)\"”*_]* +[^\sa-z-]")


def with_several_sentences(source):
    """Lines of prose in which a sentence ends before the line does."""
    prose = re.sub(r"^(```|~~~).*?^\1|^\$\$.*?\$\$|^[#|].*?$", "", source, flags=re.M | re.S)
    lines = OPAQUE.sub("X", prose).splitlines()
    return [line for line in lines if TWO_SENTENCES.search(re.sub(r"^\s*\d+\.", "", line))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_prose_has_one_sentence_a_line(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        assert isinstance(cell["source"], list)
        assert all(line.count("\n") <= 1 for line in cell["source"])
        if cell["cell_type"] == "markdown":
            assert with_several_sentences("".join(cell["source"])) == []


def test_two_sentences_on_a_line_are_noticed():
    for two in ("One. Two.", "(One.) Two", "**One.** Two", "It is {glue:text}`a.b:.2f`. So `c`."):
        assert with_several_sentences(f"# A. B\n{two}\n") == [OPAQUE.sub("X", two)]
    one = "It is (is it?) not 0.1, $a. b$, `a. B` and [x](y. Z).\n- Two: three.\n\n$$ a. B $$"
    assert with_several_sentences(one) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_parameters_are_known_fields_and_documented(path):
    known = papermill.inspect_notebook(str(path))
    assert set(known) <= set(Experiment.__dataclass_fields__) | set(Run.__dataclass_fields__)
    trains = "train(" in path.read_text()
    assert {"profile", "interactive"} | ({"steps"} if trains else set()) <= set(known)
    assert all(parameter["help"] for parameter in known.values())
    assert set(known) <= set(OTHER)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_each_parameter_reaches_the_experiment_or_the_run(path):
    given = defaults(path)
    for name, value in others(path).items():
        assert value != given[name] or (path.stem, name) in ONLY
        experiment, run = read_parameters(given | {name: value})
        where = experiment if name in Experiment.__dataclass_fields__ else run
        assert getattr(where, name) == value


def test_every_notebook_is_in_the_book():
    listed = {page for page in pages(ROOT / "_toc.yml") if page.startswith("notebooks/")}
    assert listed == {f"notebooks/{path.stem}" for path in NOTEBOOKS}


@pytest.mark.book
@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        ("density", "1.5", "density = 1.5 is not allowed: it must be a number in (0, 1]"),
        ("densty", "0.1", "there is no parameter densty. Did you mean density?"),
        ("profile", "huge", "profile = 'huge' is not allowed"),
    ],
)
def test_papermill_called_bare_refuses_a_bad_parameter(tmp_path, parameter, value, sentence):
    command = [PAPERMILL, NOTEBOOKS[0], tmp_path / "out.ipynb", "-p", parameter, value]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode != 0
    assert sentence in result.stderr
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    *before, last = [c for c in executed.cells if c.cell_type == "code" and c.execution_count]
    assert "read_parameters(" in last.source
    statements = [node for cell in before for node in ast.parse(cell.source).body]
    assert all(isinstance(n, (ast.Import, ast.ImportFrom, ast.Assign)) for n in statements)


def lend_the_model(path, store):
    """No test fetches anything: a notebook that reads a language model gets what is kept."""
    source = path.read_text(encoding="utf-8")
    wanted = {"lm.load()": fetched.MODEL, "lm.prose(": fetched.TEXTS["moby-dick"]}
    wanted = [of for word, of in wanted.items() if word in source]
    if not all(map(fetched.kept, wanted)):
        pytest.skip("the language model is not here: python -m faithnb.lm fetch.")
    if wanted:
        store.mkdir()
        (store / "lm").symlink_to(fetched.folder())


@pytest.mark.book
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_run_with_every_parameter_changed(tmp_path, path):
    lend_the_model(path, tmp_path / "store")
    changes = others(path)
    if path.stem == "speed":  # it measures fixed settings, and says so
        command = [PAPERMILL, path, tmp_path / "out.ipynb", "-p", "d_in", "8"]
        refused = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert "d_in=8: this notebook measures fixed settings only" in refused.stderr
    words = [word for name, value in changes.items() for word in ("-p", name, str(value))]
    command = [PAPERMILL, path, tmp_path / "out.ipynb", *words, "--no-progress-bar"]
    apart = os.environ | {"FAITHNB_STORE": str(tmp_path / "store")}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=apart)
    assert result.returncode == 0, result.stderr[-3000:]
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    figures = [c for c in executed.cells if "figure" in c.metadata.get("mystnb", {})]
    assert figures or path.stem in ("claims", "claim_by_claim", "benchmark", *WITHOUT_CODE)
    for cell in figures:
        kind = "image/svg+xml" if "image" in cell.metadata.mystnb else "text/html"
        assert any(kind in o.get("data", {}) for o in cell.outputs), cell.source
    errors = [o for c in executed.cells for o in c.get("outputs", []) if o.get("name") == "stderr"]
    assert errors == []


@pytest.mark.book
def test_the_explorer_lives_in_a_notebook(tmp_path):
    """A kernel, the widget, the page's wish: what a reader does at a chapter's end."""
    notebook = nbformat.v4.new_notebook()
    for source in (
        "from faithnb import Experiment, explore",
        "explorer = explore(Experiment(d_in=6, d_sae=12, steps=100, batch_size=32))\nexplorer",
        "explorer._answer({'train': True})",
        "print(explorer.trained.transcoder.n_inst, explorer.experiment.d_in)",
    ):
        notebook.cells.append(nbformat.v4.new_code_cell(source))
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(
        str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), kernel_name="python3",
        progress_bar=False, start_timeout=120, execution_timeout=120,
    )  # fmt: skip
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert "application/vnd.jupyter.widget-view+json" in cells[1].outputs[0].data
    assert cells[3].outputs[0].text == "1 6\n"
