"""Keys follow what source does: words retrain nothing, constants do."""

import ast
import subprocess
import sys
import tokenize
from io import BytesIO
from pathlib import Path
from shutil import copytree

import pytest

import faithnb
from faithnb.common.meaning import meaning
from faithnb.training import store

PACKAGE = Path(faithnb.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
DECIDING = [PACKAGE / f"{name}.py" for name in store.SOURCES["measures"]]

EVERYTHING = b'''
"""A module."""
from __future__ import annotations
import a.b as c
x: int = -1_000  # a comment
"""What x is."""
type_of = f"{x!r:>{width}} {x=} {'nested'} \\n {{}}"
@c.d(1, *e, k=None, **f)
class A(B, metaclass=C):
    """Words."""
    async def g(self, p, /, q=1.5, *r, s=2j, **t) -> "A":
        """More words."""
        async for i in j: yield await k
        return lambda *u: (y := {**v, 1: ...}, [w for w in z if w for _ in w], b"bytes")
def h():
    try:
        with open() as m, n: pass
    except* (E, F) as o: raise G from o
    match p:
        case {"a": [1, *_], **rest} | A(b=None) if True: del q[1:, ::2]
        case _: global r; r @= 3
'''


def test_the_meaning_of_every_construct_is_the_same_in_every_version():
    """Otherwise a worker on another Python would seem to run another version of the package."""
    assert meaning(EVERYTHING).startswith(EXPECTED)


EXPECTED = "cc98bcd90e06b1b3"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_words_and_layout_mean_nothing(path):
    source = path.read_bytes()
    without_comments = ast.unparse(ast.parse(source)).encode()
    assert b"#" not in comments(without_comments)
    assert meaning(without_comments) == meaning(source)
    assert meaning(ast.unparse(WithoutDocstrings().visit(ast.parse(source))).encode()) == meaning(
        source
    )


def comments(source):
    tokens = tokenize.tokenize(BytesIO(source).readline)
    return [t.string.encode() for t in tokens if t.type == tokenize.COMMENT]


class WithoutDocstrings(ast.NodeTransformer):
    """Another text stands in place of each, so that bodies stay bodies."""

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = "other words"
        return node


@pytest.mark.parametrize("path", DECIDING, ids=lambda p: p.stem)
def test_every_number_and_every_name_means_something(path):
    tree = ast.parse(path.read_bytes())
    same = meaning(path.read_bytes())
    seen = {same}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            before, node.value = node.value, node.value + 1
            seen.add(changed := meaning(ast.unparse(tree).encode()))
            assert changed != same
            node.value = before
    assert len(seen) > 1


@pytest.mark.parametrize("other", [
    "x = 1.0", "x = True", "x = '1'", "x = 2", "y = 1", "x == 1", "x = (1,)", "x = [1]", "x = None",
    "x = ['']", "x = []", "x = -1", "x = ~1", "x: 1", "x = b'1'", "x = 1\nx", "x = f'1'",
    "x += 1", "def x(): 1", "x, = 1",
])  # fmt: skip
def test_other_code_means_something_else(other):
    assert meaning(other.encode()) != meaning(b"x = 1")


def test_a_text_that_is_used_is_no_docstring():
    assert meaning(b"x = 'a'") != meaning(b"x = 'b'")
    assert meaning(b"def f():\n 'a'\n return 'a'") == meaning(b"def f():\n 'b'\n return 'a'")
    assert meaning(b"def f():\n f'{a()}'") != meaning(b"def f():\n 'b'")


@pytest.mark.parametrize("broken", [b"def", b"\x00", b"\xff\xfe", b"x = 1\n  y"])
def test_what_is_not_python_counts_as_it_stands(broken):
    assert meaning(broken) != meaning(broken + b" ")


def test_a_changed_word_changes_no_key(tmp_path):
    """A copy of the package, seen by a fresh process."""
    keys = []
    for change in (
        lambda s: s,
        lambda s: s.replace(b'"""How many steps', b'"""Of how many steps') + b"# The end.\n",
        lambda s: s.replace(b"N_RECORDS = 100", b"N_RECORDS = 101"),
    ):
        copytree(PACKAGE, tmp_path / "faithnb", dirs_exist_ok=True)
        for path in (tmp_path / "faithnb").rglob("*.py"):
            path.write_bytes(change(path.read_bytes()))
        say = "from faithnb.training import store as s; print(s.__file__, s.source_hash('trained'))"
        ran = subprocess.run([sys.executable, "-c", say], cwd=tmp_path, capture_output=True)
        where, key = ran.stdout.decode().split()
        assert where.startswith(str(tmp_path))
        keys.append(key)
    assert keys[0] == keys[1] != keys[2]
