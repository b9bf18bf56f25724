"""What the first page says of the chapters follows from what they handed over."""

import pytest

from faithnb.claims import CLAIMS
from faithnb.widgets.results import (
    as_cards,
    first_results,
    matching,
    noticing,
    scoreboard,
    verdicts_in_words,
    where,
    without_a_repeat,
)


def part(what, value, n=16):
    return {"what": what, "value": value, "n": n}


def claim(*parts):
    return {"evidence": list(parts)}


ANOTHER = "patching error, another over the layer's mechanism"
PATTERNS = {"exact repeat": [0.7, 0.5], "ray": [0.7, 0.4], "magnitudes": [0.5, None]}
RECORDS = {
    "runs": {
        "01_absolute_value": {
            "10 % repeats": {"state": ["datapoint", "pair", "datapoint"]},
            "5 % repeats": {"state": ["other", "pair", "generalising"]},
            "5 % repeats, matched": {"state": ["generalising"] * 3},
            "frontier": {"state": ["datapoint"]},
            "no repeats": {"state": ["other"] * 3},
        },
        "07_coactivation": {
            f"07: {k}": {"memorization": m}
            for k, m in PATTERNS.items()
        },
    },
    "lost": {"04_jacobian_matching": {"without matching": 0.2, "with matching": 0.8,
                                      "smoothed matching": 0.1}},
    "claims": {
        "09_phase_diagram": {"B10": claim(part("memorized, 1.5 × equilibrium (at least 0.9)", 1.0),
                                          part("given up, 0.67 × equilibrium", 0.75))},
        "07_coactivation": {"B1": claim(part("pattern feature, one at a time", 0.0, 2))},
        "10_interventions": {
            "B14": claim(part(f"Cliff's δ, {ANOTHER}, |x|", 0.9)),
            "B17": claim(part("AUROC, patching minus FVU, |x|", 0.25)),
        },
    },
}  # fmt: skip


def row(id, verdict, **more):
    return {"id": id, "kind": "empirical", "verdict": verdict, "statement": f"<{id}> is so.",
            "chapter": "notebooks/04_x", "n_of_grid": 0, "parts": 2, "parts_met": 2,
            "parts_contradicted": 0, "caveats": [], "changed": ""} | more  # fmt: skip


def test_the_five_results_say_what_was_counted():
    found = first_results(RECORDS)
    assert [r.claim for r in found] == ["C7", "B10", "B1", "C19", "B14"]
    forms = found[0]
    assert [(b.label, b.shown) for b in forms.bars] == [
        ("no repeats", "0 of 3"), ("5 % repeats", "1 of 3"), ("10 % repeats", "3 of 3"),
        ("5 % repeats, matched", "0 of 3"),
    ]  # fmt: skip
    assert forms.sentence.endswith("with 10 % repeats, 3 of 3.")
    assert [b.shown for b in where(RECORDS)[1]] == ["4 of 16", "16 of 16"]
    assert [b.shown for b in without_a_repeat(RECORDS)[1]] == [
        "2 of 2", "1 of 2", "1 of 2", "0 of 2"
    ]  # fmt: skip
    assert (
        "80 % of the scan’s transcoders lose the task; without matching 20 % do"
        in matching(RECORDS)[0]
    )
    assert [b.shown for b in noticing(RECORDS)[1]] == ["0.95", "0.70"]


@pytest.mark.parametrize("records", [{}, {"claims": {}, "runs": {}, "lost": {}}])
def test_what_was_not_measured_is_said(records):
    for result in first_results(records):
        assert result.sentence == "This was not measured in this build."
        assert result.bars == ()


def test_a_part_without_a_value_is_not_measured():
    parts = claim(part("memorized, 1.5 × equilibrium", None), part("given up", 1.0))
    records = RECORDS | {"claims": {"09_phase_diagram": {"B10": parts}}}
    assert first_results(records)[1].bars == ()


def test_the_parts_that_are_read_are_those_of_the_claims():
    """Chapter 10 names the layers; the rest is named by the rules."""
    rules = {"B10": ("memorized, 1.5 × equilibrium", "given up, 0.67 × equilibrium"),
             "B1": ("pattern feature, one at a time",),
             "B14": ("patching error, another over the layer's mechanism",),
             "B17": ("AUROC, patching minus FVU",)}  # fmt: skip
    for name, of in rules.items():
        assert set(of) <= {*CLAIMS[name].rules, *CLAIMS[name].chapter}, name
    sides = [1.0, 2.0, 3.0], [0.0, 0.5, 0.7], [1, 2, 3], [1, 2, 3]
    given = {name: {"|x|": sides} for name in CLAIMS["B14"].rules}
    (evidence,) = CLAIMS["B14"].evidence(given)
    (read, _) = RECORDS["claims"]["10_interventions"].values()
    assert evidence.what == read["evidence"][0]["what"]


def test_cards_bring_the_verdict_and_lead_to_the_chapter():
    rows = [row(c, "holds") for c in ("C7", "B10", "B1", "C19")]
    rows.append(row("B14", "not measured", chapter=None))
    page = as_cards(first_results(RECORDS), rows).html
    assert page.count('href="04_x.html"') == 4
    assert page.count('href="claims.html"') == 1
    assert page.count("2 of 2 parts</p>") == 4
    assert "width:80%" in page


def test_the_scoreboard_has_the_note_s_empirical_claims_alone():
    rows = [row("C1", "holds", n_of_grid=6, share_of_grid=0.5), row("C2", "holds", kind="identity"),
            row("C3", "a new word"), row("C4", "mixed"), row("B1", "holds")]  # fmt: skip
    page = scoreboard(rows).html
    assert page.count("<li>") == 3
    assert "C1, holds, 2 of 2 parts, 3 of 6 settings: &lt;C1&gt; is so." in page
    assert page.index("holds: 1") < page.index("mixed: 1") < page.index("a new word: 1")
    assert verdicts_in_words(rows) == "holds (1), mixed (1), a new word (1)"
