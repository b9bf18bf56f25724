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
from faithnb.matching import Batch
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

TERMS = ("reconstruction", "sparsity", "jacobian", "contribution", "auxiliary")
"""The names of the terms; the loss is their sum."""

DEAD_AFTER = 50
"""For how many steps a feature must not have been on to count as dead."""

PerInstance = Float[Tensor, "n_inst"]
Weight = Float[Tensor, "n_inst rows"]
Gate = Float[Tensor, "n_inst rows d_sae"]
Outputs = Float[Tensor, "n_inst rows d_out"]


def reconstruction(y_hat: Outputs, y: Outputs, weight: Weight) -> PerInstance:
    """Σ_b ω_b ‖ŷ_b − y_b‖²."""
    return (weight * (y_hat - y).square().sum(-1)).sum(-1)


def contribution_norms(gate: Gate, transcoder: Transcoder, weight: Weight) -> PerInstance:
    """Σ_b ω_b Σ_i abs(D_bi) ‖e_i‖ ‖d_i‖, the note's penalty on contributions to the Jacobian.

    It bounds the nuclear norm of J_T from above. Alone it rewards one datapoint feature over
    three honest ones at p; it makes sense beside matching only.
    """
    norms = transcoder.reads.norm(dim=1) * transcoder.writes.norm(dim=-1)
    return (weight * (gate.abs() * norms[:, None]).sum(-1)).sum(-1)


def revival(
    transcoder: Transcoder, z: Gate, h: Gate, residual: Outputs
) -> Float[Tensor, "n_inst rows"]:
    """‖r − Σ_dead ReLU(z_i) d_i‖² with r = y − ŷ as a constant: what has not been on for
    :data:`DEAD_AFTER` steps fits what the others leave, at most d_in / 2 features of an input at a
    time. AuxK of Gao et al. (2024).

    It is 0 where none is dead, and counts for how many steps each feature has been off.
    """
    assert transcoder.fitting is not None
    quiet = transcoder.fitting.quiet
    assert quiet is not None
    quiet.copy_(torch.where((h != 0).any(1), 0, quiet + 1))
    of_dead = torch.relu(z) * (quiet >= DEAD_AFTER)[:, None]
    k = min(max(1, transcoder.d_in // 2), z.shape[-1])
    largest = of_dead.topk(k, dim=-1)
    revived = torch.zeros_like(z).scatter(-1, largest.indices, largest.values)
    error = (residual.detach() - revived @ transcoder.W_dec).square().sum(-1)
    return error * (quiet >= DEAD_AFTER).any(-1, keepdim=True)


def rows_matched(template: Experiment, weight: Weight) -> Bool[Tensor, "rows"]:
    """On which rows of a batch, base samples first, the Jacobian is matched."""
    of_base = torch.arange(weight.shape[-1], device=weight.device) < template.batch_size
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

    if template.penalty:
        seen = transcoder.gates(z) if template.penalty.of_gates else transcoder.penalised(z, h)
        norms = transcoder.write_norms()
        penalty = template.penalty.of(seen, norms, weight, scalars["tanh_scale"])
        terms["sparsity"] = scalars["sparsity_coefficient"] * penalty

    own = transcoder.auxiliary(z, h, x, y)
    if own is not None:
        terms["auxiliary"] = (weight * own).sum(-1)
    if template.aux_coefficient > 0:
        of_dead = (weight * revival(transcoder, z, h, y - y_hat)).sum(-1)
        terms["auxiliary"] = terms.get("auxiliary", 0) + template.aux_coefficient * of_dead

    if template.matching or template.contribution_coefficient > 0:
        slopes = transcoder.matched_slopes(z)
    if template.matching:
        batch = Batch(
            transcoder, target, x, z, slopes, y, y_hat,
            weight * rows_matched(template, weight),
            scalars["perturbation_scale"], v, noise,
        )  # fmt: skip
        distance = template.matching.distance(batch)
        terms["jacobian"] = scalars["jacobian_coefficient"] * distance

    if template.contribution_coefficient > 0:
        penalty = contribution_norms(slopes, transcoder, weight)
        terms["contribution"] = scalars["contribution_coefficient"] * penalty
    return terms
