"""The note's data: sparse uniform coordinates, and a few points that come back again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream

Points = Sequence[Sequence[float]]

EVALUATED = 8192
"""Base samples that a metric is taken on."""


def sample_base(
    u: Float[Tensor, "*shape"], density: float | Float[Tensor, "..."]
) -> Float[Tensor, "*shape"]:
    """The note's base distribution: U(−1, 1) with probability ``density``, else exactly 0.

    ``u`` is uniform on (0, 1); one number decides both. Given u < density, 1 − 2u/density is
    uniform on (−1, 1); otherwise it lies at or below −1 and becomes 0.
    """
    return torch.threshold_(1 - u * (2 / density), -1.0, 0.0)


@settled()
def pad_points(
    points: Points, d_in: int, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n_points d_in"]:
    """The repeated points as rows, filled up with zeros: ``((1, 1, 1),)`` is the note's p.

    Raises:
        ValueError: if a point has more than ``d_in`` coordinates.
    """
    rows = torch.zeros(len(points), d_in, dtype=dtype)
    for row, point in zip(rows, points, strict=True):
        if len(point) > d_in:
            raise ValueError(
                f"points holds {tuple(point)}, more coordinates than d_in = {d_in} has room for."
            )
        row[: len(point)] = torch.tensor(point, dtype=dtype)
    return rows


def refusals_of_points(experiment: Any) -> Iterator[str]:
    """A sentence for each choice of an experiment that makes no sense with its points."""
    longest = max(map(len, experiment.points), default=0)
    if longest > experiment.d_in:
        yield (
            f"points = {experiment.points} is not allowed with d_in = {experiment.d_in}: "
            f"a point has {longest} coordinates, at most {experiment.d_in} fit."
        )
    elif _equal(experiment):
        yield (
            f"points = {experiment.points} is not allowed with dtype = {experiment.dtype!r}: two "
            "of them are the same point."
        )
    if experiment.repeat_frac > 0 and not experiment.points:
        yield (
            f"repeat_frac = {experiment.repeat_frac:g} is not allowed with points = (): "
            "there is nothing to repeat, so it must be 0."
        )
    if experiment.point_variation != "none" and experiment.sampling == "bernoulli":
        yield (
            f"point_variation = {experiment.point_variation!r} is not allowed with "
            "sampling = 'bernoulli': varied points have rows of their own, use 'exact'."
        )
    if experiment.matching_at != "all" and experiment.sampling == "bernoulli":
        yield (
            f"matching_at = {experiment.matching_at!r} is not allowed with sampling = 'bernoulli': "
            "drawn points have no rows of their own, use 'exact'."
        )
    if experiment.matching_at == "points" and not experiment.points:
        yield "matching_at = 'points' is not allowed with points = (): there are none."


def _equal(experiment: Any) -> bool:
    """Whether two points are one, filled up with zeros and in the type of training."""
    rows = pad_points(experiment.points, experiment.d_in, experiment.torch_dtype).tolist()
    return len(set(map(tuple, rows))) < len(rows)


def mixture(
    base: Float[Tensor, "batch d_in"],
    points: Float[Tensor, "n_points d_in"],
    repeat_frac: float | Float[Tensor, "*inst"],
    copies: int = 1,
) -> tuple[Float[Tensor, "rows d_in"], Float[Tensor, "*inst rows"]]:
    """The note's mixture with the repeated points integrated exactly.

    x is one of the points a fraction ``repeat_frac`` of the time (each equally often), and a base
    sample otherwise, so a mean over the mixture is ``(1 − r) · mean over base + r · mean over
    points``. Returns ``rows = batch + copies · n_points`` inputs and their weights, which sum
    to 1. ``copies`` splits a point over several rows, for terms that draw noise for each row.
    """
    n_rows = copies * len(points)
    x = torch.cat([base, points.repeat(copies, 1)])
    r = torch.as_tensor(repeat_frac, dtype=torch.float64, device=base.device)[..., None]
    of_base, of_point = (1 - r) / len(base), r / max(n_rows, 1)
    shape = r.shape[:-1]
    weight = torch.cat([of_base.expand(*shape, len(base)), of_point.expand(*shape, n_rows)], dim=-1)
    return x, weight.to(base)


def replace_at_random(
    base: Float[Tensor, "*batch d_in"],
    points: Float[Tensor, "n_points d_in"],
    repeat_frac: float | Float[Tensor, "..."],
    u: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch d_in"]:
    """The note's mixture taken literally: row b becomes a repeated point where u_b < repeat_frac.

    ``u`` is uniform on [0, 1); which point it is follows from where in [0, repeat_frac) it lies.
    """
    if not len(points):
        return base
    r = torch.as_tensor(repeat_frac, dtype=u.dtype, device=u.device)
    which = (u * (len(points) / r)).long().clamp(0, len(points) - 1)
    return torch.where((u < r)[..., None], points[which], base)


def evaluation_sample(
    d_in: int,
    density: float,
    n: int = EVALUATED,
    dtype: torch.dtype = torch.float32,
    blur: float = 0.0,
) -> Float[Tensor, "n d_in"]:
    """The fixed base samples, without any repeated point, that every base metric is taken on."""
    return _evaluation_sample(d_in, density, n, dtype, blur).clone()


@lru_cache(maxsize=8)
@settled()
def _evaluation_sample(
    d_in: int, density: float, n: int, dtype: torch.dtype, blur: float
) -> Tensor:
    x = sample_base(Stream([0], "evaluation").uniform(0, (n, d_in), dtype)[0], density)
    return x + blur * Stream([0], "blur").normal(0, (n, d_in), dtype)[0] if blur else x
