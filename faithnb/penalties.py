"""Penalties on how much the features contribute, one class each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registered, Registry
from faithnb.matching.workspace import Workspace
from faithnb.model.transcoder import ARCHITECTURES

Acts = Float[Tensor, "n_inst rows d_sae"]
Norms = Float[Tensor, "n_inst d_sae"]
Weight = Float[Tensor, "n_inst rows"]
PerInstance = Float[Tensor, "n_inst"]

PENALTIES: Registry[type[Penalty]] = Registry("penalty")
"""Every penalty that ``Experiment.sparsity_penalty`` may name."""

times_slope = torch.ops.aten.sigmoid_backward.grad_input
"""times_slope(u, g, grad_input=out): u g (1 − g), in one pass."""


class Penalty(Registered):
    """A penalty. A subclass with a ``name`` can be asked for by an experiment.

    It says its value, :meth:`of`, which autograd follows; a hand-written :meth:`gradient` for ReLU
    transcoders is optional, and faster.
    """

    registry = PENALTIES

    of_gates: ClassVar[bool] = False
    """Whether it sees gates, 1 where a feature is on and else 0, and not activations."""

    @classmethod
    def of_experiment(cls, experiment: Any) -> Penalty:
        """That of an experiment."""
        return cls()

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        if cls.of_gates and not ARCHITECTURES[experiment.architecture].gates_learn:
            yield (
                f"sparsity_penalty = {cls.name!r} is not allowed with architecture = "
                f"{experiment.architecture!r}: its gates have no surrogate gradient."
            )
        if experiment.target_l0 > 0 and "target_l0" not in cls.asks:
            yield (
                f"target_l0 = {experiment.target_l0:g} is not allowed with sparsity_penalty = "
                f"{cls.name!r}, which has none: leave it at 0."
            )

    asks: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`faithnb.Experiment` that it alone reads."""

    def of(self, h: Acts, norms: Norms, weight: Weight, scale: PerInstance) -> PerInstance:
        """Its value for each instance: a weighted mean over rows of a sum over features.

        Args:
            h: feature activations, or gates.
            norms: ‖d_i‖, what one unit of activation writes.
            weight: ω.
            scale: ``Experiment.tanh_scale``.
        """
        raise NotImplementedError

    def units(self, scale: Tensor) -> Tensor:
        """c, in which contributions are measured where its gradient is written."""
        return torch.ones_like(scale)

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """Write λ ∂(penalty)/∂h into ``work.grad_z``, before it is masked where features are off.

        Args:
            work: the arrays; ``work.h`` are contributions in units of c.
            coefficient: λ, ``[n_inst, 1, 1]``.
        """
        raise NotImplementedError


def contributions(h: Acts, norms: Norms) -> Acts:
    """abs(h_bi) · ‖d_i‖, how much each feature writes.

    Its derivative at 0 is that from the right: a threshold learns there of what a feature that it
    holds off would cost, and the derivative of ``abs`` would be 0.
    """
    size = torch.nn.functional.leaky_relu(-h, -1.0)
    return size * norms[:, None]


class Tanh(Penalty):
    """Σ_b ω_b Σ_i tanh(s · abs(h_bi) · ‖d_i‖), the note's penalty.

    The decoder norms keep h → 0 with W_dec → ∞ from escaping it.
    """

    name = "tanh"

    def of(self, h: Acts, norms: Norms, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above."""
        contributed = torch.tanh(scale[:, None, None] * contributions(h, norms))
        return (weight * contributed.sum(-1)).sum(-1)

    def units(self, scale: Tensor) -> Tensor:
        """2s: tanh(s h_i ‖d_i‖) = 2 sigmoid(h'_i) − 1, and on a CPU a sigmoid takes a tenth of the
        time."""
        return 2 * scale

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """2 λ ω_b g (1 − g) with g = sigmoid(h)."""
        work.do(torch.sigmoid, work.h, out=work.grad_z)
        for rows, factor in work.weights(2 * coefficient, matched=False):
            part = work.grad_z[:, rows]
            work.do(times_slope, factor.expand_as(part), part, grad_input=part)


class L1(Penalty):
    """Σ_b ω_b Σ_i abs(h_bi) · ‖d_i‖."""

    name = "l1"

    def of(self, h: Acts, norms: Norms, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above; it has no scale."""
        return (weight * contributions(h, norms).sum(-1)).sum(-1)

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """λ ω_b."""
        for rows, factor in work.weights(coefficient, matched=False):
            part = work.grad_z[:, rows]
            work.do(part.copy_, factor.expand_as(part))


class L0(Penalty):
    """Σ_b ω_b Σ_i 1[feature i is on], by the gates' surrogate gradient."""

    name = "l0"
    of_gates = True

    def of(self, h: Acts, norms: Norms, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above; it has no scale."""
        return (weight * h.sum(-1)).sum(-1)

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """To what decides the gates alone."""
        work.do(work.grad_z.zero_)
        work.gating.count(work, coefficient)


class L0Target(L0):
    """(L0 / L0* − 1)² with L0 the mean number of features on, and L0* the one that is wanted.

    Args:
        target: L0*, above 0.
    """

    name = "l0_target"
    asks = ("target_l0",)

    def __init__(self, target: float):
        self.target = target

    @classmethod
    def of_experiment(cls, experiment: Any) -> Penalty:
        """With its ``target_l0``."""
        return cls(experiment.target_l0)

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """No target."""
        yield from super().refusals(experiment)
        if not 0 < experiment.target_l0 <= experiment.d_sae:
            yield (
                f"target_l0 = {experiment.target_l0:g} is not allowed with sparsity_penalty = "
                f"{cls.name!r} and d_sae = {experiment.d_sae}: it must be above 0 and at most "
                "d_sae."
            )

    def of(self, h: Acts, norms: Norms, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above."""
        return (super().of(h, norms, weight, scale) / self.target - 1).square()

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """2 λ (L0 / L0* − 1) / L0* times that of L0."""
        on, factor = work.buffer("on", work.h), work.buffer("factor", coefficient)
        parts = work.weights(1.0, matched=False)

        def measure() -> None:
            torch.sign(work.h, out=on)
            l0 = sum((on[:, rows] * weight).sum((1, 2), keepdim=True) for rows, weight in parts)
            torch.mul(coefficient, 2 / self.target * (l0 / self.target - 1), out=factor)

        work.do(measure)
        work.do(work.grad_z.zero_)
        work.gating.count(work, factor)


def refusals_without_penalty(experiment: Any) -> Iterator[str]:
    """A sentence for each choice of an experiment that makes no sense without a penalty."""
    if experiment.target_l0 > 0:
        yield (
            f"target_l0 = {experiment.target_l0:g} is not allowed with sparsity_penalty = 'none': "
            "leave it at 0."
        )
