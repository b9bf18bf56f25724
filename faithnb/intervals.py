"""Intervals and effect sizes for what the book claims."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap, mannwhitneyu


def rate_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a rate of k in n."""
    interval = binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over seeds (the value itself where all agree)."""
    sample = np.asarray(values, dtype=float)
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    interval = bootstrap(
        (sample,), np.mean, confidence_level=confidence, method="percentile", rng=0
    ).confidence_interval
    return float(interval.low), float(interval.high)


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """P(a > b) − P(a < b), in [−1, 1]: how far a random a lies above a random b."""
    return float(2 * mannwhitneyu(a, b).statistic / (len(a) * len(b)) - 1)
