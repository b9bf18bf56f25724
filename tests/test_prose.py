"""The book's prose: spelling, and sentences that a reader can take in."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages_of_prose import texts

from faithnb.book.contents import ROOT

MOST_NUMBERS = 3
"""Glued values that a sentence has at most; more belong in a table."""

CONDITIONALS = re.compile(
    r"\bif (?:few|many|most|both) (?!of)|\bIf (?:claim|few|many|most)\b"
    r"|\bWhere (?:(?:these|those|the (?:first|second|last|two|claims?|counts?))\b|it (?:grows|is))"
    r"|\bWhere (?:claims?|[A-Z]\d+) |\b[Aa]s far as (?:they|it|the)\b|\bWherever\b"
    r"|\bNear 1\b|\b[Tt]he (?:further|closer|nearer) (?:these|those)\b"
    r"|\bsee (?:whether|how much)\b|[;,:] look for\b"
)
"""What leaves it to the reader to find out what came out; a ``{by-verdict}`` block says it."""

NO_PROSE = re.compile(r"^(```|\$\$|~~~).*?^\1", re.MULTILINE | re.DOTALL)
PARAGRAPH = re.compile(r"\n\s*\n|^\|.*$|^\s*[-*] |^\d+\. |^#.*$|^:::.*$", re.MULTILINE)
END = re.compile(r"(?<=[.!?])[\"”)*]*\s+(?=[\"“(*$\[{]*[A-Z0-9$`{])")
CASES = re.compile(r"^(?:holds|weaker|mixed|contradicted|undecided)[a-z, ]*: ", re.MULTILINE)


def sentences(text):
    for paragraph in PARAGRAPH.split(CASES.sub("\n\n", NO_PROSE.sub("", text))):
        yield from filter(None, END.split(" ".join(paragraph.split())))


def long(sentence):
    return sentence.count("{glue") > MOST_NUMBERS


def open_ended(sentence):
    return CONDITIONALS.search(sentence) is not None


@pytest.mark.parametrize("bad", [long, open_ended], ids=["numbers", "conditions"])
def test_sentences_say_what_came_out(bad):
    found = [f"{page}: {one}" for page, text in texts() for one in sentences(text) if bad(one)]
    assert found == [], "\n".join(found)


def test_what_the_reader_should_find_out_is_noticed():
    for bad in (
        "So it is not needed, if few memorize.", "If claim B8 is not reproduced, noise does.",
        "Where the first is near 1, it is absorption.", "Where B17 fails, look at inputs.",
        "As far as they hold, it recurs.", "Matching helps; see how much of it is left.",
    ):  # fmt: skip
        assert open_ended(bad), bad
    for good in ("It is right if both of them hold.", "Where a coordinate is 0, nothing acts."):
        assert not open_ended(good), good
    four = "{glue:text}`a` " * 4
    assert [long(s) for s in sentences(f"One. {four}.\n\n| {four} |\nholds: {four}.")] == [
        False, True, True,
    ]  # fmt: skip


def test_spelling():
    """Of prose, names and comments; what is no mistake stands in ``pyproject.toml``."""
    command = [Path(sys.executable).parent / "codespell", "book", "notebooks", "faithnb"]
    pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    found = subprocess.run([*command, *pages], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert found.returncode == 0, found.stdout + found.stderr
