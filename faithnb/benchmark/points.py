"""The points of hidden variants, drawn from a seed: one function for each kind of data.

How many directions of the data a point combines is fixed; which they are, their signs and their
strengths follow from the seed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream
from faithnb.data.structured import directions, in_sequence
from faithnb.model.sums import Rotated

Draw = Callable[[int, int], Float[Tensor, "d_in"]]
"""From a seed and ``d_in`` to a point, in float64."""

AT_ONCE = 3
"""How many directions a point combines."""


def _strengths(stream: Stream) -> Tensor:
    """Uniform on (0.8, 1.2)."""
    return 0.8 + 0.4 * stream.uniform(2, (AT_ONCE,), torch.float64)[0]


def _some_of(stream: Stream, n: int, step: int = 3) -> Tensor:
    return stream.uniform(step, (n,))[0].argsort()[:AT_ONCE]


@settled()
def of_coordinates(seed: int, d_in: int) -> Float[Tensor, "d_in"]:
    """Three coordinates of either sign."""
    stream = Stream([seed], "rotation")
    p = torch.zeros(d_in, dtype=torch.float64)
    signs = stream.signs(4, (AT_ONCE,), torch.float64)[0]
    p[_some_of(stream, d_in)] = signs * _strengths(stream)
    return p


@settled()
def of_layers(seed: int, d_in: int) -> Float[Tensor, "d_in"]:
    """Three coordinates of x_1, and what follows from them alone for x_2."""
    return in_sequence(of_coordinates(seed, d_in // 2))


@settled()
def of_groups(seed: int, d_in: int) -> Float[Tensor, "d_in"]:
    """In two groups of four (a, b, c, d) an a and a b of either sign, one half of the other; in a
    third c = d, which is positive, because AND needs both."""
    stream = Stream([seed], "rotation")
    p = torch.zeros(d_in // 4, 4, dtype=torch.float64)
    first, second, third = _some_of(stream, d_in // 4).tolist()
    strength = _strengths(stream)
    pairs = torch.tensor([[1.0, 0.5], [1.0, 0.5]], dtype=torch.float64) * strength[:2, None]
    pairs = torch.where(stream.uniform(5, (2, 1))[0] < 0.5, pairs, pairs.flip(-1))
    p[[first, second], :2] = pairs * stream.signs(4, (2, 2), torch.float64)[0]
    p[third, 2:] = strength[2]
    return p.flatten()


@settled()
def of_directions(seed: int, d_in: int, equal: bool = False) -> Float[Tensor, "d_in"]:
    """The shortest point at which three of the directions are read with strengths around 5/4, such
    that no other circuit of :class:`faithnb.model.sums.Rotated` acts.

    Args:
        seed: of the point.
        d_in: number of coordinates.
        equal: whether all three strengths are 5/4.
    """
    stream = Stream([seed], "rotation")
    strength = 1.25 * (torch.ones(AT_ONCE).double() if equal else _strengths(stream))
    every, (*_, threshold, _) = directions(d_in), Rotated.parts(d_in)
    for step in range(10, 10_000):
        some = _some_of(stream, len(every), step)
        p = torch.linalg.pinv(every[some]) @ strength
        read = every @ p
        if int((read > threshold).sum()) == AT_ONCE and bool((read[some] > threshold[some]).all()):
            return p
    raise ValueError(f"d_in = {d_in} has no three directions that act without a fourth.")


def as_points(p: Float[Tensor, "d_in"]) -> tuple[tuple[float, ...], ...]:
    """A point as ``Experiment.points`` takes it, to six decimals, the same on every machine."""
    return (tuple(round(value, 6) for value in p.tolist()),)
