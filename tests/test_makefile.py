"""The first command a stranger types, where it cannot work: a sentence, not a traceback."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from faithnb.book.contents import ROOT


def stub(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path):
    """A clone with nothing in it but what ``make`` looks at, and a PATH of stubs."""
    (tmp_path / ".ci").mkdir()
    for name in ("Makefile", "requirements.txt", "pyproject.toml", ".ci/environment"):
        shutil.copy(ROOT / name, tmp_path / name)
    for tool in ("sh", "df", "awk", "tail", "grep", "touch", "printf", "mkdir"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))

    def call(*arguments: str) -> str:
        environment = os.environ | {"PATH": str(tmp_path / "bin")}
        result = subprocess.run(
            [shutil.which("make"), *arguments], cwd=tmp_path, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert result.returncode != 0
        assert not (tmp_path / ".venv" / "book.installed").exists()
        return result.stderr

    return tmp_path / "bin", call


def python(version: str, then: str = "exit 0") -> str:
    return f'case "$*" in *version_info*) echo {version};; *) {then};; esac'


def test_no_python(machine):
    _, call = machine
    assert "needs Python 3.11, 3.12 or 3.13 (found: none)" in call("book")


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.14"])
def test_python_too_old_or_too_new(machine, version):
    stubs, call = machine
    stub(stubs, "python3", python(version))
    said = call("book")
    assert f"python3 is {version}" in said
    assert "PYTHON=/path/to" in said


def test_a_named_python_is_used_or_refused(machine):
    stubs, call = machine
    stub(stubs, "mine", python("2.7"))
    assert "mine is 2.7" in call("book", "PYTHON=mine")


def test_python_without_venv(machine):
    stubs, call = machine
    stub(stubs, "python3", python("3.12", "exit 1"))
    assert "apt install python3.12-venv" in call("test")


def test_no_space(machine):
    stubs, call = machine
    stub(stubs, "python3", python("3.12"))
    (stubs / "df").unlink()
    stub(stubs, "df", "printf 'h\\nd 1 1 1048576 1%% /\\n'")
    assert "1 GB are free" in call("book")


@pytest.mark.parametrize(
    ("pip_says", "sentence"),
    [
        ("Temporary failure in name resolution", "Is the network reachable?"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
    ],
)
def test_pip_fails(machine, pip_says, sentence):
    stubs, call = machine
    pip = f'echo "{pip_says}" >&2; exit 1'
    venv = f"mkdir -p .venv/bin; printf '#!/bin/sh\\n{pip}\\n' > .venv/bin/python"
    (stubs / "chmod").symlink_to(shutil.which("chmod"))
    stub(
        stubs,
        "python3",
        python("3.12", f'case "$*" in *"-m venv"*) {venv}; chmod +x .venv/bin/python;; esac'),
    )
    said = call("book")
    assert pip_says in said
    assert sentence in said


def test_where_the_libraries_cannot_be_had(tmp_path):
    """Pip says why, then one sentence says what to do."""
    environment = {name: value for name, value in os.environ.items() if "PIP" not in name}
    script = ROOT / "tests" / "interop" / "environment.py"
    result = subprocess.run(
        [sys.executable, script, tmp_path / "made", "--no-index"],
        env=environment | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 1
    *pip, said = result.stderr.strip().splitlines()
    assert "sae-lens" in "".join(pip)
    assert "Traceback" not in result.stderr
    assert said.startswith("The libraries could not be installed")
    assert "PIP_ARGS" in said
