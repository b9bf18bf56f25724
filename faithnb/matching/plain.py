"""The note's own form: the difference of the two Jacobians, at x or at x + σε."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.matching.form import Batch, Matching, PerInstance
from faithnb.matching.workspace import Workspace, minus
from faithnb.model.gating import mask_where_off
from faithnb.model.jacobians import diagonal, inner_products, target_diagonal
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


def sampled(
    gate: Float[Tensor, "n_inst rows d_sae"],
    transcoder: Transcoder,
    target_jvp: Float[Tensor, "*inst rows d_out"],
    v: Float[Tensor, "*inst rows d_in"],
    weight: Float[Tensor, "n_inst rows"],
    ignored: Bool[Tensor, "*inst rows d_in"] | None = None,
    diagonal_M: Float[Tensor, "*inst rows d_out"] | None = None,
) -> PerInstance:
    """Σ_b ω_b ‖J_T(x_b) v_b − J_M(x_b) v_b‖², the note's estimator with K = 1.

    E v vᵀ = I makes its mean over v the squared Frobenius norm. With ``ignored`` the entries
    (j, j) marked there are left out: E_jj v_j is subtracted from coordinate j of the residual,
    for which the diagonal of J_M is needed.
    """
    residual = transcoder.push(v, gate) - target_jvp
    if ignored is not None and diagonal_M is not None:
        residual = residual - ignored * (diagonal(transcoder, gate) - diagonal_M) * v
    return (weight * residual.square().sum(-1)).sum(-1)


def exact(
    gate: Float[Tensor, "n_inst rows d_sae"],
    transcoder: Transcoder,
    target: Layer,
    slope: Float[Tensor, "*inst rows d_hidden"],
    weight: Float[Tensor, "n_inst rows"],
    ignored: Bool[Tensor, "*inst rows d_in"] | None = None,
) -> PerInstance:
    """Σ_b ω_b ‖J_T(x_b) − J_M(x_b)‖_F², without sampling and without building a Jacobian.

    ‖J_T − J_M‖² = Dᵀ(G_d ∘ G_e)D − 2 Σ_i D_i d_iᵀ J_M e_i + ‖J_M‖², G_d ∘ G_e as in
    :func:`faithnb.model.jacobians.gram`; a linear part adds its products with each.
    ``slope`` is that of the target's units. In float32 the three parts cancel when the Jacobians
    agree: a loss, not a metric.
    """
    own, mixed, size = inner_products(transcoder, target, gate, slope)
    distance = own - 2 * mixed + size
    if ignored is not None:
        off = diagonal(transcoder, gate) - target_diagonal(target, slope)
        distance = distance - (ignored * off.square()).sum(-1)
    return (weight * distance).sum(-1)


class Plain(Matching):
    """‖J_T(x) − J_M(x)‖²; the slopes of the features are constants."""

    name = "plain"
    estimators = ("sampled", "exact")
    kinks = ("zero", "masked", "one")
    in_page = True

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """``masked`` leaves out what the layer leaves undefined."""
        return {"plain": {}, "masked": {"kink": "masked"}}

    def linear(self) -> bool:
        """With one probe a row and all entries."""
        return self.estimator == "sampled" and self.kink != "masked"

    def distance(self, batch: Batch) -> PerInstance:
        """By the estimator that was asked for."""
        return self.distance_at(batch, batch.x, batch.slopes)

    def distance_at(self, batch: Batch, x: Tensor, slopes: Tensor) -> PerInstance:
        """Of the Jacobians at any inputs, with the features' slopes there."""
        target, transcoder = batch.target, batch.transcoder
        ignored = target.ignored(x) if self.kink == "masked" else None
        if self.estimator == "exact":
            return exact(slopes, transcoder, target, target.slope(x), batch.weight, ignored)
        assert batch.v is not None
        diagonal_M = None if ignored is None else target_diagonal(target, target.slope(x))
        jvp = target.jvp(x, batch.v)
        return sampled(slopes, transcoder, jvp, batch.v, batch.weight, ignored, diagonal_M)

    def gradient(self, work: Workspace) -> None:
        """By the estimator that was asked for."""
        self.gradient_at(work, work.see("x"))

    def gradient_at(self, work: Workspace, x: Tensor) -> None:
        """Of the distance at x, where ``work.h`` is the hidden layer there."""
        by_estimator = self._exact if self.estimator == "exact" else self._sampled
        by_estimator(work, x[..., :-1])

    def _sampled(self, work: Workspace, x: Tensor) -> None:
        """μ Σ_b ω_b ‖J_T v − J_M v‖²: residual r, ∂D = 2 (on vE)ᵀ r, ∂E = 2 vᵀ (on rDᵀ)."""
        do, h, on_v, residual, target = work.do, work.h, work.grad_z, work.error, work.target
        v = work.see("v")
        do(torch.bmm, work.each(v), work.E, out=on_v)
        do(mask_where_off, on_v, h, 0, grad_input=on_v)
        work.decode(v, on_v, residual)
        do(minus, residual, target.jvp, x, v[..., :-1])
        if self.kink == "masked":
            gate, through = work.buffer("gate", h), work.buffer("through ignored", residual)
            W_enc, D = work.W_enc, work.D

            def leave_out_ignored() -> None:
                through.copy_(target.ignored(x) * v[..., :-1]).neg_()
                diagonal_M = target_diagonal(target, target.slope(x))
                residual.addcmul_(through, torch.sign(h, out=gate) @ (W_enc.mT * D) - diagonal_M)

            do(leave_out_ignored)
        work.weigh(residual, 2 * work.mu, matched=True)
        if self.kink == "masked":
            do(through.mul_, residual)
            work.backward_from_diagonal(gate, through)
        do(work.grad_D.baddbmm_, on_v.mT, residual)
        do(torch.bmm, residual, work.D.mT, out=on_v)
        do(mask_where_off, on_v, h, 0, grad_input=on_v)
        do(work.grad_E.baddbmm_, work.each(v).mT, on_v)
        work.to_linear(v, residual)

    def _exact(self, work: Workspace, x: Tensor) -> None:
        """μ Σ_b ω_b ‖J_T − J_M‖_F² in Gram form, each row scaled by √(2 μ ω_b)."""
        do, W_enc, D, target = work.do, work.W_enc, work.D, work.target
        gate = work.where_on(2 * work.mu, matched=True, root=True)
        n, d_sae, _ = D.shape
        pairs = work.buffer("pairs", D, n, d_sae, d_sae)
        gram = work.buffer("gram", pairs)
        do(torch.bmm, gate.mT, gate, out=pairs)
        do(torch.bmm, W_enc.mT, W_enc, out=gram)
        do(gram.mul_, pairs)
        do(work.grad_D.baddbmm_, gram, D)
        do(torch.bmm, D, D.mT, out=gram)
        do(gram.mul_, pairs)
        do(work.grad_W.baddbmm_, W_enc, gram)
        d_hidden = target.d_in if target.units is None else len(target.units[0])
        slope = work.buffer("slope", work.E, *work.error.shape[:-1], d_hidden)
        do(lambda: slope.copy_(target.slope(x)))
        work.weigh(slope, 2 * work.mu, matched=True, root=True)
        if self.kink == "masked":
            ignored = work.buffer("ignored", work.error)

            def of_ignored() -> None:
                off = gate @ (W_enc.mT * D) - target_diagonal(target, slope)
                torch.mul(target.ignored(x), off.neg_(), out=ignored)

            do(of_ignored)
            work.backward_from_diagonal(gate, ignored)
        do(slope.neg_)
        work.backward_from_overlaps(gate, slope)


class Smoothed(Plain):
    """Plain matching at x + σε, ε ~ N(0, I)."""

    name = "smoothed"
    draws = ("v", "noise")

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """Itself."""
        return {"smoothed": {}}

    def distance(self, batch: Batch) -> PerInstance:
        """‖J_T − J_M‖² at the moved inputs."""
        moved, of = batch.moved(batch.noise), batch.transcoder
        return self.distance_at(batch, moved, of.matched_slopes(of.hidden_pre(moved)))

    def gradient(self, work: Workspace) -> None:
        """That of plain matching at the moved inputs."""
        x = work.move(work.see("x"), work.see("noise"))
        work.hidden(x, work.h)
        self.gradient_at(work, x)
