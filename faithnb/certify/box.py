"""Which inputs a certificate is about: a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from faithnb.certify.piecewise import Piecewise
from faithnb.common.errors import InputError, shown

Reals = float | Sequence[float] | Tensor
"""One number, or one for each coordinate."""


@dataclass(frozen=True, eq=False)
class Box:
    """All x with ``low ≤ x ≤ high``. A coordinate with equal bounds is fixed."""

    low: Float[ndarray, "d_in"]
    high: Float[ndarray, "d_in"]

    @property
    def free(self) -> Int[ndarray, "m"]:
        """The coordinates that vary."""
        return np.flatnonzero(self.high > self.low)

    @property
    def radius(self) -> Float[ndarray, "m"]:
        """Half of the width along each that varies."""
        return (self.high - self.low)[self.free] / 2

    @property
    def matrix(self) -> Float[ndarray, "d_in m"]:
        """What maps ξ from ``[−1, 1]^m`` to x, beside the centre."""
        found = np.zeros((len(self.low), len(self.free)))
        found[self.free, np.arange(len(self.free))] = self.radius
        return found

    @property
    def centre(self) -> Float[ndarray, "d_in"]:
        """The point in the middle."""
        return (self.low + self.high) / 2

    def points(self, xi: Float[ndarray, "B m"]) -> Float[ndarray, "B d_in"]:
        """The inputs that belong to ξ, within the box also after rounding."""
        return np.clip(xi @ self.matrix.T + self.centre, self.low, self.high)

    def seen(self, function: Piecewise) -> Piecewise:
        """A function of x as one of ξ."""
        return function.seen_from(self.matrix, self.centre)


def box_of(
    d_in: int, support: Sequence[int] | None, low: Reals, high: Reals, around: Tensor | None
) -> Box:
    """The box over some coordinates with the others at 0; or around a point, where the others are
    as in the point and bounds are distances from it.

    Args:
        d_in: number of coordinates.
        support: the coordinates that vary, from 0; all by default.
        low: the lower bound, or one for each coordinate of the support.
        high: the upper bound, likewise.
        around: the point, ``[d_in]``; by default 0.

    Raises:
        InputError: if the box is empty or reversed, or there are no such coordinates.
    """
    some = list(range(d_in)) if support is None else [int(k) for k in support]
    if not some or len(set(some)) != len(some) or min(some) < 0 or max(some) >= d_in:
        raise InputError(
            f"support = {shown(support)} is not allowed: it must be one or more different "
            f"coordinates from 0 to {d_in - 1}."
        )
    middle = np.zeros(d_in) if around is None else around.detach().cpu().double().numpy()
    bounds = []
    for name, given in ("low", low), ("high", high):
        if isinstance(given, Tensor):
            given = given.detach().cpu().double().tolist()
        value = np.asarray(given, dtype=float)
        if value.shape not in ((), (len(some),)):
            raise InputError(
                f"{name} = {shown(given)} is not allowed: it must be one number, or one for each "
                f"of the {len(some)} coordinates that vary."
            )
        if not np.isfinite(value).all():
            raise InputError(f"{name} = {shown(given)} is not allowed: it must be finite.")
        ends = middle.copy()
        ends[some] += value
        bounds.append(ends)
    if (bounds[0] > bounds[1]).any():
        raise InputError(
            f"low = {shown(low)} is not allowed with high = {shown(high)}: the box would be empty."
        )
    return Box(*bounds)
