"""Claims as objects: what they refuse, and one that is added from outside."""

from dataclasses import replace

import numpy as np
import pytest

from faithnb import Experiment, Store
from faithnb.claims import CLAIMS, as_rows, claim, judge
from faithnb.claims.grid import for_ledger, judged, table
from faithnb.claims.grid import judge as judge_on_grid
from faithnb.claims.registry import Claim
from faithnb.claims.rules import Below, Bound, Larger, Never, Often, Reported
from faithnb.notebook import Run


@pytest.fixture
def registry(monkeypatch):
    """The claims as they are, and as they were afterwards."""
    before = dict(CLAIMS)
    yield CLAIMS
    CLAIMS.clear()
    CLAIMS.update(before)


def test_a_claim_added_from_outside_goes_all_the_way(registry, monkeypatch, tmp_path):
    sparse = claim("D1", "empirical", "Repeats raise L0.",
                   {"L0, with repeats over none": Larger(), "L0": Often(Bound("<", 100))},
                   chapter={"diverged": Never()})  # fmt: skip

    @sparse.on_grid(lambda base, matched: {"none": replace(base, repeat_frac=0.0), "all": base})
    def _(s):
        """Without repeats, and with."""
        l0, seed = ([s.tables[k][name] for k in ("all", "none")] for name in ("l0", "seed"))
        return {"L0, with repeats over none": (*l0, *seed), "L0": l0[0]}

    assert list(CLAIMS)[-1] == "D1"
    assert judged("D") == [sparse]
    base = Experiment(d_in=6, d_sae=12, batch_size=32, steps=4, repeat_frac=0.1)
    matched = replace(base, jacobian_matching="plain", jacobian_coefficient=0.1)
    found = judge_on_grid(judged("D"), [(base, matched)], range(3), Store(tmp_path), False)
    grid = for_ledger(table(found, [{"d_in": 6}]))
    assert grid["D1"]["n"] == 1

    handed = {}
    monkeypatch.setattr("faithnb.claims.ledger.hand_over", lambda kind, data: handed.update(data))
    larger = (np.arange(9) + 50.0, np.arange(9.0), np.arange(9), np.arange(9))
    judge(Run(), "D1", {
        "L0, with repeats over none": {"wide": larger, "narrow": larger},
        "L0": np.full(9, 12.0), "diverged": [False] * 9,
    }, {"FVU": np.full(9, 0.02)})  # fmt: skip
    *_, row = as_rows(handed, {"D1": "notebooks/x"}, grid)
    holds = "holds" if row["share_of_grid"] else "at the headline setting only"
    assert (row["id"], row["verdict"], row["value"]) == ("D1", holds, 1.0)
    assert (row["parts"], row["parts_met"], row["n_of_grid"]) == (4, 4, 1)
    assert row["statistic"] == "Cliff's δ, L0, with repeats over none, wide"
    assert row["rule"] == (
        "L0, with repeats over none: Cliff's δ at least 0.8, with a 95 % interval above 0. "
        "L0: below 100 in at least 90 % of transcoders. Diverged: in no transcoder."
    )
    assert row["evidence"][-1]["text"].endswith("n = 9 values: reported, not judged")


def test_a_name_that_is_taken_is_refused(registry):
    with pytest.raises(ValueError, match="there is a claim C2 already: abs"):
        claim("C2", "empirical", "Something else.", {"x": Never()})
    for _ in range(2):  # a cell of a notebook may run again
        claim("D1", "empirical", "The same.", {"x": Never()})
    assert list(CLAIMS)[-1] == "D1"


def test_a_claim_needs_rules_that_suit_its_kind(registry):
    with pytest.raises(ValueError, match="kind = 'guess' of D1 must be one of 'empirical'"):
        claim("D1", "guess", "", {"x": Never()})
    with pytest.raises(ValueError, match="D1 is empirical: it needs a rule to judge it"):
        claim("D1", "empirical", "", {"x": Reported()})
    with pytest.raises(ValueError, match="D1 is opinion: it needs no rule to judge it"):
        claim("D1", "opinion", "", {"x": Never()})
    assert "D1" not in CLAIMS


def test_data_and_rules_must_fit():
    rules = {"x": Below(1)}
    one = Claim("D1", "empirical", "", rules, {"in its chapter": Never()}, {"on a grid": Never()})
    with pytest.raises(ValueError, match="D1 needs data for 'in its chapter'"):
        one.evidence({"x": (0.5, None, 3)})
    with pytest.raises(ValueError, match="D1 has no rule for 'y'; it has rules for 'x', 'on a"):
        one.holds({"x": 0.5, "y": 1.0})
    assert one.holds({"x": 0.5, "on a grid": [False]}) is True
    assert one.holds({"x": {"here": 0.5, "there": 1.5}}) is False
    assert np.isnan(one.holds({}))
    assert one["on a grid"] == Never()
    first, second = one.evidence({"in its chapter": [False], "x": {"here": (0.5, None, 3)}})
    assert (first.what, second.what) == ("in its chapter", "x, here")


def test_what_a_chapter_and_the_grid_share_is_one_rule():
    for one in CLAIMS.values():
        assert not set(one.rules) & (set(one.chapter) | set(one.grid)), one.id
        assert not one.grid or one.conditions, one.id
