import numpy as np
import pytest

from faithnb.intervals import (
    cliffs_delta,
    delta_interval,
    logit_slopes,
    mean_interval,
    rate_interval,
    resampled_slopes,
)


def test_rate_interval_is_wilson_s():
    low, high = rate_interval(0, 16)
    assert low == 0
    assert high == pytest.approx(1.96**2 / (16 + 1.96**2), abs=1e-3)
    low, high = rate_interval(8, 16)
    assert low + high == pytest.approx(1)


def test_mean_interval_covers():
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(size=30)) for _ in range(60)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert covered > 0.8
    assert mean_interval([0.25] * 5) == (0.25, 0.25)


def test_cliffs_delta():
    assert cliffs_delta([4, 5], [1, 2]) == 1
    assert cliffs_delta([1, 2], [4, 5]) == -1
    assert cliffs_delta([1, 2], [1, 2]) == 0


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


def test_logit_slopes_that_do_not_exist_are_nan():
    x = np.arange(6.0)[:, None]
    separated = np.repeat(x > 2, 4, axis=1)
    for hit in (separated, np.zeros((6, 4), bool), np.ones((6, 4), bool)):
        assert np.isnan(logit_slopes(hit, x)).all()
        assert len(resampled_slopes(hit, x, n=5)) == 0
