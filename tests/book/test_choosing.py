"""Sentences by verdict: what a page shows of those that were written for each case."""

import json
from typing import get_args

import pytest
from pages_of_prose import texts

from faithnb.book.choosing import BLOCK, WORDS, cases, choose_sentences, chosen
from faithnb.book.contents import BuildError
from faithnb.claims import CLAIMS
from faithnb.claims.evidence import Outcome
from faithnb.notebook import write_records

ALL = "".join(f"{word}: It {word}.\n" for word in WORDS)


def recorded(**outcomes):
    """Evidence for C19 by what was measured."""
    parts = [dict(what=what.replace("_", " "), value=0.5, interval=None, n=9, outcome=outcome)
             for what, outcome in outcomes.items()]  # fmt: skip
    return {"C19": {"evidence": parts}}


def outcomes_that(word):
    """An outcome of a part, by the verdict that it alone makes."""
    assert word in get_args(Outcome)
    return word


def test_one_sentence_stands_in_its_paragraph():
    text = f"Before.\n:::{{by-verdict}} C19\n{ALL}:::\nAfter.\n"
    assert chosen(text, recorded(a=outcomes_that("holds")), "x") == "Before.\nIt holds.\nAfter.\n"
    assert chosen(text, {}, "x") == "Before.\nIt undecided.\nAfter.\n"
    assert chosen("No block.\n\n:::{note}\nx\n:::\n", {}, "x") == (
        "No block.\n\n:::{note}\nx\n:::\n"
    )


def test_one_rule_can_decide():
    found = recorded(by_scan=outcomes_that("contradicted"), by_seed=outcomes_that("holds"))
    for part, word in {
        "by scan": "contradicted",
        "by seed": "holds",
        "by none": "undecided",
    }.items():
        text = f":::{{by-verdict}} C19 {part}\n{ALL}:::\n"
        assert chosen(text, found, "x") == f"It {word}.\n"


def test_cases():
    body = "holds: One {glue:text}`a:.2f`.\nTwo.\nweaker, mixed: Three: four.\n"
    three = "Three: four."
    assert cases(body) == {
        "holds": "One {glue:text}`a:.2f`.\nTwo.",
        "weaker": three,
        "mixed": three,
    }
    with pytest.raises(ValueError, match="two sentences for holds"):
        cases("holds: a\nweaker, holds: b\n")
    with pytest.raises(ValueError, match="'sometimes: a' is for no verdict"):
        cases("sometimes: a\n")


def test_a_case_that_nobody_wrote_stops_the_build():
    found = recorded(a=outcomes_that("contradicted"))
    with pytest.raises(BuildError, match="04_x: nobody wrote what contradicted means"):
        chosen(":::{by-verdict} C19\nholds: Yes.\n:::\n", found, "04_x")
    with pytest.raises(BuildError, match="04_x: there is no claim C99"):
        chosen(f":::{{by-verdict}} C99\n{ALL}:::\n", found, "04_x")


def test_staged_pages_are_written_anew(tmp_path):
    block = f":::{{by-verdict}} C19\n{ALL}:::\n"
    for folder in ("book/api", "notebooks", "records"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "book" / "api" / "a.md").write_text(block, encoding="utf-8")
    cells = [{"cell_type": k, "source": block.splitlines(True)} for k in ("markdown", "code")]
    page = tmp_path / "notebooks" / "b.ipynb"
    page.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    write_records(
        tmp_path / "records" / "04_x.json", {"claims": recorded(a=outcomes_that("holds"))}
    )
    choose_sentences(tmp_path, tmp_path / "records")
    assert (tmp_path / "book" / "api" / "a.md").read_text(encoding="utf-8") == "It holds.\n"
    prose, code = json.loads(page.read_text(encoding="utf-8"))["cells"]
    assert "".join(prose["source"]) == "It holds.\n"
    assert "".join(code["source"]) == block


def test_every_block_of_the_book_has_a_sentence_for_every_verdict():
    for page, text in texts():
        assert text.count("{by-verdict}") == len(BLOCK.findall(text)), page
        for name, part, body in BLOCK.findall(text):
            assert set(cases(body)) == set(WORDS), (page, name)
            claim = CLAIMS[name]
            assert claim.testable, (page, name)
            names = {**claim.rules, **claim.chapter}
            assert not part or any(part.strip() in one for one in names), (page, name, part)
