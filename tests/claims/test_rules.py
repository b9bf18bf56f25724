"""Rules: what they make of data with intervals and without, and how they print themselves."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faithnb.claims import CLAIMS
from faithnb.claims.evidence import Evidence, all_of, number
from faithnb.claims.rules import (
    Above,
    Below,
    Bound,
    Exact,
    Induced,
    Larger,
    Marginal,
    Never,
    Often,
    Removed,
    Reported,
    Within,
)

NAN = float("nan")
YES, NO = [True] * 16, [False] * 16


def some(k, n=16):
    return [True] * k + [False] * (n - k)


@pytest.mark.parametrize(
    ("rule", "data", "outcome"),
    [
        (Induced(), (YES, NO), "holds"),
        (Induced(), (some(1), NO), "undecided"),
        (Induced(), (some(60, 300), [False] * 300), "weaker"),  # certain, but small
        (Induced(), (NO, YES), "contradicted"),
        (Removed(), (YES, NO), "holds"),
        (Removed(), (YES, some(6)), "weaker"),  # half of them may be left
        (Removed(), (YES, YES), "undecided"),
        (Removed(), (NO, YES), "contradicted"),
        (Often(), (some(15),), "holds"),
        (Often(), (some(14),), "weaker"),
        (Often(), (some(8),), "undecided"),
        (Often(), (some(11),), "undecided"),  # the interval begins at 0.44
        (Often(), (some(5),), "undecided"),  # and here it ends at 0.56
        (Often(), (some(4),), "contradicted"),
        (Often(at_least=0.5), (some(7),), "undecided"),
        (Often(at_least=0.2), (NO,), "contradicted"),
        (Often(), ([],), "missing"),
        (Often(Bound("≥", 0.95)), ([0.95] * 9 + [0.9],), "holds"),
        (Often(Bound(">", 0.95)), ([0.95] * 16,), "contradicted"),
        (Often(Bound("≤", 2)), ([NAN] * 16,), "contradicted"),
        (Never(), ([],), "missing"),
        (Never(), (NO,), "holds"),
        (Never(), (some(1, 200),), "weaker"),
        (Never(), (some(1, 100),), "undecided"),
        (Never(), (some(2),), "undecided"),
        (Never(), (some(3),), "contradicted"),
        (Never(), (np.array([[False, True]]),), "contradicted"),
        (Marginal(), ([],), "missing"),
        (Marginal(), (some(7),), "holds"),
        (Marginal(), (NO,), "undecided"),
        (Marginal(), ([False] * 200,), "contradicted"),
        (Marginal(), (YES,), "undecided"),
        (Marginal(), ([True] * 200,), "contradicted"),
        (Above(0), (1.0, (0.5, 2.0), 5), "holds"),
        (Above(0), (1.0, (-0.5, 2.0), 5), "undecided"),
        (Above(0), (1.0, (0.0, 2.0), 5), "undecided"),
        (Above(0), (-1.0, (-2.0, 2.0), 5), "undecided"),
        (Above(0), (-0.453, (-0.48, -0.44), 5), "contradicted"),
        (Above(0.95, without=0.5), (0.8, (0.7, 0.9), 5), "weaker"),
        (Above(0.95, without=0.5), (0.6, (0.4, 0.9), 5), "undecided"),
        (Above(0.95), (0.8, (0.7, 0.9), 5), "contradicted"),
        (Above(0), (NAN, (NAN, NAN), 5), "missing"),
        (Below(1), (0.0, None, 5), "holds"),
        (Below(1), (0.0, (-1.0, 2.0), 5), "undecided"),
        (Below(1), (3.0, (1.5, 4.0), 5), "contradicted"),
        (Below(0.5, without=1), (0.7, (0.6, 0.8), 5), "weaker"),
        (Below(1), (1.0, None, 5), "undecided"),
        (Below(1), (1.1, None, 5), "contradicted"),
        (Below(0.5, "another"), (0.9, None, 5, 2.0), "holds"),
        (Below(0.5, "another"), (0.9, None, 5, 1.0), "contradicted"),
        (Below(0.5, "another", without=1), (1.9, None, 5, 2.0), "weaker"),
        (Below(0.5, "another", without=1), (2.1, None, 5, 2.0), "contradicted"),
        (Below(0.5, "another"), (0.9, None, 5, NAN), "missing"),
        (Within(0.67, 1.5), (1.0, (0.8, 1.4), 5), "holds"),
        (Within(0.67, 1.5), (1.0, (0.5, 1.4), 5), "undecided"),
        (Within(0.67, 1.5), (2.0, (1.4, 2.4), 5), "undecided"),
        (Within(0.67, 1.5), (2.0, (1.6, 2.4), 5), "contradicted"),
        (Within(0.67, 1.5), (0.5, (0.4, 0.6), 5), "contradicted"),
        (Within(0.67, 1.5), (1.0, (NAN, 1.2), 5), "missing"),
        (Exact(1e-7), (1e-8, 5), "holds"),
        (Exact(1e-7), (1e-6, 5), "contradicted"),
        (Exact(1e-7), (NAN, 5), "contradicted"),
        (Reported(), ([1, 2, 3],), "reported"),
        (Reported(), ([],), "reported"),
    ],
)
def test_with_intervals(rule, data, outcome):
    assert rule.evidence("", *data).outcome == outcome


def told(value):
    """True, False or None, where there is nothing to judge."""
    return None if np.isnan(value) else bool(value)


@pytest.mark.parametrize(
    ("rule", "data", "held"),
    [
        (Often(), ([True] * 9 + [False],), True),
        (Often(), (some(8, 10),), False),
        (Often(), ([],), None),
        (Never(), (some(1, 10),), False),
        (Never(), ([],), None),
        (Induced(), (some(3, 10), some(0, 10)), True),
        (Induced(), (some(2, 10), some(0, 10)), False),
        (Removed(), (some(2, 10), some(0, 10)), None),
        (Removed(), (some(6, 10), some(3, 10)), True),
        (Removed(), (some(8, 10), some(5, 10)), False),
        (Removed(), (some(10, 10), some(8, 10)), False),
        (Above(0.9), (0.9,), False),
        (Above(0.9), (NAN,), None),
        (Below(0.5, "another"), (0.9, 2.0), True),
        (Below(0.5, "another"), (0.9, NAN), None),
        (Within(0.9, 1.1), (1.0,), True),
        (Within(0.9, 1.1), (np.inf,), False),
        (Within(0.9, 1.1), (NAN,), None),
        (Exact(4), (NAN,), False),
        (Reported(), ([1.0],), None),
    ],
)
def test_by_point_estimates(rule, data, held):
    assert told(rule.holds(*data)) is held


def test_larger_needs_size_and_certainty():
    rng, seeds, rule = np.random.default_rng(0), np.arange(30), Larger()
    a, b = rng.normal(3, 1, 30), rng.normal(0, 1, 30)
    assert rule.evidence("", a, b, seeds, seeds).outcome == "holds"
    assert rule.evidence("", a - 2, b, seeds, seeds).outcome == "weaker"
    assert rule.evidence("", b, a, seeds, seeds).outcome == "contradicted"
    assert rule.evidence("", a, a + [-9, 9] * 15, seeds, seeds).outcome == "undecided"
    assert rule.evidence("", [], b, [], seeds).outcome == "missing"
    assert rule.evidence("", a, b, seeds, seeds).n == 30
    assert rule.evidence("", a[:2], b, seeds[:2], seeds).outcome == "missing"
    assert rule.evidence("", a, b, seeds * 0, seeds).outcome == "missing"
    with_nan = rule.evidence("", [*a, np.nan], b, [*seeds, 99], seeds)
    assert (with_nan.outcome, with_nan.n) == ("holds", 30)


def test_orders_need_three_seeds_on_each_side():
    high, low, seeds = np.array([3.0, 4, 5]), np.array([0.0, 1, 2]), np.arange(3)
    rule = Larger()
    assert told(rule.holds(high, low, seeds, seeds)) is True
    assert told(rule.holds(low, high, seeds, seeds)) is False
    assert told(rule.holds(high, low, seeds, np.zeros(3))) is None
    assert told(rule.holds(high, np.array([0.0, 1, NAN]), seeds, seeds)) is None
    assert told(rule.holds(high, np.append(low, NAN), seeds, np.arange(4))) is True


share = st.floats(0.05, 1)
hits = st.lists(st.booleans(), min_size=1, max_size=60)
pairs = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)
value = st.floats(-3, 3)
width = st.floats(0, 2)


def agree(rule, evidence, held):
    """What is sure with intervals holds by point estimates, and what does not hold is not met."""
    if evidence.outcome == "holds":
        assert held is True, (rule, evidence)
    if held is False:
        assert evidence.outcome in ("weaker", "undecided", "contradicted"), (rule, evidence)


@given(hits, share)
def test_shares_have_one_threshold(data, at_least):
    for rule in (Often(at_least=at_least), Never(), Marginal()):
        found = rule.evidence("", data)
        agree(rule, found, rule.holds(data))
        assert (found.outcome == "holds") is rule.holds(data)


@given(st.lists(value, min_size=1, max_size=60), st.sampled_from(">≥<≤"), value)
def test_a_bound_on_values_is_that_of_their_truth(data, sign, bound):
    truth = Bound(sign, bound)(data)
    for kind in (Often, Never):
        assert kind(Bound(sign, bound)).holds(data) is kind().holds(truth)
        found = kind(Bound(sign, bound)).evidence("", data)
        assert found.value == kind().evidence("", truth).value


@given(pairs, share)
def test_differences_of_rates_have_one_threshold(data, by):
    first, second = (np.array(side) for side in zip(*data, strict=True))
    for rule in (Induced(by), Removed(by)):
        found, held = rule.evidence("", first, second), rule.holds(first, second)
        agree(rule, found, held)
        if found.interval[0] > by and not second.any() and len(data) > 30:  # by a wide margin
            assert held is True


@given(value, value, width, value, width)
def test_bounds_on_quantities_have_one_threshold(of, bound, off, low, band):
    interval = (of - off, of + off)
    for rule in (Above(bound), Below(bound), Within(low, low + band)):
        found, held = rule.evidence("", of, interval, 5), rule.holds(of)
        agree(rule, found, held)
        if isinstance(rule, Within):
            assert found.outcome != ("contradicted" if held else "holds")
        elif off == 0:
            assert (found.outcome == "holds") is held
    half = Below(0.5, "another")
    agree(half, half.evidence("", of, interval, 5, bound), half.holds(of, bound))


@settings(deadline=None, max_examples=25)
@given(st.lists(value, min_size=3, max_size=9), st.lists(value, min_size=3, max_size=9), share)
def test_orders_have_one_threshold(a, b, by):
    data = a, b, np.arange(len(a)), np.arange(len(b))
    rule = Larger(by)
    found = rule.evidence("", *data)
    agree(rule, found, bool(rule.holds(*data)))
    assert (found.value >= by) == rule.holds(*data)


@given(st.floats(0, 1), st.floats(0, 1))
def test_identities_have_one_threshold(deviation, tolerance):
    rule = Exact(tolerance)
    assert (rule.evidence("", deviation, 5).outcome == "holds") is rule.holds(deviation)


@given(st.floats(0.01, 0.99).map(lambda v: round(v, 2)))
def test_a_rule_prints_its_threshold(threshold):
    rules = [
        Induced(threshold), Removed(threshold), Larger(threshold), Above(threshold),
        Below(threshold), Within(threshold, 1), Exact(threshold), Often(Bound(">", threshold)),
    ]  # fmt: skip
    for rule in rules:
        assert f"{threshold:g}" in str(rule)
    assert f"{100 * threshold:g} %" in str(Often(at_least=threshold))


def test_a_part_that_fails_decides_and_one_that_is_missing_leaves_open():
    assert told(all_of(True, True)) is True
    assert told(all_of(True, NAN)) is told(all_of()) is None
    assert told(all_of(NAN, False)) is told(all_of(False, True)) is False
    assert told(all_of(np.bool_(False), NAN)) is False


def test_evidence_is_a_sentence():
    found = Often(Bound("≥", 0.95)).evidence("circuit match", [1.0, 0.5])
    assert re.fullmatch(
        r"circuit match \(at least 0.95\): 0.5 \[.+, .+\], n = 2 transcoders: undecided", str(found)
    )
    assert "–, n = 0 seeds: could not be measured" in str(Often().evidence("x", []))
    tiny = Evidence("x", 1e-9, None, 1, "reported", "values")
    assert str(tiny) == "x: 1e-09, n = 1 values: reported, not judged"
    assert [number(v) for v in (None, NAN, 0.12345)] == ["–", "–", "0.123"]


def test_every_rule_of_the_ledger_is_a_sentence():
    for claim in CLAIMS.values():
        assert bool(claim.rule_on_grid) is bool(claim.conditions)
        for text in filter(None, (claim.rule, claim.rule_on_grid)):
            assert re.fullmatch(r"[^a-z].*\.|b_r .*\.", text), (claim.id, text)
            assert not re.search(r"  |\.\.", text), (claim.id, text)
