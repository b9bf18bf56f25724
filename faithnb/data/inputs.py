"""Inputs at which transcoders are looked at: around a point, near it, and away from the data."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations, product

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.checks import checked
from faithnb.data.rng import Stream

Inputs = Float[Tensor, "B d_in"]
Point = Float[Tensor, "d_in"]


@lru_cache(maxsize=8)
@settled()
def fixed(kind: str, n: int, d: int) -> Inputs:
    """Fixed random numbers ``[n, d]``, ``uniform`` in (0, 1) or ``normal``; to be read, not
    changed."""
    stream = Stream([2], "evaluation")
    return (stream.uniform if kind == "uniform" else stream.normal)(0, (n, d))[0]


@checked
def ball(p: Point, radius: float = 1e-3, n: int = 64) -> Inputs:
    """n fixed inputs around p, within ``radius`` in each coordinate that is not 0.

    A memorizing transcoder holds its rotated features exactly on their kink at p, so a Jacobian
    read at p itself flips on rounding; averaged over the ball it does not. The coordinates that are
    0 stay 0, where the target's own derivative may be undefined and can be masked.
    """
    noise = 2 * Stream([1], "evaluation").uniform(0, (n, len(p)))[0] - 1
    return p + radius * noise.to(p) * (p != 0)


@checked
def subsets(p: Point) -> Inputs:
    """p with some, not all, of its coordinates set to 0: every proper subset but the empty one.

    Raises:
        ValueError: if p has more than 10 coordinates that are not 0.
    """
    support = _few(p)
    rows = []
    for size in range(1, len(support)):
        for kept in combinations(support, size):
            row = torch.zeros_like(p)
            row[list(kept)] = p[list(kept)]
            rows.append(row)
    return torch.stack(rows) if rows else p[None][:0]


@checked
def sign_flips(p: Point) -> Inputs:
    """p with the sign of some or all of its coordinates changed, in every way but none.

    Raises:
        ValueError: if p has more than 10 coordinates that are not 0.
    """
    support = _few(p)
    rows = [p.clone() for _ in range(2 ** len(support) - 1)]
    signs = list(product((1.0, -1.0), repeat=len(support)))[1:]
    for row, sign in zip(rows, signs, strict=True):
        row[support] *= torch.tensor(sign).to(p)
    return torch.stack(rows) if rows else p[None][:0]


@checked
def ray(p: Point, n: int = 16, longest: float = 2.0) -> Inputs:
    """t · p at n evenly spaced t, up to ``longest`` and without 0."""
    return torch.linspace(longest / n, longest, n).to(p)[:, None] * p


@checked
def in_proportion(x: Inputs, p: Point, repeat_frac: float) -> Inputs:
    """x, followed by p as often as makes it that fraction of the whole, as in training.

    Raises:
        ValueError: if that fraction is not in [0, 1).
    """
    if not 0 <= repeat_frac < 1:
        raise ValueError(f"repeat_frac = {repeat_frac:g} is not allowed: 0 ≤ repeat_frac < 1.")
    n = round(len(x) * repeat_frac / (1 - repeat_frac))
    return torch.cat([x, p.to(x).expand(n, -1)])


@checked
def without_one(x: Inputs) -> tuple[Inputs, Inputs]:
    """The inputs that have a coordinate that is not 0, and these with one of those set to 0.

    The same x gives the same choice each time.
    """
    x = x[(x != 0).any(-1)]
    lot = (1 + fixed("uniform", *x.shape).to(x)) * (x != 0)
    return x, x.scatter(-1, lot.argmax(-1, keepdim=True), 0.0)


@checked
def with_active(d: int, k: int, n: int = 512, seed: int = 0) -> Inputs:
    """n inputs ``[n, d]`` with exactly k coordinates that are not 0, of strength between 0.5 and 1
    and either sign."""
    stream = Stream([seed], "evaluation")
    chosen = stream.uniform(k, (n, d))[0].argsort(-1)[:, :k]
    strength = 0.5 + stream.uniform(100 + k, (n, k))[0] / 2
    sign = (stream.uniform(200 + k, (n, k))[0] < 0.5) * 2.0 - 1
    return torch.zeros(n, d).scatter(1, chosen, strength * sign)


def _few(p: Point) -> list[int]:
    """The coordinates of p that are not 0."""
    support: list[int] = p.nonzero()[:, 0].tolist()
    if len(support) > 10:
        raise ValueError(f"p has {len(support)} coordinates that are not 0; at most 10 will do.")
    return support
