"""What changes of a point from one repeat to the next, one function each.

Each is given the points as they would repeat, ``[rows, d_in]``, the ``scale`` of the variation, a
stream of random numbers, and a step or steps; it returns ``[n_seeds, rows, d_in]`` for one step,
``[n_steps, n_seeds, rows, d_in]`` for several. Coordinates that are 0 stay 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registry
from faithnb.data.rng import Stream

Repeated = Float[Tensor, "rows d_in"]
Varied = Float[Tensor, "*drawn rows d_in"]
Variation = Callable[[Repeated, float, Stream, int | range], Varied]
F = TypeVar("F", bound=Variation)

VARIATIONS: Registry[Variation] = Registry("variation")
"""Every variation that ``Experiment.point_variation`` may name."""


def variation(function: F) -> F:
    """Register a function as a variation by its name; it stays as it is."""
    VARIATIONS.add(getattr(function, "__name__", ""), function)
    return function


@variation
def ray(points: Repeated, scale: float, stream: Stream, step: int | range) -> Varied:
    """u·p with u ~ U(1 − scale, 1)."""
    return points * (1 - scale * stream.uniform(step, (len(points), 1), points.dtype))


@variation
def independent(points: Repeated, scale: float, stream: Stream, step: int | range) -> Varied:
    """A factor ~ U(1 − scale, 1) for each coordinate."""
    return points * (1 - scale * stream.uniform(step, points.shape, points.dtype))


@variation
def jitter(points: Repeated, scale: float, stream: Stream, step: int | range) -> Varied:
    """p + scale·ε with ε ~ N(0, 1) on each coordinate."""
    return points + scale * stream.normal(step, points.shape, points.dtype) * (points != 0)


@variation
def signs(points: Repeated, scale: float, stream: Stream, step: int | range) -> Varied:
    """Each coordinate changes its sign with probability ``scale``."""
    flips = stream.uniform(step, points.shape, points.dtype) < scale
    return points * torch.where(flips, -1.0, 1.0).to(points.dtype)


def vary(points: Repeated, kind: str, scale: float, stream: Stream, step: int | range) -> Varied:
    """Points that are not repeated exactly, by the name of a variation."""
    return VARIATIONS[kind](points, scale, stream, step)
