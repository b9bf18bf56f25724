"""Layers that do have a mechanism for p."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.model.layer import Circuit, Kink, Layer
from faithnb.model.layers import AbsoluteValue, SmoothAbsolute, Units
from faithnb.model.networks import SuperposedOnce
from faithnb.model.sums import Combinations, Rotated, TwoLayers


class WithPoint(Units):
    """Another layer f with a mechanism for p: ``y = f(x) + f(p) · ReLU(p · x − ⅔ p · p)``; here
    ``f(x) = |x|``.

    The control for a remedy against datapoint features: here such a feature is faithful. For
    ``|x|`` and p of ones the Jacobian at p, on p's coordinates, is I + ppᵀ. For three ones the
    threshold is 2, which base data hardly ever reach.

    Args:
        d_in: number of inputs.
        point: p, ``[d_in]``.
        kink: for the other layer.
    """

    name = "abs_with_point"

    other: ClassVar[type[Layer]] = AbsoluteValue
    """The other layer."""

    share: ClassVar[float] = 2 / 3
    """Where the mechanism begins to act, as a share of p · p."""

    def __init__(self, d_in: int, point: Float[Tensor, "d_in"], kink: Kink = "zero"):
        self.without = self.other.of_experiment(d_in, point[None], kink)
        self.d_in, self.d_out, self.kink = d_in, self.without.d_out, kink
        size = (point @ point).item()
        write = (self.without(point.double()) * self.gain(size)).to(point)
        self.circuit = Circuit("datapoint", point, write, self.share * size)
        own = torch.eye(d_in, dtype=torch.float32, device="cpu")
        read_others, write_others = self.without.units or (own, own)
        self.units = (
            torch.cat([read_others, point[None].to(read_others)]),
            torch.cat([write_others, write[None].to(write_others)]),
        )

    @classmethod
    def gain(cls, size: float) -> float:
        """What f(p) is multiplied by, from p · p."""
        return 1.0

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """What the other layer refuses, and other points than one."""
        yield from cls.other.refusals(experiment)
        if len(experiment.points) != 1:
            yield (
                f"points = {experiment.points} is not allowed with target = {cls.name!r}: it has a "
                "mechanism for exactly one point."
            )

    @classmethod
    def of_experiment(cls, d_in: int, points: Float[Tensor, "n_points d_in"], kink: Kink) -> Layer:
        """With the one point that repeats.

        Raises:
            ValueError: if it is not exactly one.
        """
        if len(points) != 1:
            raise ValueError(f"target = {cls.name!r} needs exactly one point, not {len(points)}.")
        return cls(d_in, points[0], kink)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return self.without(x) + self.circuit.contribution(x)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """Of the other layer's units, then 1 where the mechanism for p acts."""
        acts = (self.circuit.activation(x) > 0).to(x)
        return torch.cat([self.without.slope(x), acts[..., None]], dim=-1)

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """As for the other layer."""
        return self.without.ignored(x)

    def written_at(self, p: Float[Tensor, "d_in"]) -> Float[Tensor, "n d_out"] | None:
        """As for the other layer: a feature for p shows beside what else is written there."""
        return self.without.written_at(p)

    def circuits(self) -> list[Circuit]:
        """The other layer's, and the one for p."""
        return [*self.without.circuits(), self.circuit]


class Strong(WithPoint):
    """A mechanism that writes 3 f(p) at p, whatever its size, so that one feature which writes all
    of the output there is nearly faithful."""

    @classmethod
    def gain(cls, size: float) -> float:
        """3 over what it reads at p."""
        return 3 / ((1 - cls.share) * size)


class AbsoluteWithStrongPoint(Strong):
    """``|x|`` with a strong mechanism for p."""

    name = "abs_with_strong_point"


class AbsoluteWithPattern(Strong):
    """``|x|`` with a strong mechanism that acts from half of p on, for patterns weaker than p."""

    name = "abs_with_pattern"
    share = 1 / 2


class SmoothWithPoint(Strong):
    """The smooth ``|x|`` with a strong mechanism for p."""

    name = "smooth_abs_with_point"
    other = SmoothAbsolute


class SuperposedWithPoint(Strong):
    """The layer with too few neurons that was trained once, and a strong mechanism for p."""

    name = "superposed_once_with_point"
    other = SuperposedOnce
    files = SuperposedOnce.files


class RotatedWithPoint(Strong):
    """Rotated circuits, and a strong mechanism for p."""

    name = "rotated_with_point"
    other = Rotated


class CombinationsWithPoint(Strong):
    """Circuits of several inputs, and a strong mechanism for p."""

    name = "combinations_with_point"
    other = Combinations


class TwoLayersWithPoint(Strong):
    """Two layers in sequence, and a strong mechanism for p across them."""

    name = "two_layers_with_point"
    other = TwoLayers
    n_layers = TwoLayers.n_layers
