"""The loss, term by term. Each term is a small function beside its formula.

Notation: instance n, row b of the batch with weight ω_b (the weights of a batch sum to 1), feature
i, its slope D_bi = ∂h_bi/∂z_bi (for a ReLU its gate, 1[z_bi > 0]), decoder row d_i = W_dec,i,
encoder column e_i = W_enc,i. Every function returns one number an instance, ``[n_inst]``. Sums run
over coordinates and features, never means: with means the meaning of λ and μ would change with d_in
and d_sae.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.matching import SOFT
from faithnb.model.jacobians import diagonal, inner_products, target_diagonal
from faithnb.model.layers import Layer
from faithnb.model.transcoder import Transcoder

TERMS = ("reconstruction", "sparsity", "jacobian", "contribution")
"""The names of the terms; the loss is their sum."""

PerInstance = Float[Tensor, "n_inst"]
Weight = Float[Tensor, "n_inst rows"]
Gate = Float[Tensor, "n_inst rows d_sae"]
Outputs = Float[Tensor, "n_inst rows d_out"]


def reconstruction(y_hat: Outputs, y: Outputs, weight: Weight) -> PerInstance:
    """Σ_b ω_b ‖ŷ_b − y_b‖²."""
    return (weight * (y_hat - y).square().sum(-1)).sum(-1)


def contributions(h: Gate, W_dec: Float[Tensor, "n_inst d_sae d_out"]) -> Gate:
    """abs(h_bi) · ‖d_i‖, how much each feature writes."""
    return h.abs() * W_dec.norm(dim=-1)[:, None]


def tanh_l1(
    h: Gate, W_dec: Float[Tensor, "n_inst d_sae d_out"], weight: Weight, scale: PerInstance
) -> PerInstance:
    """Σ_b ω_b Σ_i tanh(s · abs(h_bi) · ‖d_i‖), the note's penalty.

    The decoder norms keep h → 0 with W_dec → ∞ from escaping it.
    """
    contributed = torch.tanh(scale[:, None, None] * contributions(h, W_dec))
    return (weight * contributed.sum(-1)).sum(-1)


def l1(h: Gate, W_dec: Float[Tensor, "n_inst d_sae d_out"], weight: Weight) -> PerInstance:
    """Σ_b ω_b Σ_i abs(h_bi) · ‖d_i‖."""
    return (weight * contributions(h, W_dec).sum(-1)).sum(-1)


def jacobian_sampled(
    gate: Gate,
    transcoder: Transcoder,
    target_jvp: Outputs,
    v: Float[Tensor, "n_inst rows d_in"],
    weight: Weight,
    ignored: Bool[Tensor, "n_inst rows d_in"] | None = None,
    diagonal_M: Outputs | None = None,
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


def jacobian_exact(
    gate: Gate,
    transcoder: Transcoder,
    target: Layer,
    slope: Float[Tensor, "n_inst rows d_hidden"],
    weight: Weight,
    ignored: Bool[Tensor, "n_inst rows d_in"] | None = None,
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


def finite_difference(
    y_hat: Outputs,
    y: Outputs,
    y_hat_moved: Outputs,
    y_moved: Outputs,
    weight: Weight,
    scale: Tensor,
) -> PerInstance:
    """Σ_b ω_b ‖[f_T(x_b + σv_b) − f_T(x_b)] − [f_M(x_b + σv_b) − f_M(x_b)]‖² / σ².

    Its gradient is that of the loss, biases included; plain and smoothed matching hold the gates
    fixed.
    """
    residual = (y_hat_moved - y_hat) - (y_moved - y)
    return (weight * residual.square().sum(-1)).sum(-1) / scale.square()


def noisy_error(y_hat_moved: Outputs, y_moved: Outputs, weight: Weight, scale: Tensor) -> Tensor:
    """Σ_b ω_b ‖f_T(x_b + σε_b) − f_M(x_b + σε_b)‖² / σ²: no derivative, a control for those that
    match one. It adds a weight of 1/σ² to the reconstruction."""
    return reconstruction(y_hat_moved, y_moved, weight) / scale.square()


def soft_gate(
    z: Gate, W_dec: Float[Tensor, "n_inst d_sae d_out"], width: PerInstance, hard: bool = False
) -> Gate:
    """sigmoid(z_i ‖d_i‖ / width): in units of what a feature contributes, so that rescaling it
    changes nothing. ``hard`` gives 1[z > 0] with the sigmoid's derivative, straight through."""
    gate = torch.sigmoid(z * W_dec.norm(dim=-1)[:, None] / width[:, None, None])
    return gate + ((z > 0).to(z) - gate).detach() if hard else gate


def contribution_norms(gate: Gate, transcoder: Transcoder, weight: Weight) -> PerInstance:
    """Σ_b ω_b Σ_i abs(D_bi) ‖e_i‖ ‖d_i‖, the note's penalty on contributions to the Jacobian.

    It bounds the nuclear norm of J_T from above. Alone it rewards one datapoint feature over
    three honest ones at p; it makes sense beside matching only.
    """
    norms = transcoder.W_enc.norm(dim=1) * transcoder.decoder_norms()
    return (weight * (gate.abs() * norms[:, None]).sum(-1)).sum(-1)


def rows_matched(template: Experiment, n_rows: int) -> Bool[Tensor, "rows"]:
    """On which rows of a batch, base samples first, the Jacobian is matched."""
    of_base = torch.arange(n_rows) < template.batch_size
    if template.matching_at == "all":
        return torch.ones_like(of_base)
    return of_base if template.matching_at == "base" else ~of_base


def loss_terms(
    template: Experiment,
    transcoder: Transcoder,
    target: Layer,
    x: Float[Tensor, "n_inst rows d_in"],
    weight: Weight,
    v: Float[Tensor, "n_inst rows d_in"] | None = None,
    noise: Float[Tensor, "n_inst rows d_in"] | None = None,
    **scalars: PerInstance,
) -> dict[str, PerInstance]:
    """The named terms of the loss, coefficients included; the loss is their sum.

    Args:
        template: says which penalty, matching form, estimator and kink; its numbers are not used.
        transcoder: the ensemble.
        target: what it should do.
        x: the batch. Its first axis, like that of v and noise, is 1 if all instances see the same.
        weight: its weights ω; each instance's sum to 1.
        v: probes, for sampled and finite matching.
        noise: ε ~ N(0, I), for smoothed matching.
        **scalars: ``sparsity_coefficient``, ``tanh_scale``, ``jacobian_coefficient``,
            ``perturbation_scale``, ``contribution_coefficient``, each ``[n_inst]``.
    """
    z = transcoder.hidden_pre(x)
    h = transcoder.activate(z)
    y, y_hat = target(x), transcoder.with_linear(transcoder.decode(h), x)
    terms = {"reconstruction": reconstruction(y_hat, y, weight)}

    if template.sparsity_penalty == "tanh":
        penalty = tanh_l1(h, transcoder.W_dec, weight, scalars["tanh_scale"])
        terms["sparsity"] = scalars["sparsity_coefficient"] * penalty
    elif template.sparsity_penalty == "l1":
        penalty = l1(h, transcoder.W_dec, weight)
        terms["sparsity"] = scalars["sparsity_coefficient"] * penalty

    gate = transcoder.slope(z).detach()
    matched = weight * rows_matched(template, weight.shape[-1]).to(weight)
    if template.jacobian_matching == "finite":
        assert v is not None
        sigma = scalars["perturbation_scale"]
        moved = x + sigma[:, None, None] * v
        distance = finite_difference(y_hat, y, transcoder(moved), target(moved), matched, sigma)
        terms["jacobian"] = scalars["jacobian_coefficient"] * distance
    elif template.jacobian_matching == "noise":
        assert noise is not None
        sigma = scalars["perturbation_scale"]
        moved = x + sigma[:, None, None] * noise
        distance = noisy_error(transcoder(moved), target(moved), matched, sigma)
        terms["jacobian"] = scalars["jacobian_coefficient"] * distance
    elif template.jacobian_matching in SOFT:
        assert v is not None
        hard = template.jacobian_matching == "straight_through"
        soft = soft_gate(z, transcoder.W_dec, scalars["perturbation_scale"], hard)
        distance = jacobian_sampled(soft, transcoder, target.jvp(x, v), v, matched)
        terms["jacobian"] = scalars["jacobian_coefficient"] * distance
    elif template.jacobian_matching != "none":
        if template.jacobian_matching == "smoothed":
            assert noise is not None
            x = x + scalars["perturbation_scale"][:, None, None] * noise
            read_gate = transcoder.slopes(x).detach()
        else:
            read_gate = gate
        ignored = target.ignored(x) if template.kink == "masked" else None
        if template.jacobian_estimator == "exact":
            slope = target.slope(x)
            distance = jacobian_exact(read_gate, transcoder, target, slope, matched, ignored)
        else:
            assert v is not None
            distance = jacobian_sampled(
                read_gate, transcoder, target.jvp(x, v), v, matched, ignored,
                None if ignored is None else target_diagonal(target, target.slope(x)),
            )  # fmt: skip
        terms["jacobian"] = scalars["jacobian_coefficient"] * distance

    if template.contribution_coefficient > 0:
        penalty = contribution_norms(gate, transcoder, weight)
        terms["contribution"] = scalars["contribution_coefficient"] * penalty
    return terms
