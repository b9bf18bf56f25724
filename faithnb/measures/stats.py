"""Intervals and effect sizes for what the book claims."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
import scipy  # not its modules: they take a second to import, and come when first asked for
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike


def rate_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a rate of k in n."""
    interval = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(
    first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95
) -> tuple[float, float, float]:
    """Difference of two rates over the same seeds, first − second, with its interval.

    Newcombe's square-and-add interval (method 10 of Statistics in Medicine 17, 2635, 1998): the
    Wilson intervals of the two rates, combined with the correlation of the pairs.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    n, k_a, k_b, both = len(a), int(a.sum()), int(b.sum()), int((a & b).sum())
    low_a, high_a = rate_interval(k_a, n, confidence)
    low_b, high_b = rate_interval(k_b, n, confidence)
    covariance = float(both * n - k_a * k_b)
    if covariance > 0:
        covariance = max(covariance - n / 2, 0.0)
    spread = k_a * (n - k_a) * k_b * (n - k_b)
    phi = covariance / spread**0.5 if spread else 0.0

    def combine(u: float, v: float) -> float:
        return float(max(u * u - 2 * phi * u * v + v * v, 0.0) ** 0.5)

    rate_a, rate_b = k_a / n, k_b / n
    difference = rate_a - rate_b
    below = combine(rate_a - low_a, high_b - rate_b)
    above = combine(high_a - rate_a, rate_b - low_b)
    return difference, difference - below, difference + above


def finite_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the values that are finite; NaN if none is."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else float("nan")


def bootstrap(
    statistic: Callable[[Int[np.ndarray, "n_resamples n"]], ArrayLike],
    n: int,
    confidence: float = 0.95,
    n_resamples: int = 400,
) -> tuple[float, float]:
    """Percentile bootstrap interval over ``n`` seeds, drawn with replacement. NaN if the statistic
    is never finite.

    Args:
        statistic: its values for resamples, each given by the places, from 0, of the seeds drawn.
        n: how many seeds there are, at least 1.
        confidence: of the interval.
        n_resamples: how often seeds are drawn; resamples where the statistic is not finite are
            left out.
    """
    found = np.asarray(statistic(_places(n, n_resamples)), dtype=float)
    return _middle(found[np.isfinite(found)], confidence)


def _middle(found: np.ndarray, confidence: float) -> tuple[float, float]:
    """What the middle of some values lies between; NaN if there is none."""
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(found if len(found) else [np.nan], [tail, 100 - tail])
    return float(low), float(high)


def _places(n: int, n_resamples: int) -> Int[np.ndarray, "n_resamples n"]:
    return np.random.default_rng(0).integers(n, size=(n_resamples, n))


@lru_cache(maxsize=2)
def _drawn(n: int, n_resamples: int) -> Float[np.ndarray, "n_resamples n"]:
    """What share of a resample each seed is."""
    found = np.zeros((n_resamples, n))
    np.add.at(found, (np.arange(n_resamples)[:, None], _places(n, n_resamples)), 1 / n)
    return found


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean over seeds: the value itself where all agree, NaN where there is none, or
    one is NaN."""
    sample = np.asarray(values, dtype=float)
    if not len(sample) or np.isnan(sample).any():
        return float("nan"), float("nan")
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    return _middle(_drawn(len(sample), 9999) @ sample, confidence)


def cliffs_delta(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """P(a > b) − P(a < b), in [−1, 1]: how far a random a lies above a random b."""
    return float(2 * scipy.stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) - 1)


def delta_interval(
    a: Sequence[float] | np.ndarray,
    b: Sequence[float] | np.ndarray,
    seeds_a: Sequence[int] | np.ndarray,
    seeds_b: Sequence[int] | np.ndarray,
    confidence: float = 0.95,
    n_resamples: int = 2000,
) -> tuple[float, float]:
    """Interval of Cliff's δ that resamples seeds, not single values, because values of the same
    seed are not independent."""
    of_a, of_b = _by_seed(a, seeds_a), _by_seed(b, seeds_b)
    seeds = sorted(set(of_a) | set(of_b))

    def delta(drawn: np.ndarray) -> float:
        some_a, some_b = (
            np.concatenate([of.get(seeds[k], np.empty(0)) for k in drawn]) for of in (of_a, of_b)
        )
        if not len(some_a) or not len(some_b):
            return float("nan")
        return float(np.sign(some_a[:, None] - some_b).mean())

    return bootstrap(lambda drawn: [delta(k) for k in drawn], len(seeds), confidence, n_resamples)


def over_seeds(
    statistic: Callable[[pd.DataFrame], float],
    table: pd.DataFrame,
    confidence: float = 0.95,
    n_resamples: int = 400,
) -> tuple[float, float]:
    """Interval of a statistic of a table that has a column ``seed``: seeds are drawn, each with all
    of its rows. NaN if it never exists."""
    of = [rows for _, rows in table.groupby("seed")]
    return bootstrap(
        lambda drawn: [statistic(pd.concat([of[k] for k in some])) for some in drawn],
        len(of), confidence, n_resamples,
    )  # fmt: skip


def auroc(scores: Sequence[float] | np.ndarray, labels: Sequence[bool] | np.ndarray) -> float:
    """Chance that a labelled item scores above one without the label; NaN unless both exist."""
    s, positive = np.asarray(scores, dtype=float), np.asarray(labels, dtype=bool)
    if positive.all() or not positive.any():
        return float("nan")
    return (cliffs_delta(s[positive], s[~positive]) + 1) / 2


def _by_seed(
    values: Sequence[float] | np.ndarray, seeds: Sequence[int] | np.ndarray
) -> dict[int, np.ndarray]:
    v, s = np.asarray(values, dtype=float), np.asarray(seeds)
    return {int(seed): v[s == seed] for seed in np.unique(s)}


def logit_slopes(
    hit: Bool[np.ndarray, "cells seeds"], predictors: Float[np.ndarray, "cells k"]
) -> Float[np.ndarray, "k+1"]:
    """Intercept and slopes of logit P(hit), by Firth's penalised likelihood.

    Near a sharp threshold a line often separates the cells, and the maximum likelihood runs off to
    infinity. Firth (Biometrika 80, 27, 1993) adds half the logarithm of the information's
    determinant, which keeps it finite and takes away its leading bias; the score of cell i gains
    h_i (1/2 − p_i), with h_i its leverage. NaN if there are no cells, nothing or everything hits,
    or a predictor does not vary.
    """
    n, y = hit.shape[1], hit.sum(1)
    X = np.column_stack([np.ones(len(hit)), predictors])
    if not len(hit) or y.sum() in (0, n * len(hit)):
        return np.full(X.shape[1], np.nan)
    center, scale = X[:, 1:].mean(0), X[:, 1:].std(0)
    if (scale == 0).any():
        return np.full(X.shape[1], np.nan)
    X[:, 1:] = (X[:, 1:] - center) / scale
    beta = np.zeros(X.shape[1])
    for _ in range(500):
        p = scipy.special.expit(X @ beta)
        w = n * p * (1 - p)
        information = (X.T * w) @ X + 1e-9 * np.eye(len(beta))
        h = w * np.einsum("ij,jk,ik->i", X, np.linalg.inv(information), X)
        step = np.linalg.solve(information, X.T @ (y - n * p + h * (0.5 - p)))
        beta += step * min(1.0, 1.0 / np.abs(step).max(initial=1e-9))
        if np.abs(step).max() < 1e-8:
            slopes = beta[1:] / scale
            return np.concatenate([[beta[0] - slopes @ center], slopes])
    return np.full(X.shape[1], np.nan)


def resampled_slopes(
    hit: Bool[np.ndarray, "cells seeds"],
    predictors: Float[np.ndarray, "cells k"],
    n: int = 400,
) -> Float[np.ndarray, "n_found k+1"]:
    """Coefficients of :func:`logit_slopes` on ``n`` resamples, where they exist.

    Take quantiles of them, or of what is made of them, such as a ratio of slopes. A resample draws
    seeds with replacement, fits them, and draws outcomes anew from that fit: with few seeds, which
    may all agree, drawing seeds alone would pretend to know the slopes exactly. So the quantiles
    are rather too far apart than too near. Empty if the coefficients do not exist in more than one
    resample of ten: what is left would be a selection.
    """
    rng, n_seeds = np.random.default_rng(0), hit.shape[1]
    X = np.column_stack([np.ones(len(hit)), predictors])
    resampled = []
    for _ in range(n):
        fit = logit_slopes(hit[:, rng.integers(n_seeds, size=n_seeds)], predictors)
        if np.isfinite(fit).all():
            again = rng.random(hit.shape) < scipy.special.expit(X @ fit)[:, None]
            fit = logit_slopes(again, predictors)
        resampled.append(fit)
    found = [fit for fit in resampled if np.isfinite(fit).all()]
    return np.array(found if len(found) >= 0.9 * n else [])
