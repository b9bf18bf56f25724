"""A second method, for checking the first: every pattern of activation, by linear programs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray
from scipy.optimize import linprog

from faithnb.certify.piecewise import Piecewise

THIN = 1e-9
"""A region thinner than this, where the box is 2 wide, is none."""

Region = tuple[Bool[ndarray, "n"], Float[ndarray, "rows m+1"], Float[ndarray, "rows"]]
"""Which units are on, and ``A (ξ, level) ≤ b``; ranked units are compared with the level."""


def _inner(A: ndarray, b: ndarray, top: float) -> tuple[ndarray | None, float]:
    """The point of a region that is farthest from its walls, and how far that is."""
    m, size = A.shape[1] - 1, np.abs(A).sum(1)
    goal = np.append(np.zeros(m + 1), -1.0)
    bounds = [(-1, 1)] * m + [(0, top), (None, 1)]
    found = linprog(goal, np.column_stack([A, size]), b, bounds=bounds)
    return (None, -1.0) if found.x is None else (found.x[:-1], found.x[-1])


def regions(f: Piecewise, margin: float = THIN) -> Iterator[Region]:
    """The patterns of activation on ``[−1, 1]^m`` whose region is at least so wide."""
    n, m = f.read.shape
    ranked = np.arange(n) < f.n_ranked
    forms = np.column_stack([f.read, -1.0 * ranked])
    start = f.bias - np.where(ranked, 0, f.threshold)
    top = (np.abs(f.read).sum(1) + f.bias).max(initial=1)
    drawn = np.random.default_rng(1).uniform(-1, 1, (4096, m + 1))
    drawn[:, m] = np.maximum(drawn[:, m], 0) * top
    todo: list[tuple[list[bool], ndarray]] = [([], drawn)]  # with points that are inside
    while todo:
        on, points = todo.pop()
        k, sign = len(on), np.where(on, -1.0, 1.0)
        A, b = sign[:, None] * forms[:k], -sign * start[:k]
        if k == n:
            level = 0.0 if sum(on[: f.n_ranked]) < f.k else top
            if not f.n_ranked or _inner(A, b, level)[1] >= margin:
                yield np.array(on, dtype=bool), A, b
            continue
        for side in (False, True):
            if side and ranked[k] and sum(on[: f.n_ranked]) >= f.k:
                continue
            way = -1.0 if side else 1.0
            wall, at = way * forms[k], -way * start[k]
            known = points[at - points @ wall >= margin * np.abs(wall).sum()]
            if not len(known):
                point, wide = _inner(np.vstack([A, wall]), np.append(b, at), top)
                known = np.empty((0, m + 1)) if point is None or wide < margin else point[None]
            if len(known):
                todo.append(([*on, side], known))


def largest_output(f: Piecewise, goals: Float[ndarray, "n_goals d_out"]) -> float:
    """The largest of several sums of outputs on ``[−1, 1]^m``."""
    m = f.read.shape[1]
    drawn = np.random.default_rng(1).uniform(-1, 1, (4096, m))
    best = (f(drawn) @ goals.T).max()
    for on, A, b in regions(f):
        write = goals @ (f.write * on[:, None]).T
        gradient = write @ f.read + goals @ f.linear
        offset = write @ f.bias + goals @ f.offset
        for j in np.flatnonzero(np.abs(gradient).sum(1) + offset > best + THIN):
            count = np.count_nonzero(on[: f.n_ranked])
            level = (0, 0) if f.n_ranked and count < f.k else (0, None)
            cost = np.append(-gradient[j], 0.0)
            found = linprog(cost, A, b, bounds=[(-1, 1)] * m + [level])
            if found.fun is not None:
                best = max(best, offset[j] - found.fun)
    return float(best)


def largest_slope(
    f: Piecewise, per_unit: Float[ndarray, "n_goals n"], offset: Float[ndarray, "n_goals"],
    margin: float,
) -> float:  # fmt: skip
    """The largest of several sums over the units that are on, of regions so wide."""
    found = [(per_unit @ on + offset).max() for on, _, _ in regions(f, margin)]
    return float(max(found, default=-np.inf))
