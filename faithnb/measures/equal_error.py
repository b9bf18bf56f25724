"""Comparisons at the same error: the same weight of a penalty means different pressure in different
arms, so that arms are compared where their errors overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

Values = Sequence[float] | np.ndarray


def overlapping(*errors: Values, below: float = np.inf) -> list[Bool[np.ndarray, "n"]]:
    """Which transcoders of each arm have an error in the range that every arm reaches.

    Args:
        *errors: of each arm, one value a transcoder; NaN where training diverged.
        below: errors from here on are left out.
    """
    arms = [np.asarray(e, dtype=float) for e in errors]
    finite = [e[np.isfinite(e)] for e in arms]
    if not arms or not all(len(e) for e in finite):
        return [np.zeros(len(e), dtype=bool) for e in arms]
    low, high = max(e.min() for e in finite), min(e.max() for e in finite)
    return [(e >= low) & (e <= high) & (e < below) for e in arms]


def pairs(
    a: Values, b: Values, factor: float = 1.25
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Indices into a and b: each of a, in order, with that of b that is nearest in the logarithm,
    not yet taken, and within ``factor``; those of a that have none are left out.

    Args:
        a: errors above 0 of one arm, one value a transcoder.
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
