"""Recipes compared where they are equally sparse, and where they are equally wrong."""

from __future__ import annotations

from collections.abc import Sequence
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
    curves have no such place are left out, and those for which the column is not defined there.

    Args:
        first: rows of :attr:`faithnb.benchmark.Evaluation.rows`.
        second: those of the other.
        column: of the scores.
        axis: what is held equal.
    """
    if axis not in ("l0", "fvu"):
        raise InputError(f"axis = {axis!r} is not allowed: it must be 'l0' or 'fvu'.")
    between = _between(*(_curves(rows, [column], axis) for rows in (first, second)))
    return _summary(between[:, 0])


Curves = dict[int, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n n_columns"]]]
"""For each seed the logarithm of the axis, increasing, and the columns."""


def _curves(rows: pd.DataFrame, columns: Sequence[str], axis: Axis) -> Curves:
    good = rows[(rows.failed == "") & np.isfinite(rows[axis].astype(float))]
    found = {}
    for seed, of in good.sort_values(axis, kind="stable").groupby("seed"):
        at = np.log(np.maximum(of[axis].to_numpy(float), FLOOR))
        found[int(seed)] = at, of[[*columns]].to_numpy(float)  # type: ignore[call-overload]
    return found


def _between(first: Curves, second: Curves) -> Float[np.ndarray, "n_seeds n_columns"]:
    """The difference of each seed; NaN where a column is not defined."""
    found = []
    for seed in sorted(set(first) & set(second)):
        (x, y), (u, v) = first[seed], second[seed]
        low, high = max(x[0], u[0]), min(x[-1], u[-1])
        if low <= high:
            at = np.linspace(low, high, AT)
            found.append(_mean_over(at, x, y) - _mean_over(at, u, v))
    columns = next((y.shape[1] for _, y in first.values()), 1)
    return np.array(found).reshape(-1, columns)


def _mean_over(
    at: Float[np.ndarray, "m"], x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n n_columns"]
) -> Float[np.ndarray, "n_columns"]:
    weight = np.array([np.interp(at, x, one).mean() for one in np.eye(len(x))])
    return weight[weight > 0] @ y[weight > 0]


def _summary(between: Float[np.ndarray, "n_seeds"]) -> Difference:
    found = between[np.isfinite(between)]
    n = len(found)
    error = np.std(found, ddof=1) / n**0.5 if n > 1 else np.nan
    mean = float(found.mean()) if n else np.nan
    return Difference(mean, *mean_interval(found), float(DECIDES * error), n)


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
        curves = {str(name): _curves(one, columns, axis) for name, one in on.groupby(by)}
        for a, b in combinations(sorted(curves), 2):
            between = _between(curves[a], curves[b])
            for column, of_column in zip(columns, between.T, strict=True):
                d = _summary(of_column)
                lower, higher = (a, b) if d.mean < 0 else (b, a)
                best = {"low": lower, "high": higher, "": ""}[COLUMNS[column].best]
                found.append(
                    {"task": task, "first": a, "second": b, "column": column, **vars(d)}
                    | {"decided": d.decided, "better": best if d.decided else ""}
                )
    return pd.DataFrame(found)
