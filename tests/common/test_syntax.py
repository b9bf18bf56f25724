"""Source is parsed by one thread at a time."""

import gc
import re
import sys
import threading
from pathlib import Path

import pytest

import faithnb
from faithnb.common.syntax import literal, parse

PACKAGE = Path(faithnb.__file__).parent
SOURCE = (PACKAGE / "model" / "transcoder.py").read_text(encoding="utf-8")


class Slow:
    """What the collector takes its time for, in the middle of whatever happens then."""

    def __init__(self):
        self.me = self

    def __del__(self):
        for _ in range(1000):
            pass


@pytest.fixture
def restless():
    """Threads that take turns often."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*threshold)


def test_threads_do_not_disturb_each_other(restless):
    """Without the lock many of these fail in Python 3.11."""
    errors = []

    def work():
        for _ in range(30):
            Slow()
            try:
                parse(SOURCE)
                literal("[1, (2, 3)]")
            except SystemError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_what_they_give():
    assert parse("x = 1").body[0].targets[0].id == "x"
    assert parse(b"x = 1").body
    assert literal(" [1, 'a'] ".strip()) == [1, "a"]
    with pytest.raises(SyntaxError):
        parse("x =")
    with pytest.raises(ValueError, match="malformed"):
        literal("x")


def test_nothing_else_parses():
    """Of texts: nodes that exist already are no trees to be made."""
    found = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(
            r"ast\.parse\(|ast\.literal_eval\((?!node\))", path.read_text(encoding="utf-8")
        )
    }
    assert found == {"common/syntax.py"}
