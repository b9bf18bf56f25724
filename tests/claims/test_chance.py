"""How likely rules are met at their nulls, against draws."""

import numpy as np
import pytest

from faithnb.claims.chance import of_distance, of_order, of_share
from faithnb.claims.rules import Above, Below, Induced, Never, Often, Within
from faithnb.measures.stats import cliffs_delta


@pytest.mark.parametrize("n", [3, 5, 16])
@pytest.mark.parametrize("rule", [Often(), Often(at_least=0.5), Never()])
def test_shares_are_binomial(rule, n):
    draws = np.random.default_rng(0).random((4000, n)) < rule.null
    met = np.mean([rule.holds(draw) for draw in draws])
    assert rule.evidence("", draws[0]).chance == pytest.approx(met, abs=0.03)


def test_a_share_that_is_rounded_up():
    assert of_share(0.9, 10, 0.5) == pytest.approx(11 / 1024)
    assert of_share(0.0, 10, 0.5) == 1


def test_what_excludes_the_null_does_so_in_one_of_forty():
    assert of_distance((-0.1, 0.1), 0.0) == pytest.approx(0.025, abs=1e-6)
    assert of_distance((-0.1, 0.1), 0.2) < 1e-4
    assert of_distance((0.5, 0.5), 0.3) == 0
    assert of_distance(None, 0.3) is None
    assert Above(0).evidence("", 1.0, (0.5, 1.5), 5).chance == pytest.approx(0.025, abs=1e-6)
    wide = Above(0.9, without=0.5).evidence("", 0.6, (0.1, 1.1), 5).chance
    assert wide == pytest.approx(0.025, abs=1e-6)
    narrow = Below(0.5, without=1).evidence("", 0.6, (0.4, 0.8), 5).chance
    assert narrow < 1e-4
    assert Induced().evidence("", [True] * 16, [False] * 16).chance <= 0.025


def test_an_interval_wider_than_its_band_never_fits():
    assert Within(0.9, 1.1).evidence("", 1.0, (0.5, 1.5), 5).chance == 0
    assert Within(0.9, 1.1).evidence("", 1.0, (0.95, 1.05), 5).chance > 0


@pytest.mark.parametrize("n", [5, 9])
def test_orders_are_those_of_ranks(n):
    rng = np.random.default_rng(0)
    draws = [cliffs_delta(rng.random(n), rng.random(n)) for _ in range(2000)]
    assert of_order(0.5, n) == pytest.approx(np.mean(np.array(draws) >= 0.5), abs=0.03)
    assert of_order(0.8, 16) < 1e-3
