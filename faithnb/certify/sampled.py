"""What is found in a box without a proof: by chance, and by climbing from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from faithnb.certify.box import Reals, box_of
from faithnb.certify.questions import error_problem
from faithnb.common.checks import exact
from faithnb.common.errors import InputError
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

AT_ONCE = 20_000
"""Points that are evaluated together."""

STEPS = 40
"""Of a climb; each is shorter than the one before, the last a thousandth of half of the box."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """The largest error that was found; a certified one is never below.

    Attributes:
        drawn: the largest at points that were drawn.
        climbed: the largest after climbing from the best of them.
        witness: where that is, ``[d_in]``.
    """

    drawn: float
    climbed: float
    witness: Float[ndarray, "d_in"]


@exact
def sampled_error(
    transcoder: Transcoder,
    layer: Layer,
    support: Sequence[int] | None = None,
    low: Reals = -1.0,
    high: Reals = 1.0,
    around: Float[Tensor, "d_in"] | None = None,
    n: int = 200_000,
    climbers: int = 100,
    seed: int = 0,
) -> Sampled:
    """The largest ``|ŷ_j − y_j|`` at uniform inputs of a box, and after climbing from those with
    the largest: steps along the sign of the gradient, clipped to the box.

    Arguments and errors besides are those of :func:`faithnb.certify.worst_error`.

    Args:
        n: inputs that are drawn.
        climbers: from how many of them.
        seed: of the draw.
    """
    for name, given in ("n", n), ("climbers", climbers):
        if given < 1:
            raise InputError(f"{name} = {given} is not allowed: it must be at least 1.")
    box = box_of(layer.d_in, support, low, high, around)
    problem, rng = error_problem(transcoder, layer, box), np.random.default_rng(seed)
    best, at = np.empty(0), np.empty((0, problem.m))
    for first in range(0, n, AT_ONCE):
        points = rng.uniform(-1, 1, (min(AT_ONCE, n - first), problem.m))
        best = np.concatenate([best, np.abs(problem.f(points)).max(1)])
        at = np.concatenate([at, points])
        order = np.argsort(-best, kind="stable")[:climbers]
        best, at = best[order], at[order]
    drawn = float(best[0])
    for step in np.geomspace(0.5, 1e-3, STEPS):
        y = problem.f(at)
        worst = np.abs(y).argmax(1)
        rows = np.arange(len(at))
        uphill = problem.f.jacobian(at)[rows, worst] * np.sign(y[rows, worst])[:, None]
        moved = np.clip(at + step * np.sign(uphill), -1, 1)
        reached = np.abs(problem.f(moved)).max(1)
        better = reached > best
        at[better], best[better] = moved[better], reached[better]
    return Sampled(drawn, float(best.max()), box.points(at[[best.argmax()]])[0])
