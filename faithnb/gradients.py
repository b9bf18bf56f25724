"""The gradient of the loss in closed form: what :func:`faithnb.training.train` follows.

:mod:`faithnb.objectives` says what each term is; here is its derivative, a method a term, with the
same names. Nothing is allocated in the training loop: every array of the size of the hidden layer
is a buffer that is used again.

Two devices keep the work near its matrix products:

* The bias is a row of the encoder, read by a constant input: x ← (x, 1), E = (W_enc; b_enc). One
  product gives z, one its gradient.
* The penalty's gradient needs Σ_b P_bi h_bi, with P its derivative in h. As h is linear in E where
  a feature is on, Euler's theorem gives Σ_b h_bi ∂L/∂h_bi = Σ_j E_ji ∂L/∂E_ji, and the same of the
  reconstruction alone is Σ_j D_ij ∂L/∂D_ij; the difference is the wanted sum, at no cost.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.targets import Target

mask_where_off = torch.ops.aten.threshold_backward.grad_input
"""mask_where_off(u, h, 0, grad_input=out): u where h > 0, else 0, in one pass."""

times_sech2 = torch.ops.aten.tanh_backward.grad_input
"""times_sech2(u, t, grad_input=out): u (1 − t²), in one pass."""


class LossGradient:
    """Adds up the gradients of a form's terms for the instances of one chunk.

    Args:
        form: says which penalty, matching form, estimator and kink.
        target: what the transcoders should do.
        scalars: coefficients and scales, each ``[n_inst]``.
        n_base: the first rows of a batch, which all weigh the same; so do the rows after them.
    """

    def __init__(self, form: Experiment, target: Target, scalars: dict[str, Tensor], n_base: int):
        self.form, self.target, self.n_base = form, target, n_base
        self.scalars = scalars
        self.buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, like: Tensor) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = torch.empty_like(like)
        return self.buffers[name]

    @torch.no_grad()
    def __call__(
        self,
        E: Float[Tensor, "n_inst d_in+1 d_sae"],
        D: Float[Tensor, "n_inst d_sae d_out"],
        grad_E: Float[Tensor, "n_inst d_in+1 d_sae"],
        grad_D: Float[Tensor, "n_inst d_sae d_out"],
        x: Float[Tensor, "n_inst rows d_in+1"],
        weight: Float[Tensor, "n_inst rows"],
        v: Float[Tensor, "n_inst rows d_in"] | None = None,
        noise: Float[Tensor, "n_inst rows d_in"] | None = None,
    ) -> None:
        """Write the gradient of the loss into ``grad_E`` and ``grad_D``.

        E and D are encoder (bias as last row) and decoder; x carries a last column of ones.
        """
        form = self.form
        x_in, double_weight = x[..., :-1], 2 * weight[..., None]
        if "h" not in self.buffers:
            self.buffers["h"] = torch.bmm(x, E)
        h = torch.bmm(x, E, out=self.buffers["h"]).relu_()

        y = self.target(x_in)
        error = torch.bmm(h, D, out=self.buffer("error", y)).sub_(y)
        grad_y = torch.mul(error, double_weight, out=self.buffer("grad_y", y))
        moved = None
        if form.jacobian_matching == "finite":
            assert v is not None
            moved = self.finite_difference(E, D, x, x_in, v, y, error, grad_y, double_weight)

        grad_z = self.sparsity(h, D, weight)
        grad_z.baddbmm_(grad_y, D.mT)
        mask_where_off(grad_z, h, 0, grad_input=grad_z)
        torch.bmm(h.mT, grad_y, out=grad_D)
        torch.bmm(x.mT, grad_z, out=grad_E)
        if form.sparsity_penalty != "none":
            through_norms = (E * grad_E).sum(1) - (D * grad_D).sum(-1)
            squared_norms = D.square().sum(-1)
            grad_D.addcmul_(D, (through_norms / squared_norms)[..., None])

        if moved is not None:
            x_moved, h_moved, grad_y_moved = moved
            back = torch.bmm(grad_y_moved, D.mT, out=grad_z)
            mask_where_off(back, h_moved, 0, grad_input=back)
            grad_D.baddbmm_(h_moved.mT, grad_y_moved)
            grad_E.baddbmm_(x_moved.mT, back)
        elif form.jacobian_matching != "none":
            if form.jacobian_matching == "smoothed":
                assert noise is not None
                scale = self.scalars["perturbation_scale"][:, None, None]
                x_in = torch.addcmul(x_in, noise, scale)
                h_read = torch.baddbmm(E[:, -1:], x_in, E[:, :-1], out=self.buffer("h_read", h))
                h_read.relu_()
            else:
                h_read = h
            weights = E[:, :-1], D, grad_E[:, :-1], grad_D
            if form.jacobian_estimator == "exact":
                self.exact(*weights, x_in, h_read, double_weight)
            else:
                assert v is not None
                self.sampled(*weights, x_in, v, h_read, double_weight)
        if form.contribution_coefficient > 0:
            self.contribution(E[:, :-1], D, grad_E[:, :-1], grad_D, h, weight)

    def sparsity(self, h: Tensor, D: Tensor, weight: Tensor) -> Tensor:
        """P = ∂(penalty)/∂h, unmasked. tanh: λ ω_b s ‖d_i‖ (1 − tanh²); L1: λ ω_b ‖d_i‖."""
        P = self.buffer("grad_z", h)
        if self.form.sparsity_penalty == "none":
            return P.zero_()
        norms = D.norm(dim=-1)
        slope = norms * self.scalars["sparsity_coefficient"][:, None]
        if self.form.sparsity_penalty == "tanh":
            scaled_norms = norms * self.scalars["tanh_scale"][:, None]
            slope = slope * self.scalars["tanh_scale"][:, None]
            t = torch.mul(h, scaled_norms[:, None], out=self.buffer("scratch", h)).tanh_()
        for rows in (slice(None, self.n_base), slice(self.n_base, None)):
            if P[:, rows].shape[1]:
                weighted = (slope * weight[:, rows][:, :1])[:, None].expand_as(P[:, rows])
                if self.form.sparsity_penalty == "tanh":
                    times_sech2(weighted, t[:, rows], grad_input=P[:, rows])
                else:
                    P[:, rows] = weighted
        return P

    def sampled(
        self, W_enc: Tensor, D: Tensor, grad_W: Tensor, grad_D: Tensor,
        x: Tensor, v: Tensor, h: Tensor, double_weight: Tensor,
    ) -> None:  # fmt: skip
        """μ Σ_b ω_b ‖J_T v − J_M v‖²: residual e, ∂D = 2 (vW)ᵀe, ∂W = 2 vᵀ(eDᵀ), where on.

        The gates are constants, so nothing reaches the biases.
        """
        mu = self.scalars["jacobian_coefficient"][:, None, None]
        on_v = torch.bmm(v, W_enc, out=self.buffer("on_v", h))
        mask_where_off(on_v, h, 0, grad_input=on_v)
        residual = torch.bmm(on_v, D).sub_(self.target.jvp(x, v))
        if self.form.kink == "masked":
            ignored_v = self.target.ignored(x) * v
            gate = torch.sign(h, out=self.buffer("scratch", h))
            diagonal = gate @ (W_enc.mT * D) - self.target.slope(x)
            residual = residual.addcmul_(ignored_v, diagonal, value=-1)
        residual.mul_(double_weight).mul_(mu)
        if self.form.kink == "masked":
            self.through_diagonal(W_enc, D, grad_W, grad_D, gate, residual * ignored_v * -1)
        grad_D.baddbmm_(on_v.mT, residual)
        back = torch.bmm(residual, D.mT, out=on_v)
        mask_where_off(back, h, 0, grad_input=back)
        grad_W.baddbmm_(v.mT, back)

    def exact(
        self, W_enc: Tensor, D: Tensor, grad_W: Tensor, grad_D: Tensor,
        x: Tensor, h: Tensor, double_weight: Tensor,
    ) -> None:  # fmt: skip
        """μ Σ_b ω_b ‖J_T − J_M‖_F² in Gram form; the gates are constants here too."""
        mu = self.scalars["jacobian_coefficient"][:, None, None]
        slope = self.target.slope(x)
        gate = torch.sign(h, out=self.buffer("scratch", h))
        weighted = torch.mul(gate, double_weight * mu, out=self.buffer("on_v", h))
        pairs = torch.bmm(gate.mT, weighted)
        grad_D.baddbmm_(pairs * (W_enc.mT @ W_enc), D)
        grad_W.baddbmm_(W_enc, pairs * (D @ D.mT))
        grad_diagonal = -slope
        if self.form.kink == "masked":
            diagonal = gate @ (W_enc.mT * D)
            grad_diagonal = grad_diagonal - self.target.ignored(x) * (diagonal - slope)
        self.through_diagonal(W_enc, D, grad_W, grad_D, gate, grad_diagonal * double_weight * mu)

    @staticmethod
    def through_diagonal(
        W_enc: Tensor, D: Tensor, grad_W: Tensor, grad_D: Tensor, gate: Tensor, grad: Tensor
    ) -> None:
        """Chain rule through the Jacobian's diagonal, J_jj = Σ_i gate_i W_ji D_ij."""
        grad_products = gate.mT @ grad
        grad_W.addcmul_(grad_products.mT, D.mT)
        grad_D.addcmul_(grad_products, W_enc.mT)

    def finite_difference(
        self, E: Tensor, D: Tensor, x: Tensor, x_in: Tensor, v: Tensor,
        y: Tensor, error: Tensor, grad_y: Tensor, double_weight: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """The second end of each difference. Takes its share of the residual from ``grad_y``."""
        sigma = self.scalars["perturbation_scale"][:, None, None]
        mu = self.scalars["jacobian_coefficient"][:, None, None]
        x_moved = x.clone()
        x_moved[..., :-1].addcmul_(v, sigma)
        h_moved = self.buffer("h_moved", self.buffers["h"])
        torch.bmm(x_moved, E, out=h_moved).relu_()
        residual = torch.bmm(h_moved, D).sub_(self.target(x_moved[..., :-1])).sub_(error)
        grad_y_moved = residual.mul_(double_weight).mul_(mu / sigma.square())
        grad_y.sub_(grad_y_moved)
        return x_moved, h_moved, grad_y_moved

    def contribution(
        self, W_enc: Tensor, D: Tensor, grad_W: Tensor, grad_D: Tensor, h: Tensor, weight: Tensor
    ) -> None:
        """κ Σ_i a_i ‖e_i‖ ‖d_i‖ with a_i the share of the data on which feature i is on."""
        gate = torch.sign(h, out=self.buffer("scratch", h))
        share = (weight[:, None] @ gate)[:, 0] * self.scalars["contribution_coefficient"][:, None]
        ratio = D.norm(dim=-1) / W_enc.norm(dim=1)
        grad_W.addcmul_(W_enc, (share * ratio)[:, None])
        grad_D.addcmul_(D, (share / ratio)[..., None])
