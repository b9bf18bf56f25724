"""Comparisons at the same error: the same weight of a penalty means different pressure in different
conditions, so that they are compared where their errors overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Int

Values = Sequence[float] | np.ndarray


def overlapping(*errors: Values, below: float = np.inf) -> list[Bool[np.ndarray, "n"]]:
    """Which transcoders of each condition have an error in the range that every one reaches.

    Args:
        *errors: of each condition, one value a transcoder; NaN where training diverged.
        below: errors from here on are left out.
    """
    every = [np.asarray(e, dtype=float) for e in errors]
    finite = [e[np.isfinite(e)] for e in every]
    if not every or not all(len(e) for e in finite):
        return [np.zeros(len(e), dtype=bool) for e in every]
    low, high = max(e.min() for e in finite), min(e.max() for e in finite)
    return [(e >= low) & (e <= high) & (e < below) for e in every]


def pairs(
    a: Values, b: Values, factor: float = 1.25
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Indices into a and b: each of a, in order, with that of b that is nearest in the logarithm,
    not yet taken, and within ``factor``; those of a that have none are left out.

    Args:
        a: errors above 0 of one condition, one value a transcoder.
        b: of the other.
        factor: above 1.
    """
    left, right = np.log(np.asarray(a, dtype=float)), np.log(np.asarray(b, dtype=float))
    free, found = set(np.flatnonzero(np.isfinite(right)).tolist()), []
    for i, of in enumerate(left):
        near = min(free, key=lambda j: abs(right[j] - of), default=None)
        if near is not None and abs(right[near] - of) < np.log(factor):
            found.append((i, near))
            free.remove(near)
    first, second = np.array(found, dtype=int).reshape(-1, 2).T
    return first, second


def at_same_error(table: xr.Dataset, by: str, values: Sequence[Any]) -> list[Int[np.ndarray, "n"]]:
    """For each value of a field, the places of the transcoders that have it and an FVU in the range
    that all of the values reach.

    Args:
        table: over ``inst``, as :meth:`faithnb.Trained.metrics` gives it.
        by: a field in which the experiments differ.
        values: of that field.
    """
    places = [np.flatnonzero(table[by].values == value) for value in values]
    shared = overlapping(*(table.fvu.values[of] for of in places))
    return [of[some] for of, some in zip(places, shared, strict=True)]


def partners(
    errors: Values, first: Bool[np.ndarray, "n"], second: Bool[np.ndarray, "n"],
    factor: float = 1.25,
) -> tuple[Int[np.ndarray, "k"], Int[np.ndarray, "k"]]:  # fmt: skip
    """:func:`pairs` of those that ``first`` marks with those that ``second`` marks, as places in
    the table that ``errors`` come from."""
    a, b = np.flatnonzero(first), np.flatnonzero(second)
    of_a, of_b = pairs(np.asarray(errors)[a], np.asarray(errors)[b], factor)
    return a[of_a], b[of_b]


def where_equal(
    ladder: Sequence[pd.DataFrame], other: pd.DataFrame, axis: str, columns: Sequence[str]
) -> pd.DataFrame:
    """What a condition gives, seed by seed, where it is as sparse or as wrong as another.

    A seed of the ladder is a curve through its rungs, straight in the logarithms of both axes. It
    is read where the other condition's transcoder of that seed lies. Nothing is extrapolated.

    Args:
        ladder: the condition under several penalties, a row a seed and a column a measure.
        other: the other condition, over seeds that the ladder has.
        axis: the column that is held equal, above 0.
        columns: those that are read, above 0.

    Returns:
        the columns, over the other condition's seeds; NaN where the ladder does not reach.
    """
    found = {}
    for seed in other.index:
        of_seed = pd.DataFrame([rung.loc[seed] for rung in ladder]).sort_values(axis)
        x, at = np.log(of_seed[axis]), np.log(other.at[seed, axis])
        found[seed] = {
            name: np.exp(np.interp(at, x, np.log(of_seed[name]), np.nan, np.nan))
            for name in columns
        }
    return pd.DataFrame.from_dict(found, orient="index", columns=list(columns))
