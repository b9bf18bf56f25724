"""Verdicts: one word from the words for the parts, and how a page says it."""

from dataclasses import replace
from itertools import combinations_with_replacement
from typing import get_args

import numpy as np
import pytest

from faithnb.claims import CLAIMS, as_rows, by_chance, in_short, tally, verdict
from faithnb.claims.evidence import Evidence, Outcome, graded
from faithnb.claims.rules import Above, Exact, Larger, Never, Often
from faithnb.claims.verdicts import LOOKS, VERDICTS, WORST_FIRST, worst

C1 = CLAIMS["C1"]


def parts(*outcomes):
    return [Evidence(f"part {k}", 0.5, (0.1, 0.9), 16, o) for k, o in enumerate(outcomes)]


def row(claim, *outcomes, first=200, caveats=(), **on_grid):
    found = {
        "kind": "empirical",
        "statement": "",
        "caveats": list(caveats),
        "evidence": [vars(e) for e in parts(*outcomes)],
        "seeds": {"first": first, "n": 16},
    }
    rows = as_rows({claim: found}, grid={claim: on_grid} if on_grid else None)
    return next(one for one in rows if one["id"] == claim)


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        (("holds", "holds"), "holds"),
        (("holds", "reported"), "holds"),
        (("holds", "weaker"), "weaker"),
        (("weaker",), "weaker"),
        (("holds", "undecided"), "mixed"),
        (("holds", "weaker", "undecided"), "mixed"),
        (("holds", "missing"), "mixed"),
        (("undecided",), "undecided"),
        (("weaker", "undecided"), "undecided"),
        (("weaker", "missing"), "undecided"),
        (("undecided", "missing"), "undecided"),
        (("holds", "holds", "contradicted"), "contradicted"),
        (("contradicted", "missing"), "contradicted"),
        (("missing",), "not measured"),
        (("reported",), "not measured"),
        ((), "not measured"),
    ],
)
def test_a_verdict_follows_from_all_parts(outcomes, word):
    assert verdict(C1, parts(*outcomes)) == word


def test_the_grid_can_only_take_a_claim_back_that_holds():
    for share, word in ((0.0, "at the headline setting only"), (0.49, VERDICTS[1]),
                        (0.5, "holds"), (1.0, "holds"), (None, "holds")):  # fmt: skip
        assert verdict(C1, parts("holds", "holds"), share) == word
    for outcome in ("weaker", "undecided", "contradicted"):
        assert verdict(C1, parts(outcome), 0.0) == verdict(C1, parts(outcome), 1.0)


def test_an_argument_is_not_judged():
    assert verdict(CLAIMS["C8"], parts("reported")) == "not testable as stated"
    assert verdict(CLAIMS["C8"], []) == "not measured"


def test_every_set_of_parts_has_a_word_that_pages_can_show():
    for several in combinations_with_replacement(get_args(Outcome), 3):
        assert verdict(C1, parts(*several), 0.25) in VERDICTS
    assert list(LOOKS) == list(VERDICTS)
    assert len({look.icon for look in LOOKS.values()}) == len(VERDICTS)
    assert set(WORST_FIRST) == set(get_args(Outcome)) - {"reported"}


def test_where_an_interval_lies_beside_the_null_gives_its_word():
    for low, high, word in ((0.1, 0.2, "weaker"), (-0.2, -0.1, "contradicted"),
                            (-0.1, 0.1, "undecided"), (0, 0.1, "undecided"),
                            (-0.1, 0, "undecided")):  # fmt: skip
        assert graded(False, low, high, 0) == word
        assert graded(False, -high, -low, 0, more=False) == word
        assert graded(True, low, high, 0) == "holds"


def test_the_part_that_is_shown_is_the_worst():
    holds = Often().evidence("a", [True] * 16)
    weaker = [Often().evidence(name, [True] * k + [False] * (16 - k))
              for name, k in (("b", 14), ("c", 13), ("d", 14))]  # fmt: skip
    against = Above(0).evidence("e", -0.453, (-0.48, -0.44), 5)
    assert worst([holds, *weaker]).what == "c"
    assert worst([holds, *weaker, against]).what == "e"
    reported = replace(holds, outcome="reported", what="f")
    assert worst([reported, holds]).what == "a"
    assert worst([reported]).what == "f"
    assert worst([]) is None


def test_c19_says_that_the_scan_contradicts_it():
    removed, scan = {**CLAIMS["C19"].rules, **CLAIMS["C19"].chapter}
    evidence = CLAIMS["C19"].evidence({
        removed: {"10 %": (np.full(16, True), np.full(16, False))},
        scan: (-0.453, (-0.48, -0.44), 5),
    })  # fmt: skip
    assert verdict(CLAIMS["C19"], evidence) == "contradicted"
    assert worst(evidence).value == -0.453


def test_both_counts_stand_beside_a_verdict():
    assert in_short(row("C7", "holds", "holds", share=0.375, n=8)) == (
        "at the headline setting only, 2 of 2 parts, 3 of 8 settings"
    )
    assert in_short(row("C1", "holds", "contradicted")) == (
        "contradicted, 1 of 2 parts, 1 contradicted"
    )
    assert in_short(row("C1", "missing")) == "not measured"
    assert in_short(row("C8", "reported")) == "not testable as stated"


def test_our_own_claims_hold_on_fresh_seeds_or_just_hold():
    assert in_short(row("B1", "holds")) == "held on fresh seeds, 1 of 1 part"
    assert in_short(row("C1", "holds")) == "holds, 1 of 1 part"
    assert in_short(row("L1", "holds")) == "holds, 1 of 1 part"  # an identity
    not_fresh = "seeds that chose settings or rules"
    assert in_short(row("B1", "holds", caveats=[not_fresh])) == "held, 1 of 1 part"


def test_a_rule_that_was_changed_after_its_seeds_were_seen_is_marked():
    assert in_short(row("B14", "holds")) == "held ★, 1 of 1 part"
    assert in_short(row("C19", "weaker")) == "weaker ★, 0 of 1 part"
    assert in_short(row("B14", "holds", first=1000)) == "held on fresh seeds, 1 of 1 part"
    marked = [one.id for one in CLAIMS.values() if one.changed]
    assert marked == [
        "C10", "C11", "C15", "C19", "C22", "C23", "C24", "B3", "B8",
        *(f"B{k}" for k in range(10, 16)), "B17", "B21", "A24",
    ]  # fmt: skip
    assert all(CLAIMS[name].changed.endswith(".") for name in marked)


def test_verdicts_are_counted_in_their_order():
    rows = [row("C1", "weaker"), row("C3", "holds"), row("C4", "holds"), row("C2", "holds"),
            row("B1", "contradicted")]  # fmt: skip
    assert tally(rows) == "holds (2), weaker (1)"
    assert tally(rows, ("B", "A")) == "contradicted (1)"


def test_how_many_parts_would_hold_by_chance():
    evidence = [
        Often().evidence("a", [True] * 3), Never().evidence("b", [False] * 16),
        Above(0).evidence("c", 1.0, None, 3), Often().evidence("d", []),
        Larger().evidence("e", [1, 2, 3], [4, 5, 6], range(3), range(3)),
    ]  # fmt: skip
    found = {
        "kind": "empirical",
        "statement": "",
        "caveats": [],
        "evidence": [vars(e) for e in evidence],
    }
    exact = {
        "kind": "identity",
        "statement": "",
        "caveats": [],
        "evidence": [vars(Exact(1).evidence("x", 0.0, 9))],
    }
    chance = by_chance(as_rows({"C1": found, "C2": exact}))
    assert (chance["parts"], chance["never"], chance["held"], chance["unknown"]) == (3, 1, 2, 1)
    assert chance["expected_never"] == pytest.approx(0.95**16)
    of_order = evidence[-1].chance
    assert chance["expected"] == pytest.approx(1 / 8 + 0.95**16 + of_order)
    assert 0.025 <= of_order < 0.1  # one order of 20 of three and three
