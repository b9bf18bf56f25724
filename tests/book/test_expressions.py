"""What code says without being run."""

import ast
import math

import pytest

from faithnb.book.expressions import evaluate, imported, parsed

NAMES = imported(
    ast.parse(
        "import math, os.path\nimport os.path as p\nfrom faithnb import parameters as f\n"
        "from xml.dom import minidom\nfrom math import *"
    )
)


def said(text):
    return evaluate(ast.parse(text, mode="eval").body, NAMES)


def test_imports_bind_what_python_would_bind():
    import os
    from xml.dom import minidom

    from faithnb import parameters

    assert NAMES["os"] is os
    assert NAMES["p"] is os.path
    assert NAMES["f"] is parameters
    assert NAMES["minidom"] is minidom
    assert NAMES["tau"] == math.tau
    for wrong, error in (
        ("import no_such", "No module"),
        ("from math import no", "No module"),
        ("from . import x", "relative"),
    ):
        with pytest.raises((ImportError, TypeError), match=error):
            imported(ast.parse(wrong))


@pytest.mark.parametrize(
    "text",
    ["1 / 3", "-2", "[1, (2, 3)]", "{'a': 1}", "None", "2 * math.pi", "float('inf')", "10**-3",
     "list(range(3))", "7 // 2 + 1 - 4"],
)  # fmt: skip
def test_values_are_those_that_running_gives(text):
    assert said(text) == eval(text)


def test_limits_are_made_by_calls():
    assert str(said("f.Range(0, 1 / 4, open_low=True)")) == "a number in (0, 0.25]"


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("unknown", NameError, "unknown is not imported"),
        ("__import__('os')", NameError, "__import__ is not imported"),
        ("open('x')", NameError, "open is not imported"),
        ("[k for k in (1, 2)]", ValueError, "is no plain value"),
        ("lambda: 1", ValueError, "lambda: 1 is no plain value"),
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("math.no", AttributeError, "no attribute"),
    ],
)
def test_what_would_have_to_run_is_refused(text, error, sentence):
    with pytest.raises(error, match=sentence):
        said(text)


def test_what_is_no_python_is_none():
    assert parsed("a = = 1") is None
    assert isinstance(parsed("%who\na = 1"), ast.Module)
