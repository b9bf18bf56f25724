import numpy as np
import pytest

from faithnb.intervals import cliffs_delta, mean_interval, rate_interval


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
