"""ReLUs with a threshold each, which learns through a surrogate gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.model.gating import Gating, Thresholds
from faithnb.model.transcoder import Transcoder


class JumpReLU(Transcoder):
    """``h = ReLU(z)`` where z exceeds the feature's threshold, else 0.

    After Rajamanoharan et al., "Jumping ahead" (2024). The jump has no derivative, so training
    gives it one, a window of width ε (``Experiment.bandwidth``) around the threshold. With R = 1
    where z is within ε/2 of θ, else 0, the surrogate gradients of h are

    ======================  ===================  ==============
    ``gate_gradient``       ∂h/∂z                ∂h/∂θ
    ======================  ===================  ==============
    ``"threshold"``         1[z > θ]             −(θ/ε) R
    ``"input"``             1[z > θ] + (θ/ε) R   −(θ/ε) R
    ``"one_sided"``         1[z > 0]             −(θ/ε) R
    ======================  ===================  ==============

    and those of the gate 1[z > θ] are −R/ε for θ and, with ``"input"``, R/ε for z. θ itself is
    trained, not its logarithm, and kept at or above 0.

    Args:
        threshold: ``[n_inst, d_sae]``, in units of z.
    """

    architecture = "jumprelu"
    own_axes: ClassVar = {"threshold": ("d_sae",)}
    asks: ClassVar[tuple[str, ...]] = ("threshold_init", "bandwidth", "gate_gradient")
    gates_learn = True

    threshold: torch.nn.Parameter

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(z) · 1[z > θ]; in training with its surrogate gradient."""
        if self.fitting is None:
            return torch.relu(z) * (z > self.threshold[:, None])
        e = self.fitting.experiment
        return Jump.apply(z, self.threshold[:, None], e.bandwidth, e.gate_gradient)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1[z > θ] where z > 0; the jump itself has no slope."""
        return (z > self.threshold[:, None].clamp(min=0)).to(z)

    def gates(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1[z > θ]; in training with its surrogate gradient."""
        if self.fitting is None:
            return super().gates(z)
        e = self.fitting.experiment
        return Step.apply(z, self.threshold[:, None], e.bandwidth, e.gate_gradient)

    @classmethod
    def has_gating(cls, experiment: Any) -> bool:
        """With the gradient to the thresholds alone."""
        return super().has_gating(experiment) and experiment.gate_gradient == "threshold"

    def gating(self, norms: Tensor | None, gradients: Sequence[Tensor]) -> Gating:
        """What exceeds its threshold."""
        assert self.fitting is not None
        return Thresholds(self.threshold, gradients[0], self.fitting.experiment.bandwidth, norms)

    @torch.no_grad()
    def begin(self, experiment: Any) -> None:
        """Every threshold where the experiment says."""
        self.threshold.fill_(experiment.threshold_init)

    @torch.no_grad()
    def settle(self) -> None:
        """No threshold below 0."""
        self.threshold.clamp_(min=0)


def window(z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """R/ε: 1/ε within ε/2 of the threshold, else 0."""
    return ((z - threshold).abs() < bandwidth / 2).to(z) / bandwidth


def summed_to(gradient: Tensor, like: Tensor) -> Tensor:
    """Over the rows that share a threshold."""
    return gradient.sum_to_size(like.shape)


class Surrogate(torch.autograd.Function):
    """A function of z and θ with an invented gradient, which depends on ε and ``gate_gradient``."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float, str], output: Tensor) -> None:
        """What the way back needs."""
        z, threshold, ctx.bandwidth, ctx.mode = inputs
        ctx.save_for_backward(z, threshold)


class Jump(Surrogate):
    """z · 1[z > θ], with the surrogate gradients of :class:`JumpReLU`."""

    @staticmethod
    def forward(z: Tensor, threshold: Tensor, bandwidth: float, mode: str) -> Tensor:
        """For θ at or above 0."""
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """As in the table."""
        z, threshold = ctx.saved_tensors
        through = threshold * window(z, threshold, ctx.bandwidth)
        along = (z > (0 if ctx.mode == "one_sided" else threshold)).to(z)
        if ctx.mode == "input":
            along = along + through
        return grad * along, summed_to(-grad * through, threshold), None, None


class Step(Surrogate):
    """1[z > θ], with the surrogate gradients of :class:`JumpReLU`."""

    @staticmethod
    def forward(z: Tensor, threshold: Tensor, bandwidth: float, mode: str) -> Tensor:
        """The gate."""
        return (z > threshold).to(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        """Through the window, for z with ``"input"`` alone."""
        z, threshold = ctx.saved_tensors
        through = grad * window(z, threshold, ctx.bandwidth)
        of_z = through if ctx.mode == "input" else torch.zeros_like(z)
        return of_z, summed_to(-through, threshold), None, None
