"""Penalties on how much the features contribute, one class each."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registered, Registry
from faithnb.matching.workspace import Workspace

Acts = Float[Tensor, "n_inst rows d_sae"]
Decoder = Float[Tensor, "n_inst d_sae d_out"]
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

    def of(self, h: Acts, W_dec: Decoder, weight: Weight, scale: PerInstance) -> PerInstance:
        """Its value for each instance: a weighted mean over rows of a sum over features.

        Args:
            h: feature activations.
            W_dec: the decoder.
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


def contributions(h: Acts, W_dec: Decoder) -> Acts:
    """abs(h_bi) · ‖d_i‖, how much each feature writes."""
    return h.abs() * W_dec.norm(dim=-1)[:, None]


class Tanh(Penalty):
    """Σ_b ω_b Σ_i tanh(s · abs(h_bi) · ‖d_i‖), the note's penalty.

    The decoder norms keep h → 0 with W_dec → ∞ from escaping it.
    """

    name = "tanh"

    def of(self, h: Acts, W_dec: Decoder, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above."""
        contributed = torch.tanh(scale[:, None, None] * contributions(h, W_dec))
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

    def of(self, h: Acts, W_dec: Decoder, weight: Weight, scale: PerInstance) -> PerInstance:
        """As above; it has no scale."""
        return (weight * contributions(h, W_dec).sum(-1)).sum(-1)

    def gradient(self, work: Workspace, coefficient: Tensor) -> None:
        """λ ω_b."""
        for rows, factor in work.weights(coefficient, matched=False):
            part = work.grad_z[:, rows]
            work.do(part.copy_, factor.expand_as(part))
