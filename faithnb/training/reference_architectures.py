"""The losses of architectures other than the ReLU written out literally: feature by feature and
input by input, float64, by autograd.

Slow on purpose, as :mod:`faithnb.training.reference`: the tests hold the fast path against it, and
nothing else uses it. A step has no gradient, so where an architecture invents one, the step is
written here as a ramp of slope 1/ε whose values are thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.training.reference import layer

Weights = Mapping[str, Tensor]
Features = Float[Tensor, "rows d_sae"]


def read(e: Experiment, w: Weights, x: Float[Tensor, "rows d_in"]) -> Features:
    """z; of a mixture of linear transforms that of its gates, of two layers that of one after the
    other."""
    if e.architecture == "molt":
        return x @ w["W_gate"] + w["b_gate"]
    if e.architecture == "cross_layer":
        d, m = (size // 2 for size in w["W_enc"].shape)
        first, second = x[:, :d] @ w["W_enc"][:d, :m], x[:, d:] @ w["W_enc"][d:, m:]
        return torch.cat([first, second], dim=1) + w["b_enc"]
    return x @ w["W_enc"] + w["b_enc"]


def transforms(w: Weights) -> list[Tensor]:
    """U_t V_t of each transform, ``[d_out, d_in]``."""
    n = w["W_gate"].shape[1]
    parts = zip(w["W_dec"].chunk(n), w["W_enc"].chunk(n, dim=1), strict=True)
    return [U.T @ V.T for U, V in parts]


def kept_of_row(z: Tensor, k: int) -> set[tuple[int, int]]:
    """The k largest of each input, as far as they are above 0."""
    kept = set()
    for b, row in enumerate(z.tolist()):
        order = sorted(range(len(row)), key=lambda i, row=row: -row[i])  # type: ignore[misc]
        kept |= {(b, i) for i in order[:k] if row[i] > 0}
    return kept


def kept_of_batch(z: Tensor, weight: Tensor, k: float) -> set[tuple[int, int]]:
    """The largest of a batch, one after the other, until the next would make them weigh more than
    k; what equals that next one is left out, too."""
    entries = [(v, b, i) for b, row in enumerate(z.tolist()) for i, v in enumerate(row)]
    spent, bound = 0.0, 0.0
    for value, b, _ in sorted(entries, reverse=True):
        spent += weight[b].item()
        if spent > k * (1 + 1e-9) or value <= 0:
            bound = max(0.0, value)
            break
    return {(b, i) for value, b, i in entries if value > bound}


def ramp(e: Experiment, z: Tensor, threshold: Tensor) -> Tensor:
    """Slope 1/ε within ε/2 of the threshold, else flat; z takes part with ``"input"`` alone."""
    z = z if e.gate_gradient == "input" else z.detach()
    return ((z - threshold) / e.bandwidth + 0.5).clamp(0, 1)


def gates(e: Experiment, w: Weights, z: Tensor) -> Features:
    """1[z > θ], with the derivative of a ramp."""
    soft = ramp(e, z, w["threshold"])
    return (z > w["threshold"]).to(z) + soft - soft.detach()


def features(e: Experiment, w: Weights, x: Tensor, weight: Tensor) -> Features:
    """h; of a mixture of linear transforms how far its gates are open."""
    z = read(e, w, x)
    if e.architecture in ("molt", "crosscoder", "cross_layer"):
        return torch.relu(z)
    if e.architecture == "jumprelu":
        soft = ramp(e, z, w["threshold"])
        on = torch.relu(z) if e.gate_gradient == "one_sided" else z * (z > w["threshold"])
        hard = z * (z > w["threshold"])
        of_gate = w["threshold"].detach() * (soft - soft.detach())
        return hard.detach() + on - on.detach() + of_gate
    if e.architecture == "gated":
        how_much = w["r_mag"].exp() * (x @ w["W_enc"]) + w["b_mag"]
        return torch.relu(how_much) * (z > 0)
    of_row = e.architecture == "topk"
    kept = kept_of_row(z, int(e.k)) if of_row else kept_of_batch(z, weight, e.k)
    rows = [
        torch.stack([z[b, i] if (b, i) in kept else z[b, i] * 0 for i in range(z.shape[1])])
        for b in range(len(z))
    ]
    return torch.stack(rows)


def written(e: Experiment, w: Weights, h: Features, x: Tensor) -> Tensor:
    """ŷ."""
    if e.architecture == "molt":
        y = torch.stack([sum((h_b[t] * (T @ x_b) for t, T in enumerate(transforms(w))), w["b_dec"])
                         for h_b, x_b in zip(h, x, strict=True)])  # fmt: skip
    else:
        y = linear(e, w["W_dec"], h) + w["b_dec"]
    return y + linear(e, w["W_skip"], x) if "W_skip" in w else y


def linear(e: Experiment, weight: Tensor, read: Tensor) -> Tensor:
    """What is written by a weight; of two layers one after the other, the first part writes to
    both, the second to the second."""
    if e.architecture != "cross_layer":
        return read @ weight
    n, half = len(weight) // 2, weight.shape[1] // 2
    to_first = read[:, :n] @ weight[:n, :half]
    to_second = read[:, :n] @ weight[:n, half:] + read[:, n:] @ weight[n:, half:]
    return torch.cat([to_first, to_second], dim=1)


def sizes(e: Experiment, w: Weights) -> Float[Tensor, "d_sae"]:
    """What a penalty weighs an activation with."""
    if e.architecture == "molt":
        return torch.stack([torch.linalg.matrix_norm(T) for T in transforms(w)])
    half = w["W_dec"].shape[1] // 2
    to_first, to_second = w["W_dec"][:, :half].norm(dim=1), w["W_dec"][:, half:].norm(dim=1)
    if e.architecture == "crosscoder":
        return to_first + to_second
    if e.architecture == "cross_layer":
        whole = w["W_dec"].norm(dim=1)
        return torch.cat([whole[: len(whole) // 2], to_second[len(whole) // 2 :]])
    return w["W_dec"].norm(dim=1)


def penalty(e: Experiment, w: Weights, z: Tensor, h: Features, weight: Tensor) -> Tensor:
    """Of what a feature contributes, of the gate's reading for ``"gated"``, or of the gates."""
    if e.sparsity_penalty in ("l0", "l0_target"):
        l0 = (weight * gates(e, w, z).sum(1)).sum()
        return l0 if e.sparsity_penalty == "l0" else (l0 / e.target_l0 - 1) ** 2
    seen = torch.relu(z) if e.architecture == "gated" else h
    contribution = torch.where(seen < 0, -seen, seen) * sizes(e, w)
    if e.sparsity_penalty == "tanh":
        contribution = torch.tanh(e.tanh_scale * contribution)
    return (weight * contribution.sum(1)).sum()


def auxiliary(
    e: Experiment, w: Weights, x: Tensor, y: Tensor, z: Tensor, h: Features, dead: Tensor
) -> Float[Tensor, "rows"]:
    """What an architecture's loss has besides, and the error of the dead features."""
    rows = torch.zeros_like(y[:, 0])
    if e.architecture == "gated":
        constant = {k: v.detach() if k in ("W_dec", "W_skip") else v for k, v in w.items()}
        rows = rows + ((written(e, constant, torch.relu(z), x) - y) ** 2).sum(1)
    if e.architecture == "matryoshka":
        for n in sorted({max(1, round(e.d_sae * share)) for share in (1 / 8, 1 / 4, 1 / 2)}):
            first = torch.arange(e.d_sae) < n
            rows = rows + ((written(e, w, h * first, x) - y) ** 2).sum(1)
    if e.aux_coefficient > 0 and dead.any():
        left = (y - written(e, w, h, x)).detach()
        on = kept_of_row(z.masked_fill(~dead, 0.0), max(1, e.d_in // 2))
        chosen = torch.zeros_like(z)
        for b, i in on:
            chosen[b, i] = 1.0
        rows = rows + e.aux_coefficient * ((left - linear(e, w["W_dec"], z * chosen)) ** 2).sum(1)
    return rows


def loss_terms(
    e: Experiment,
    w: Weights,
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "rows"],
    dead: Float[Tensor, "d_sae"],
) -> dict[str, Tensor]:
    """The terms of one transcoder's loss without matching.

    Args:
        e: its experiment.
        w: its weights by name.
        x: a batch.
        weight: ω.
        dead: which features count as dead.
    """
    z, h = read(e, w, x), features(e, w, x, weight)
    y = torch.stack([layer(e, row) for row in x])
    terms = {"reconstruction": (weight * ((written(e, w, h, x) - y) ** 2).sum(1)).sum()}
    if e.sparsity_penalty != "none":
        terms["sparsity"] = e.sparsity_coefficient * penalty(e, w, z, h, weight)
    own = auxiliary(e, w, x, y, z, h, dead)
    if own.requires_grad:
        terms["auxiliary"] = (weight * own).sum()
    return terms
