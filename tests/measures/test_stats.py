import numpy as np
import pandas as pd
import pytest
import scipy

from faithnb.measures.stats import (
    auroc,
    cliffs_delta,
    delta_interval,
    finite_mean,
    logit_slopes,
    mean_interval,
    over_seeds,
    paired_difference,
    rate_interval,
    resampled_slopes,
)


def test_rate_interval_is_wilson_s():
    low, high = rate_interval(0, 16)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (16 + 1.96**2), abs=1e-3)
    low, high = rate_interval(8, 16)
    assert low + high == pytest.approx(1)


def pairs(both, first, second, neither):
    a = [True] * (both + first) + [False] * (second + neither)
    return a, [True] * both + [False] * first + [True] * second + [False] * neither


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_rate_interval_against_published_values(k, n, low, high):
    """Newcombe, Statistics in Medicine 17, 857 (1998), table I, method 3."""
    assert rate_interval(k, n) == pytest.approx((low, high), abs=5e-5)


def test_paired_difference_against_published_values():
    """Altman et al., Statistics with Confidence (2000), table 6.2; and the airway data of Bentur et
    al. (2009) as worked by Fagerland et al., Statistics in Medicine 33, 2850 (2014)."""
    assert paired_difference(*pairs(14, 5, 0, 22)) == pytest.approx((0.122, 0.011, 0.226), abs=5e-4)
    assert paired_difference(*pairs(1, 1, 7, 12)) == pytest.approx(
        (-0.286, -0.507, -0.026), abs=5e-4
    )


def test_paired_difference_turns_its_sign_and_covers():
    a, b = pairs(3, 5, 2, 6)
    value, low, high = paired_difference(a, b)
    assert paired_difference(b, a) == pytest.approx((-value, -high, -low))
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        common = rng.uniform(size=16) < 0.4
        first = common | (rng.uniform(size=16) < 0.3)
        _, low, high = paired_difference(first, common)
        covered += low <= 0.18 <= high
    assert covered > 270
    same = paired_difference([True] * 8, [True] * 8)
    assert same[0] == 0
    assert same[1] < 0 < same[2]


def test_mean_interval_covers():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=30)) for _ in range(60)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert covered > 0.8
    assert mean_interval([0.25] * 5) == (0.25, 0.25)
    assert np.isnan(mean_interval([0.25, np.nan])).all()
    sample = rng.normal(size=16)
    one_by_one = scipy.stats.bootstrap(
        (sample,), np.mean, confidence_level=0.95, method="percentile", rng=0
    ).confidence_interval
    assert mean_interval(sample) == pytest.approx(one_by_one, rel=1e-12)


def test_finite_mean():
    assert finite_mean([1, np.nan, 3]) == 2
    assert np.isnan(finite_mean([np.nan]))
    assert np.isnan(finite_mean([]))


def test_cliffs_delta():
    assert cliffs_delta([4, 5], [1, 2]) == 1
    assert cliffs_delta([1, 2], [4, 5]) == -1
    assert cliffs_delta([1, 2], [1, 2]) == 0


def test_cliffs_delta_of_a_worked_example():
    """Hand count: of the 12 pairs, 8 have a > b, 2 a < b and 2 are equal."""
    assert cliffs_delta([2, 4, 5, 7], [1, 2, 5]) == pytest.approx((8 - 2) / 12)


def test_auroc():
    assert auroc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert auroc([1, 2, 3, 4], [True, False, True, False]) == 0.25
    assert np.isnan(auroc([1, 2], [True, True]))


def test_over_seeds_draws_seeds_with_all_of_their_rows():
    table = pd.DataFrame({"seed": [1, 1, 2, 2, 3, 3], "x": [0.0, 2.0, 1.0, 1.0, -1.0, 3.0]})
    assert over_seeds(lambda t: t.x.mean(), table) == (1, 1)
    rows = over_seeds(lambda t: float(len(t)), table)
    assert rows == (6, 6)
    spread = table.assign(x=[0.0, 0.0, 1.0, 1.0, 2.0, 2.0])
    assert over_seeds(lambda t: t.x.mean(), spread) == pytest.approx((0, 2), abs=0.35)
    low, high = over_seeds(lambda t: t.x.iloc[0] if t.seed.nunique() > 1 else np.nan, spread)
    assert 0 <= low < high <= 2
    assert np.isnan(over_seeds(lambda t: np.nan, spread)).all()


def test_delta_interval_resamples_seeds():
    a, b, seeds = [3.0, 4, 5, 6], [1.0, 2, 1, 2], [0, 0, 1, 1]
    assert delta_interval(a, b, seeds, seeds) == (1, 1)
    rng = np.random.default_rng(0)
    x, y, seeds = rng.normal(size=40), rng.normal(size=40), np.arange(40) // 4
    low, high = delta_interval(x, y, seeds, seeds)
    assert low < cliffs_delta(x, y) < high
    narrow = delta_interval(x, y, np.arange(40), np.arange(40, 80))
    assert narrow[0] < 0 < narrow[1]


def test_logit_slopes_recover_what_made_the_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    p = 1 / (1 + np.exp(-(0.5 + 2 * x[:, 0] - 1 * x[:, 1])))
    hit = rng.random((60, 40)) < p[:, None]
    assert logit_slopes(hit, x) == pytest.approx([0.5, 2, -1], abs=0.2)
    low, high = np.quantile(resampled_slopes(hit, x, n=60), [0.025, 0.975], axis=0)
    assert (low < [0.5, 2, -1]).all()
    assert (high > [0.5, 2, -1]).all()


def test_logit_slopes_of_two_cells_add_half_a_hit_and_half_a_miss():
    """For a saturated model Firth's estimate is known: the log odds of counts plus one half."""
    hit = np.zeros((2, 10), dtype=bool)
    hit[0, :3] = hit[1, :9] = True
    odds = [np.log(3.5 / 7.5), np.log(9.5 / 1.5)]
    assert logit_slopes(hit, np.array([[0.0], [1.0]])) == pytest.approx(
        [odds[0], odds[1] - odds[0]]
    )


def test_logit_slopes_of_separated_cells_are_finite_and_point_the_right_way():
    """Hits where a + b > 1, always: both slopes are positive and, by symmetry, equal."""
    a, b = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6))
    x = np.stack([a.ravel(), b.ravel()], axis=1)
    hit = np.repeat((x.sum(1) > 1.01)[:, None], 4, axis=1)
    found = logit_slopes(hit, x)
    assert found[1] == pytest.approx(found[2], rel=1e-6)
    assert 1 < found[1] < 1000


def test_seeds_that_agree_do_not_make_the_slopes_certain():
    a, b = np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6))
    x = np.stack([a.ravel(), b.ravel()], axis=1)
    hit = np.repeat((x.sum(1) > 1.01)[:, None], 3, axis=1)
    found = resampled_slopes(hit, x, n=100)
    low, high = np.quantile(found[:, 1] / found[:, 2], [0.025, 0.975])
    assert low < 0.9 < 1.1 < high


def test_logit_slopes_that_do_not_exist_are_nan():
    x = np.arange(8.0)[:, None]
    for hit in (np.zeros((8, 3), dtype=bool), np.ones((8, 3), dtype=bool)):
        assert np.isnan(logit_slopes(hit, x)).all()
        assert len(resampled_slopes(hit, x, n=5)) == 0
    assert np.isnan(logit_slopes(np.zeros((0, 3), dtype=bool), x[:0])).all()
    some = np.eye(8, 3, dtype=bool)
    assert np.isnan(logit_slopes(some, np.concatenate([x, 0 * x], axis=1))).all()


def test_of_nothing_there_is_no_mean():
    assert np.isnan(mean_interval([])).all()
    assert np.isnan(finite_mean([np.nan]))
