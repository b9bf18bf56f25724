import numpy as np
import pytest

from faithnb.intervals import cliffs_delta, delta_interval, mean_interval, rate_interval


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
