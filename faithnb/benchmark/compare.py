"""Recipes compared where they are equally sparse, and where they are equally wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.lenses import DECIDES, ROUNDED
from faithnb.common.errors import InputError
from faithnb.measures.stats import mean_interval

Axis = Literal["l0", "fvu"]

LEAST_SEEDS = 16
"""Seeds that a comparison needs."""

AT = 5
"""Places along the axis, evenly spaced in its logarithm, that a difference is the mean over."""

FLOOR = 1e-12
"""Values of an axis below count as this."""


@dataclass(frozen=True)
class Difference:
    """How far a column of one recipe lies above that of another, over the same seeds."""

    mean: float
    low: float
    high: float
    """The bootstrap interval over seeds at 95 %."""
    decidable: float
    """The smallest difference that so many seeds find four times in five."""
    seeds: int
    """Those on which both recipes reach the same place of the axis."""

    @property
    def decided(self) -> bool:
        """Whether enough seeds say that it is not 0."""
        return self.seeds >= LEAST_SEEDS and (self.low > ROUNDED or self.high < -ROUNDED)


def difference(first: pd.DataFrame, second: pd.DataFrame, column: str, axis: Axis) -> Difference:
    """Of two recipes on one task, at equal L0 or at equal FVU.

    For each seed a recipe is a curve through the points of its sweep, straight in the logarithm of
    the axis. Where both curves of a seed reach, their difference is taken and averaged; seeds whose
    curves have no such place are left out.

    Args:
        first: rows of :attr:`faithnb.benchmark.Evaluation.rows`.
        second: those of the other.
        column: of the scores.
        axis: what is held equal.
    """
    if axis not in ("l0", "fvu"):
        raise InputError(f"axis = {axis!r} is not allowed: it must be 'l0' or 'fvu'.")
    return _between(*(dict(_curves(rows, column, axis)) for rows in (first, second)))


Curves = dict[int, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]]


def _between(first: Curves, second: Curves) -> Difference:
    found = []
    for seed in sorted(set(first) & set(second)):
        (x, y), (u, v) = first[seed], second[seed]
        low, high = max(x[0], u[0]), min(x[-1], u[-1])
        if low <= high:
            at = np.linspace(low, high, AT)
            found.append(float(np.mean(np.interp(at, x, y) - np.interp(at, u, v))))
    n = len(found)
    error = np.std(found, ddof=1) / n**0.5 if n > 1 else np.nan
    mean = float(np.mean(found)) if n else np.nan
    return Difference(mean, *mean_interval(found), float(DECIDES * error), n)


def _curves(
    rows: pd.DataFrame, column: str, axis: Axis
) -> Iterator[tuple[int, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]]]:
    """For each seed the logarithm of the axis, increasing, and the column."""
    good = rows[rows.failed == ""]
    for seed, of in good.groupby("seed"):
        at, values = of[axis].to_numpy(float), of[column].to_numpy(float)
        known = np.isfinite(at) & np.isfinite(values)
        if known.any():
            order = np.argsort(at[known], kind="stable")
            yield int(seed), (np.log(np.maximum(at[known][order], FLOOR)), values[known][order])


def comparisons(
    rows: pd.DataFrame, axis: Axis, columns: Sequence[str], by: str = "recipe"
) -> pd.DataFrame:
    """Every pair of recipes on every task.

    Args:
        rows: with a column that says whose they are.
        axis: what is held equal.
        columns: of the scores; those that have earned it.
        by: that column.

    Returns:
        a row a task, pair and column: the fields of :class:`Difference`, ``decided``, and
        ``better``, the recipe whose values are, where that is decided.
    """
    found = []
    for task, on in rows.groupby("task"):
        of = dict(list(on.groupby(by)))
        for column in columns:
            curves = {name: dict(_curves(one, column, axis)) for name, one in of.items()}
            for a, b in combinations(sorted(of), 2):
                d = _between(curves[a], curves[b])
                lower, higher = (a, b) if d.mean < 0 else (b, a)
                best = {"low": lower, "high": higher, "": ""}[COLUMNS[column].best]
                found.append(
                    {"task": task, "first": a, "second": b, "column": column, **vars(d)}
                    | {"decided": d.decided, "better": best if d.decided else ""}
                )
    return pd.DataFrame(found)
