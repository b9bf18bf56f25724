"""Forms that let the gradient reach the gates, by giving these a derivative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.matching.form import Batch, Matching, PerInstance
from faithnb.matching.plain import sampled
from faithnb.matching.workspace import Workspace, minus


class SigmoidGate(Matching):
    """‖J_T − J_M‖² with J_T read through gates sigmoid(z_i ‖d_i‖ / σ): in units of what a feature
    contributes, so that rescaling it changes nothing."""

    name = "sigmoid_gate"
    on_gates = True

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """With half of the other forms' scale, which keeps the gates distinct."""
        return {"sigmoid_gate": {"perturbation_scale": 0.05}}

    def distance(self, batch: Batch) -> PerInstance:
        """By one probe a row."""
        assert batch.v is not None
        jvp = batch.target.jvp(batch.x, batch.v)
        return sampled(self.gate(batch), batch.transcoder, jvp, batch.v, batch.weight)

    def gate(self, batch: Batch) -> Float[Tensor, "n_inst rows d_sae"]:
        """sigmoid(z_i ‖d_i‖ / σ)."""
        size = batch.transcoder.decoder_norms()[:, None] / batch.scale[:, None, None]
        return torch.sigmoid(batch.z * size)

    def gradient(self, work: Workspace) -> None:
        """As that of plain matching with gates g = sigmoid(z / w): with a = vE and c = rDᵀ,
        ∂D = 2 (g a)ᵀ r and ∂E = 2 vᵀ (g c) + 2 xᵀ (g' a c), where g' = g (1 − g) / w."""
        do, gate, a, residual, target = work.do, work.h, work.grad_z, work.error, work.target
        x, v, slope = work.see("x"), work.see("v"), work.buffer("slope of gates", work.h)
        width = work.sigma * work.units  # in the scaled coordinates
        do(torch.bmm, work.each(x), work.E, out=gate)
        do(torch.div, gate, width, out=slope)
        do(slope.sigmoid_)
        self.read(work, gate, slope)
        do(torch.addcmul, slope, slope, slope, value=-1, out=slope)
        do(slope.div_, width)
        do(torch.bmm, work.each(v), work.E, out=a)
        do(slope.mul_, a)
        do(a.mul_, gate)
        do(torch.bmm, a, work.D, out=residual)
        do(minus, residual, target.jvp, x[..., :-1], v[..., :-1])
        work.weigh(residual, 2 * work.mu, matched=True)
        do(work.grad_D.baddbmm_, a.mT, residual)
        do(torch.bmm, residual, work.D.mT, out=a)
        do(slope.mul_, a)
        do(a.mul_, gate)
        do(work.grad_E.baddbmm_, work.each(v).mT, a)
        do(work.grad_E.baddbmm_, work.each(x).mT, slope)

    def read(self, work: Workspace, gate: Tensor, soft: Tensor) -> None:
        """Turn z in ``gate`` into what J_T is read through."""
        work.do(gate.copy_, soft)


class StraightThrough(SigmoidGate):
    """The same with hard gates 1[z > 0], of which only the derivative is the sigmoid's."""

    name = "straight_through"

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """Itself."""
        return {"straight_through": {}}

    def gate(self, batch: Batch) -> Float[Tensor, "n_inst rows d_sae"]:
        """1[z > 0], with a surrogate gradient."""
        soft = super().gate(batch)
        return soft + ((batch.z > 0).to(soft) - soft).detach()

    def read(self, work: Workspace, gate: Tensor, soft: Tensor) -> None:
        """1[z > 0]."""
        work.do(torch.gt, gate, 0, out=gate)
