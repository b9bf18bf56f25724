"""The ordinary ways to train one transcoder, as they are written everywhere: what we compare to.

Each function returns one step of an own, straightforward loop in eager autograd: a fresh batch,
the loss, ``backward``, Adam. They differ in how they match Jacobians.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from faithnb.data.sampling import mixture, pad_points
from faithnb.experiment import Experiment


class Single(nn.Module):
    """One transcoder."""

    def __init__(self, d_in: int, d_sae: int):
        super().__init__()
        self.encoder = nn.Linear(d_in, d_sae)
        self.W_dec = nn.Parameter(nn.functional.normalize(torch.randn(d_sae, d_in), dim=-1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.encoder(x))
        return h @ self.W_dec, h


def sample(e: Experiment, p: Tensor) -> Tensor:
    """Base samples and the repeated point, as rows."""
    shape = e.batch_size, e.d_in
    x = torch.rand(shape, device=p.device) * 2 - 1
    x = torch.where(torch.rand(shape, device=p.device) < e.density, x, 0.0)
    return torch.cat([x, p])


def without(model: Single, y_hat: Tensor, x: Tensor, e: Experiment) -> Tensor:
    """No matching."""
    return x.new_zeros(len(x))


def by_d_passes(model: Single, y_hat: Tensor, x: Tensor, e: Experiment) -> Tensor:
    """‖J_T − J_M‖² with one backward pass for each output."""
    rows = [torch.autograd.grad(y_hat[:, i].sum(), x, create_graph=True)[0] for i in range(e.d_in)]
    return (torch.stack(rows, 1) - torch.diag_embed(x.sign())).square().sum((1, 2))


def by_jacrev(model: Single, y_hat: Tensor, x: Tensor, e: Experiment) -> Tensor:
    """‖J_T − J_M‖² with ``torch.func.jacrev`` of each sample."""
    weights = dict(model.named_parameters())

    def explained(row: Tensor) -> Tensor:
        return functional_call(model, weights, row)[0]

    difference = vmap(jacrev(explained))(x) - torch.diag_embed(x.sign())
    return difference.square().sum((1, 2))


def by_one_probe(model: Single, y_hat: Tensor, x: Tensor, e: Experiment) -> Tensor:
    """‖(J_T − J_M)ᵀ u‖² with one random u, by one backward pass: the transpose of the note's
    estimator, which has the same mean and no pass to itself in reverse mode."""
    u = torch.randint(0, 2, y_hat.shape, device=x.device) * 2.0 - 1
    J_u = torch.autograd.grad(y_hat, x, u, create_graph=True)[0]
    return (J_u - x.sign() * u).square().sum(-1)


def step(e: Experiment, matching: Callable[..., Tensor], device: torch.device) -> Callable:
    """One step of the loop."""
    torch.manual_seed(e.seed)
    model = Single(e.d_in, e.d_sae).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=e.learning_rate)
    p = pad_points(e.points, e.d_in).to(device)
    weight = mixture(torch.zeros(e.batch_size, e.d_in, device=device), p, e.repeat_frac)[1]

    def run() -> None:
        x = sample(e, p).requires_grad_(matching in (by_one_probe, by_d_passes))
        y_hat, h = model(x)
        penalty = torch.tanh(h * model.W_dec.norm(dim=-1)).sum(-1)
        loss = (y_hat - x.abs()).square().sum(-1) + e.sparsity_coefficient * penalty
        if matching is not without:
            loss = loss + e.jacobian_coefficient * matching(model, y_hat, x, e)
        adam.zero_grad()
        (weight * loss).sum().backward()
        adam.step()

    return run
