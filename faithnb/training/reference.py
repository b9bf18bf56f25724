"""The note's equations written out literally: one sample at a time, float64, by autograd.

Slow on purpose. The tests hold :mod:`faithnb.training.objectives` (the same terms, batched) and
:mod:`faithnb.training.gradients` (their closed-form gradients) against it; nothing else uses it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.functional import jacobian, jvp
from torch.nn.functional import gelu

from faithnb.data.sampling import pad_points
from faithnb.data.structured import directions
from faithnb.experiment import Experiment
from faithnb.model.networks import GeluNetwork, Superposed

KINKED = ("abs", "abs_with_point", "two_layers")
"""Targets whose derivative is undefined where a coordinate is 0."""

Weights = tuple[Float[Tensor, "d_in d_sae"], Float[Tensor, "d_sae"], Float[Tensor, "d_sae d_out"]]


def transcoder(weights: Weights, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out"]:
    """ŷ = Σ_i W_down^i f_i(x) with f_i(x) = ReLU(W_up^i · x + b^i)."""
    W_enc, b_enc, W_dec = weights
    return sum(  # type: ignore[return-value]
        torch.relu(x @ W_enc[:, i] + b_enc[i]) * W_dec[i] for i in range(len(b_enc))
    )


def layer(e: Experiment, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out"]:
    """y_i = ReLU(x_i) + ReLU(−x_i), half of that in the first of two layers; or y = x; or
    [gelu(4 x_i) + gelu(−4 x_i)] / 4; or Σ_k write_k ReLU(read_k · x − ½) over directions; with a
    mechanism for p, y += f(p) · ReLU(p · x − ⅔ p · p), or three times that over ⅓ p · p; or a
    trained network's own y = Σ_k write_k act(read_k · x + b_k) with ReLU or gelu."""
    if e.target in ("superposed", "gelu_network"):
        network = (Superposed if e.target == "superposed" else GeluNetwork).trained(e.d_in)
        read, write = (w.to(x) for w in network.units)
        z = read @ x + network.bias.to(x)
        return (torch.relu(z) if e.target == "superposed" else gelu(z)) @ write
    if e.target == "identity":
        return x.clone()
    if e.target == "smooth_abs":
        return (gelu(4 * x) + gelu(-4 * x)) / 4
    y = without_point(e, x)
    if e.target.endswith("_with_point"):
        p = pad_points(e.points, e.d_in)[0].to(x)
        gain = 1 if e.target == "abs_with_point" else 3 / (p @ p / 3)
        write = (gain * without_point(e, p)).float().to(x)  # as the layer holds it
        y = y + write * torch.relu(p @ x - 2 / 3 * (p @ p))
    return y


def without_point(e: Experiment, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out"]:
    """f(x) of a layer with a mechanism for p besides, or without one."""
    if e.target == "rotated_with_point":
        read, write = (directions(e.d_in, of).float().to(x) for of in (0, 1))
        return torch.relu(read @ x - 0.5) @ write
    return (torch.relu(x) + torch.relu(-x)) * scale(e, x)


def scale(e: Experiment, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_in"]:
    """½ for what the first of two layers reads, else 1."""
    one = torch.ones_like(x)
    if e.target == "two_layers":
        one[: len(x) // 2] = 0.5
    return one


def layer_jacobian(e: Experiment, x: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out d_in"]:
    """By autograd, for which ReLU'(0) = 0; for kink "one" dy_i/dx_i at x_i = 0 is that from the
    right."""
    J = jacobian(lambda at: layer(e, at), x)
    return (
        J + torch.diag((x == 0).to(x) * scale(e, x))
        if e.kink == "one" and e.target in KINKED
        else J
    )


def reconstruction(weights: Weights, x: Tensor, e: Experiment) -> Tensor:
    """‖ŷ − y‖²."""
    return ((transcoder(weights, x) - layer(e, x)) ** 2).sum()


def sparsity(weights: Weights, x: Tensor, penalty: str, scale: float) -> Tensor:
    """Σ_i tanh(s f_i(x) ‖W_down^i‖), or without the tanh and s for "l1"."""
    W_enc, b_enc, W_dec = weights
    total = x.new_zeros(())
    for i in range(len(b_enc)):
        contribution = torch.relu(x @ W_enc[:, i] + b_enc[i]) * W_dec[i].norm()
        if penalty == "tanh":
            total = total + torch.tanh(scale * contribution)
        elif penalty == "l1":
            total = total + contribution
    return total


def jacobian_matching(
    weights: Weights, x: Tensor, e: Experiment, v: Tensor | None, noise: Tensor | None
) -> Tensor:
    """‖J_MLP − J_Transcoder‖_F², or K ‖J_MLP v − J_Transcoder v‖² with K = 1."""

    def explained(at: Tensor) -> Tensor:
        return transcoder(weights, at)

    if e.jacobian_matching == "noise":
        assert noise is not None
        moved = x + e.perturbation_scale * noise
        return ((explained(moved) - layer(e, moved)) ** 2).sum() / e.perturbation_scale**2
    if e.jacobian_matching in ("sigmoid_gate", "straight_through"):
        assert v is not None
        difference = soft_jacobian(weights, x, e) @ v - layer_jacobian(e, x) @ v
        return (difference**2).sum()
    if e.jacobian_matching == "finite":
        assert v is not None
        moved = x + e.perturbation_scale * v
        step_T = explained(moved) - explained(x)
        step_M = layer(e, moved) - layer(e, x)
        return ((step_T - step_M) ** 2).sum() / e.perturbation_scale**2
    if e.jacobian_matching == "smoothed":
        assert noise is not None
        x = x + e.perturbation_scale * noise
    if e.jacobian_estimator == "sampled" and e.kink != "masked":
        assert v is not None
        J_T_v = jvp(explained, x, v, create_graph=True)[1]
        return ((J_T_v - layer_jacobian(e, x) @ v) ** 2).sum()
    difference = jacobian(explained, x, create_graph=True) - layer_jacobian(e, x)
    if e.kink == "masked" and e.target in KINKED:
        difference = difference * (1 - torch.diag((x == 0).to(x)))
    if e.jacobian_estimator == "sampled":
        return ((difference @ v) ** 2).sum()
    return (difference**2).sum()


def soft_jacobian(weights: Weights, x: Tensor, e: Experiment) -> Float[Tensor, "d_out d_in"]:
    """Σ_i g_i W_down^i (W_up^i)ᵀ with g_i = sigmoid(z_i ‖W_down^i‖ / σ); for the straight-through
    form g_i is 1[z_i > 0], and only its derivative is the sigmoid's."""
    W_enc, b_enc, W_dec = weights
    J = x.new_zeros(W_dec.shape[1], len(x))
    for i in range(len(b_enc)):
        z = x @ W_enc[:, i] + b_enc[i]
        gate = torch.sigmoid(z * W_dec[i].norm() / e.perturbation_scale)
        if e.jacobian_matching == "straight_through":
            gate = gate + ((z > 0).to(z) - gate).detach()
        J = J + gate * torch.outer(W_dec[i], W_enc[:, i])
    return J


def contribution_penalty(weights: Weights, x: Tensor) -> Tensor:
    """Norms of the input and output weights multiplied, masked by the activation's derivative."""
    W_enc, b_enc, W_dec = weights
    total = x.new_zeros(())
    for i in range(len(b_enc)):
        if x @ W_enc[:, i] + b_enc[i] > 0:
            total = total + W_enc[:, i].norm() * W_dec[i].norm()
    return total


def loss_terms(
    e: Experiment,
    weights: Weights,
    x: Float[Tensor, "rows d_in"],
    weight: Float[Tensor, "rows"],
    v: Float[Tensor, "rows d_in"] | None = None,
    noise: Float[Tensor, "rows d_in"] | None = None,
) -> dict[str, Tensor]:
    """The terms of one transcoder's loss, weighted means over the rows of a batch."""
    sums = dict.fromkeys(
        ("reconstruction", "sparsity", "jacobian", "contribution"), x.new_zeros(())
    )
    for b in range(len(x)):
        v_b = None if v is None else v[b]
        noise_b = None if noise is None else noise[b]
        terms = {"reconstruction": reconstruction(weights, x[b], e)}
        terms["sparsity"] = e.sparsity_coefficient * sparsity(
            weights, x[b], e.sparsity_penalty, e.tanh_scale
        )
        of_base = b < e.batch_size
        matched = {"all": True, "base": of_base, "points": not of_base}[e.matching_at]
        if e.jacobian_matching != "none" and matched:
            terms["jacobian"] = e.jacobian_coefficient * jacobian_matching(
                weights, x[b], e, v_b, noise_b
            )
        if e.contribution_coefficient:
            terms["contribution"] = e.contribution_coefficient * contribution_penalty(weights, x[b])
        sums = {k: s + weight[b] * terms.get(k, 0.0) for k, s in sums.items()}
    return sums


def memorization(weights: Weights, p: Tensor) -> Tensor:
    """Σ_i ReLU(y|_{f_i}(p) · p̂ − max_{j<3} y|_{f_i}(p) · e_j), for the note's p."""
    W_enc, b_enc, W_dec = weights
    total = p.new_zeros(())
    for i in range(len(b_enc)):
        c = W_dec[i] * torch.relu(p @ W_enc[:, i] + b_enc[i])
        total = total + torch.relu(c @ (p / p.norm()) - max(c[j] for j in range(3)))
    return total
