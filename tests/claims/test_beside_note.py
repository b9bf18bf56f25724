"""The note's words beside what came out."""

import json

import pytest

from faithnb.book.contents import ROOT
from faithnb.claims import CLAIMS, as_rows, beside_note
from faithnb.claims.passages import NOTE, PASSAGES

LONGEST = 40


def test_every_claim_of_the_note_has_its_words():
    of_the_note = [name for name in CLAIMS if name.startswith("C")]
    assert sorted(PASSAGES) == sorted(of_the_note)
    for name in of_the_note:
        assert CLAIMS[name].quote == PASSAGES[name].words
    assert not any(one.quote for one in CLAIMS.values() if one.id not in PASSAGES)


@pytest.mark.parametrize("name", PASSAGES)
def test_a_quotation_is_short_and_plain(name):
    passage = PASSAGES[name]
    assert 5 <= len(passage.words.split()) <= LONGEST
    assert passage.section
    assert "\n" not in passage.words
    assert "  " not in passage.words


def test_the_figures_are_those_of_the_notebooks():
    named = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            named.add(cell["metadata"].get("mystnb", {}).get("figure", {}).get("name"))
    assert {passage.figure for passage in PASSAGES.values() if passage.figure} <= named


def test_a_card_has_words_verdict_value_and_links():
    evidence = {
        "what": "error",
        "value": 0.25,
        "interval": [0.125, None],
        "n": 16,
        "outcome": "undecided",
    }
    found = {"kind": "empirical", "statement": "", "evidence": [evidence], "caveats": []}
    rows = as_rows({"C1": found}, {"C1": "notebooks/03_x"}, {"C1": {"share": 0.5, "n": 8}})
    card, other = beside_note(rows, "Background").split("::::{card}")[1:]
    assert f"“{PASSAGES['C1'].words}”" in card
    assert CLAIMS["C1"].statement in card
    assert "error: 0.25 [0.125, –]" in card
    assert "0 of 1 part, 4 of 8 settings" in card
    assert "[chapter](03_x.ipynb) · {numref}`fig-pairs`" in card
    assert '<span class="chip v-undecided">' in card
    assert "chapter" not in other


def test_the_page_shows_every_part_once():
    page = json.loads((ROOT / "notebooks" / "claim_by_claim.ipynb").read_text(encoding="utf-8"))
    code = "\n".join("".join(c["source"]) for c in page["cells"] if c["cell_type"] == "code")
    assert [code.count(f'beside_note(rows, "{part}")') for part in NOTE] == [1] * len(NOTE)
