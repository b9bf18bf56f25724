"""The smooth ``|u|`` by chords, which are certified to be near it."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import erf, erfc

APART = 1e-3
"""How far a chord may be from the curve."""

END = 6.0
"""Where lines of slope −1 and 1 take over: beyond, the curve is as near to them as at the end."""


class Chords(NamedTuple):
    """``−u + offset + Σ_k jump_k ReLU(u − knot_k)``, which is within ``error`` of
    ``u erf(u / √2) = gelu(u) + gelu(−u)`` for every u."""

    knots: Float[ndarray, "n"]
    jumps: Float[ndarray, "n"]
    offset: float
    error: float


@lru_cache(maxsize=1)
def smooth_absolute() -> Chords:
    """Chords between points of the curve: from a to b, it is off by at most ``M (b − a)² / 8``,
    where M bounds the second derivative ``φ(u) (4 − 2u²)`` between them."""
    half = [0.0]
    while half[-1] < END:
        step = (8 * APART / 1.6) ** 0.5  # the second derivative is below 1.6 everywhere
        while (wider := step * 1.02) ** 2 / 8 * _curved(half[-1], half[-1] + wider) <= APART:
            step = wider
            if half[-1] + step >= END:
                break
        half.append(min(half[-1] + step, END))
    right = np.array(half)
    knots = np.concatenate([-right[:0:-1], right])
    at = knots * erf(knots / 2**0.5)
    slopes = np.concatenate([[-1.0], np.diff(at) / np.diff(knots), [1.0]])
    widths = np.diff(right)
    curved = np.array([_curved(a, b) for a, b in pairwise(half)])
    between = float((curved * widths**2).max() / 8)
    beyond = float(END * erfc(END / 2**0.5))
    return Chords(knots, np.diff(slopes), float(at[0] + knots[0]), max(between, beyond) + 1e-12)


def _curved(a: float, b: float) -> float:
    """A bound of the second derivative's size between two numbers, ``0 ≤ a ≤ b``: φ falls, and
    ``4 − 2u²`` is between its values at both."""
    density = float(np.exp(-a * a / 2)) / (2 * np.pi) ** 0.5
    return density * max(abs(4 - 2 * a * a), abs(4 - 2 * b * b))
