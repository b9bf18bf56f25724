"""The largest of one goal on a box as a mixed-integer program, which HiGHS solves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from faithnb.certify.piecewise import Piecewise

FEASIBLE, WHOLE = 1e-7, 1e-6
"""How far HiGHS lets a constraint be violated, and a binary be from 0 or 1. SciPy cannot change
them."""


@dataclass(frozen=True)
class Solved:
    """What a program gave: a point, if it found one, and what no point exceeds."""

    at: Float[ndarray, "m"] | None
    dual_bound: float
    slack: float
    """What the solver's tolerances may hide, to be added to the bound."""

    final: bool = True
    """Whether more time would change nothing."""


class _Rows:
    """Constraints of a sparse matrix, many at a time."""

    def __init__(self) -> None:
        self.at: list[ndarray] = []
        self.low: list[ndarray] = []
        self.high: list[ndarray] = []
        self.count = 0

    def add(
        self, low: ndarray | float, high: ndarray | float, *terms: tuple[ndarray, ndarray]
    ) -> None:
        """As many rows as a term has; a term is columns and coefficients, ``[rows, …]``."""
        n = len(terms[0][0])
        for columns, values in terms:
            columns, values = np.broadcast_arrays(
                columns.reshape(n, -1), np.asarray(values, dtype=float).reshape(n, -1)
            )
            row = np.repeat(np.arange(n) + self.count, columns.shape[1])
            self.at.append(np.stack([row, columns.ravel(), values.ravel()]))
        self.low.append(np.broadcast_to(low, n).astype(float))
        self.high.append(np.broadcast_to(high, n).astype(float))
        self.count += n

    def made(self, width: int) -> LinearConstraint:
        row, column, value = np.concatenate(self.at, axis=1)
        matrix = coo_array((value, (row.astype(int), column.astype(int))), (self.count, width))
        return LinearConstraint(matrix.tocsr(), np.concatenate(self.low), np.concatenate(self.high))


class Program:
    """Variables are the inputs ξ, and for each unit its activation h and whether it is on; all in
    units of their own range, so that the solver's tolerances are shares of it:

    * on: ``z ≥ threshold`` and ``h = z``; off: ``z ≤ threshold`` and ``h = 0``. A jump has both its
      values where z is the threshold: what is found is the supremum.
    * of units that are ranked, those on are at or above a level t ≥ 0 and those off at or below it;
      at most k are on, and exactly k if t > 0. A tie has either order.

    Args:
        function: on ``[−1, 1]^m``, simplified.
        margin: how far z is from its threshold at least, ``[n]``; nothing by default.
        box: the part of ``[−1, 1]^m`` that is asked about; all of it by default.
    """

    def __init__(
        self,
        function: Piecewise,
        margin: Float[ndarray, "n"] | None = None,
        box: tuple[ndarray, ndarray] | None = None,
    ):
        self.f = f = function
        self.m, self.n = f.read.shape[1], len(f.bias)
        self.box = (-np.ones(self.m), np.ones(self.m)) if box is None else box
        middle = f.pre((self.box[0] + self.box[1])[None] / 2)[0]
        reach = np.abs(f.read) @ (self.box[1] - self.box[0]) / 2
        low, high = middle - reach, middle + reach
        self.scale = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-300)
        ranked = np.arange(self.n) < f.n_ranked
        if ranked.any():
            self.scale[ranked] = self.scale[ranked].max()
        self.low, self.high = low / self.scale, high / self.scale
        self.margin = (0.0 if margin is None else margin) / self.scale + np.zeros(self.n)
        self.rows = _Rows()
        self.h, self.on = self.m + np.arange(self.n), self.m + self.n + np.arange(self.n)
        self.level, self.full = self.m + 2 * self.n, self.m + 2 * self.n + 1
        self.width = self.m + 2 * self.n + 2
        if self.n:
            self._gates(ranked)

    def _z(self, some: ndarray, sign: float) -> tuple[ndarray, ndarray]:
        columns = np.broadcast_to(np.arange(self.m), (len(some), self.m))
        return columns, sign * self.f.read[some] / self.scale[some, None]

    def _gates(self, ranked: ndarray) -> None:
        bias, f = self.f.bias / self.scale, self.f
        one = np.ones(self.n)
        low, high, every = self.low, self.high, np.arange(self.n)
        theta = np.where(ranked, high, f.threshold / self.scale)
        add = self.rows.add
        add(-np.inf, bias - low, (self.h, one), (self.on, -low), self._z(every, -1))
        add(-np.inf, 0, (self.h, one), (self.on, -np.maximum(high, 0)))
        add(bias - theta, np.inf, (self.h, one), (self.on, -theta), self._z(every, -1))
        free = np.flatnonzero(~ranked)
        if len(free):
            t, gap = theta[free], self.margin[free]
            rise, fall = high[free] - t + gap, t + gap - low[free]
            on = self.on[free]
            add(low[free] - bias[free], np.inf, self._z(free, 1), (on, -fall))
            add(-np.inf, t - gap - bias[free], self._z(free, 1), (on, -rise))
        if ranked.any():
            self._order(np.flatnonzero(ranked), bias)

    def _order(self, some: ndarray, bias: ndarray) -> None:
        k, on, gap = self.f.k, self.on[some], self.margin[some]
        top = max(0.0, np.sort(self.high[some])[-k]) + gap.max()
        level = np.full(len(some), self.level), -np.ones(len(some))
        fall = top + gap - self.low[some]
        add = self.rows.add
        add(gap - bias[some] - fall, np.inf, self._z(some, 1), level, (on, -fall))
        rise = np.maximum(self.high[some], 0) + gap
        add(-np.inf, -gap - bias[some], self._z(some, 1), level, (on, -rise))
        full, lev = np.array([self.full]), np.array([self.level])
        add(-np.inf, 0, (lev, np.ones(1)), (full, np.array([-top])))
        add(0, np.inf, (on[None], np.ones((1, len(on)))), (full, np.array([-float(k)])))
        add(-np.inf, k, (on[None], np.ones((1, len(on)))))

    def largest(
        self, of_input: ndarray, of_h: ndarray, of_on: ndarray, offset: float, seconds: float,
        least: float = -np.inf,
    ) -> Solved:  # fmt: skip
        """The largest of a sum over inputs, activations and units that are on.

        Args:
            of_input: what ξ counts, ``[m]``.
            of_h: what the activations count, ``[n]``.
            of_on: what units count that are on, ``[n]``.
            offset: what is added.
            seconds: after which the solver stops, with the bound that it has.
            least: what is not larger is of no interest; it is the bound if nothing is.
        """
        counts = np.concatenate([of_input, of_h * self.scale, of_on, np.zeros(2)])
        size = np.abs(of_h * self.scale).sum()
        slack = (3 * FEASIBLE + 2 * WHOLE) * size + WHOLE * np.abs(of_on).sum()
        slack += FEASIBLE * np.abs(of_input).sum()
        if not self.n:
            corner = np.where(of_input > 0, self.box[1], self.box[0])
            return Solved(corner, float(of_input @ corner + offset), 0.0)
        rows = [self.rows.made(self.width)]
        if np.isfinite(least):
            rows.append(LinearConstraint(counts[None], least - offset, np.inf))
        ones = np.ones(self.m)
        found = milp(
            -counts,
            integrality=np.concatenate([0 * ones, np.zeros(self.n), np.ones(self.n), [0, 1]]),
            bounds=Bounds(
                np.concatenate([self.box[0], np.zeros(2 * self.n + 2)]),
                np.concatenate(
                    [self.box[1], np.maximum(self.high, 0), np.ones(self.n), [np.inf, 1]]
                ),
            ),
            constraints=rows,
            options={"time_limit": max(seconds, 1e-3), "mip_rel_gap": 0.0},
        )
        dual = getattr(found, "mip_dual_bound", None)
        if found.status == 2:
            return Solved(None, least, slack, True)
        bound = np.inf if dual is None or not np.isfinite(dual) else offset - dual
        at = None if found.x is None else np.clip(found.x[: self.m], *self.box)
        return Solved(at, float(bound), float(slack), found.status == 0)
