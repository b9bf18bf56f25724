"""How likely a rule is met by chance: if the null is true, at the precision that was reached."""

from __future__ import annotations

import math

import scipy  # not its modules: they take a second to import, and come when first asked for

from faithnb.claims.evidence import Interval

TWO_SIDED = 1.959964
"""Standard errors from an estimate to the end of its 95 % interval."""


def of_share(least: float, n: int, null: float) -> float:
    """That at least a share of ``n`` hit, each with the null's chance."""
    needed = math.ceil(least * n - 1e-9)
    return float(scipy.stats.binom.sf(needed - 1, n, null))


def of_distance(interval: Interval, distance: float, beyond: bool = True) -> float | None:
    """That an estimate is so far on the claimed side of the null, for a normal error with the
    interval's width; ``None`` without an interval.

    Args:
        interval: 95 %, of the estimate.
        distance: of the threshold from the null.
        beyond: whether the interval must exclude the null, too.
    """
    if interval is None:
        return None
    error = (interval[1] - interval[0]) / (2 * TWO_SIDED)
    errors = distance / error if error > 0 else math.inf if distance > 0 else 0.0
    return float(scipy.stats.norm.sf(max(errors, TWO_SIDED if beyond else 0.0)))


def of_order(delta: float, n: int) -> float:
    """That Cliff's δ of two sides of ``n`` independent values each reaches ``delta`` although
    neither is larger: its error is that of the rank-sum statistic, √((2n + 1) / 3n²)."""
    error = ((2 * n + 1) / (3 * n * n)) ** 0.5
    return float(scipy.stats.norm.sf(delta / error))
