"""The gradient of the loss in closed form: what :func:`faithnb.training.train` follows.

:mod:`faithnb.objectives` says what each term is; here is its derivative, a method a term, with the
same names. Nothing of the size of the hidden layer is allocated in the training loop. Two changes
of coordinates keep the work near its matrix products:

* Inputs are homogeneous: points (x, 1) and directions (v, 0), read by E = (W_enc; b_enc). One
  product gives z, one the gradient of weights and biases together, and nothing that acts on
  directions reaches the biases.
* Features are measured by what they write. With n_i = s‖d_i‖, E'_i = n_i E_i and D'_i = D_i / n_i
  make the same transcoder, as a ReLU commutes with positive factors, and the penalty no longer
  needs the norms: tanh(s h_i ‖d_i‖) = tanh(h'_i). The terms are written in these coordinates; the
  chain rule leads back at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.batches import Batches
from faithnb.experiment import Experiment
from faithnb.targets import Target

mask_where_off = torch.ops.aten.threshold_backward.grad_input
"""mask_where_off(u, h, 0, grad_input=out): u where h > 0, else 0, in one pass."""

times_sech2 = torch.ops.aten.tanh_backward.grad_input
"""times_sech2(u, t, grad_input=out): u (1 − t²), in one pass."""


class Buffers(dict[tuple[str, tuple[int, ...]], Tensor]):
    """Arrays by name and shape, made when first asked for and used again ever after."""

    def like(self, name: str, model: Tensor, *shape: int) -> Tensor:
        """The array ``name`` of that shape (by default the model's), with the model's type."""
        key = name, shape or tuple(model.shape)
        if key not in self:
            self[key] = model.new_empty(key[1])
        return self[key]


class LossGradient:
    """The gradient of the loss for the instances of an ensemble, chunk by chunk.

    Args:
        form: says which penalty, matching form, estimator and kink.
        target: what the transcoders should do.
        scalars: coefficients and scales, each ``[n_inst]``.
        batches: what the instances see.
        chunks: instances whose hidden layers are computed together; they cover the ensemble.
    """

    def __init__(
        self,
        form: Experiment,
        target: Target,
        scalars: Mapping[str, Tensor],
        batches: Batches,
        chunks: Sequence[slice],
    ):
        self.buffers = Buffers()
        self.chunks = [
            ChunkGradient(form, target, scalars, batches, chunk, self.buffers) for chunk in chunks
        ]
        self.penalised = form.sparsity_penalty != "none"
        tanh = form.sparsity_penalty == "tanh"
        self.tanh_scale = scalars["tanh_scale"] if tanh else torch.ones_like(scalars["tanh_scale"])

    @torch.no_grad()
    def __call__(
        self,
        E: Float[Tensor, "n_inst d_in+1 d_sae"],
        D: Float[Tensor, "n_inst d_sae d_out"],
        grad_E: Float[Tensor, "n_inst d_in+1 d_sae"],
        grad_D: Float[Tensor, "n_inst d_sae d_out"],
    ) -> None:
        """Write the gradient of the loss on the present batch into ``grad_E`` and ``grad_D``."""
        if not self.penalised:
            for chunk in self.chunks:
                chunk(E, D, grad_E, grad_D)
            return
        s = self.tanh_scale[:, None]
        n = D.norm(dim=-1).mul_(s)
        E = torch.mul(E, n[:, None], out=self.buffers.like("scaled E", E))
        D = torch.div(D, n[..., None], out=self.buffers.like("scaled D", D))
        for chunk in self.chunks:
            chunk(E, D, grad_E, grad_D)
        through_n = torch.mul(E, grad_E, out=self.buffers.like("product E", E)).sum(1)
        through_n -= torch.mul(D, grad_D, out=self.buffers.like("product D", D)).sum(-1)
        grad_E.mul_(n[:, None])
        grad_D.addcmul_(D, through_n.mul_(s * s)[..., None]).div_(n[..., None])


class ChunkGradient:
    """Adds up the gradients of a form's terms for one chunk, in the scaled coordinates.

    The hidden layer of the chunk takes two buffers (three for finite matching and masked kinks).
    """

    def __init__(
        self,
        form: Experiment,
        target: Target,
        scalars: Mapping[str, Tensor],
        batches: Batches,
        chunk: slice,
        buffers: Buffers,
    ):
        self.form, self.target, self.batches = form, target, batches
        self.chunk, self.streams = chunk, batches.seen_by(chunk)
        self.buffer = buffers.like

        weight = batches.weight[chunk].T[..., None, None]
        own = {name: scalar[chunk, None, None] for name, scalar in scalars.items()}
        mu, self.sigma = own["jacobian_coefficient"], own["perturbation_scale"]
        factors: dict[str, float | Tensor] = {
            "reconstruction": 2.0,
            "sparsity": own["sparsity_coefficient"],
            "jacobian": 2 * mu,
            "finite": 2 * mu / self.sigma.square(),
            "contribution": own["contribution_coefficient"],
        }
        B = form.batch_size
        parts = [(slice(None, B), weight[0])]
        if batches.weight.shape[1] > B:
            parts.append((slice(B, None), weight[-1]))
        self.weights = {
            name: [(rows, factor * w) for rows, w in parts] for name, factor in factors.items()
        }
        self.weights["root"] = [(rows, w.sqrt()) for rows, w in self.weights["jacobian"]]

    def see(self, name: str) -> Tensor:
        """What the instances see of x, v or noise: ``[n_inst, rows, d_in+1]``, or with a first
        axis of 1 if they all see the same."""
        streams = self.batches.now[name]
        if isinstance(self.streams, slice):
            return streams[self.streams]
        out = self.buffer(f"seen {name}", streams, len(self.streams), *streams.shape[1:])
        return torch.index_select(streams, 0, self.streams, out=out)

    def weigh(self, u: Tensor, term: str) -> Tensor:
        """u_b ← c ω_b u_b, with the term's factor c; the rows of a part share their weight."""
        for rows, weight in self.weights[term]:
            u[:, rows].mul_(weight)
        return u

    def __call__(self, E: Tensor, D: Tensor, grad_E: Tensor, grad_D: Tensor) -> None:
        form, c = self.form, self.chunk
        E, D, grad_E, grad_D = weights = E[c], D[c], grad_E[c], grad_D[c]
        n, (_, d_sae, d_out) = len(E), D.shape
        x = self.see("x")
        rows = x.shape[1]
        X = x.expand(n, -1, -1)

        h = self.buffer("h", E, n, rows, d_sae)
        torch.bmm(X, E, out=h).relu_()
        error = self.buffer("error", D, n, rows, d_out)
        torch.bmm(h, D, out=error).sub_(self.target(x[..., :-1]))
        moved = None
        if form.jacobian_matching == "finite":
            moved = self.finite_difference(E, D, x, error)
        grad_y = self.weigh(error, "reconstruction")
        if moved is not None:
            grad_y -= moved[2]

        grad_z = self.sparsity(h)
        grad_z.baddbmm_(grad_y, D.mT, beta=0 if form.sparsity_penalty == "none" else 1)
        mask_where_off(grad_z, h, 0, grad_input=grad_z)
        torch.bmm(h.mT, grad_y, out=grad_D)
        torch.bmm(X.mT, grad_z, out=grad_E)

        if form.contribution_coefficient > 0:
            self.contribution(*weights, h)
        if moved is not None:
            x, h, grad_y = moved
            torch.bmm(grad_y, D.mT, out=grad_z)
            mask_where_off(grad_z, h, 0, grad_input=grad_z)
            grad_D.baddbmm_(h.mT, grad_y)
            grad_E.baddbmm_(x.mT, grad_z)
        elif form.jacobian_matching != "none":
            if form.jacobian_matching == "smoothed":
                x = self.move(x, self.see("noise"))
                torch.bmm(x, E, out=h).relu_()
            if form.jacobian_estimator == "exact":
                self.exact(*weights, x[..., :-1], h)
            else:
                self.sampled(*weights, x[..., :-1], h)

    def move(self, x: Tensor, by: Tensor) -> Tensor:
        """x + σ by; a direction leaves the last coordinate of a point at 1."""
        out = self.buffer("moved", x, len(self.sigma), *x.shape[1:])
        return torch.addcmul(x, by, self.sigma, out=out)

    def sparsity(self, h: Tensor) -> Tensor:
        """∂(penalty)/∂h, before masking. tanh: λ ω_b (1 − tanh² h); L1: λ ω_b."""
        grad_z = self.buffer("grad_z", h)
        if self.form.sparsity_penalty == "tanh":
            torch.tanh(h, out=grad_z)
            for rows, weight in self.weights["sparsity"]:
                part = grad_z[:, rows]
                times_sech2(weight.expand_as(part), part, grad_input=part)
        elif self.form.sparsity_penalty == "l1":
            for rows, weight in self.weights["sparsity"]:
                grad_z[:, rows] = weight
        return grad_z

    def where_on(self, term: str, h: Tensor) -> Tensor:
        """The weights of a term where a feature is on, 0 elsewhere."""
        out = self.buffer("grad_z", h)
        for rows, weight in self.weights[term]:
            part = h[:, rows]
            mask_where_off(weight.expand_as(part), part, 0, grad_input=out[:, rows])
        return out

    def sampled(
        self, E: Tensor, D: Tensor, grad_E: Tensor, grad_D: Tensor, x: Tensor, h: Tensor
    ) -> None:
        """μ Σ_b ω_b ‖J_T v − J_M v‖²: residual r, ∂D = 2 (on vE)ᵀ r, ∂E = 2 vᵀ (on rDᵀ).

        The gates are constants.
        """
        v = self.see("v")
        V = v.expand(len(E), -1, -1)
        on_v = torch.bmm(V, E, out=self.buffer("grad_z", h))
        mask_where_off(on_v, h, 0, grad_input=on_v)
        residual = torch.bmm(on_v, D, out=self.buffer("error", D, *h.shape[:2], D.shape[-1]))
        residual -= self.target.jvp(x, v[..., :-1])
        if self.form.kink == "masked":
            ignored_v = self.target.ignored(x) * v[..., :-1]
            gate = torch.sign(h, out=self.buffer("gate", h))
            residual -= ignored_v * (gate @ (E[:, :-1].mT * D) - self.target.slope(x))
        self.weigh(residual, "jacobian")
        if self.form.kink == "masked":
            self.through_diagonal(E, D, grad_E, grad_D, gate, -ignored_v * residual)
        grad_D.baddbmm_(on_v.mT, residual)
        back = torch.bmm(residual, D.mT, out=on_v)
        mask_where_off(back, h, 0, grad_input=back)
        grad_E.baddbmm_(V.mT, back)

    def exact(
        self, E: Tensor, D: Tensor, grad_E: Tensor, grad_D: Tensor, x: Tensor, h: Tensor
    ) -> None:
        """μ Σ_b ω_b ‖J_T − J_M‖_F² in Gram form, each row scaled by g_b = √(2 μ ω_b).

        The gates are constants here too.
        """
        gate = self.where_on("root", h)
        W_enc, grad_W = E[:, :-1], grad_E[:, :-1]
        n, d_sae = D.shape[:2]
        pairs = torch.bmm(gate.mT, gate, out=self.buffer("pairs", D, n, d_sae, d_sae))
        gram = self.buffer("gram", pairs)
        grad_D.baddbmm_(torch.bmm(W_enc.mT, W_enc, out=gram).mul_(pairs), D)
        grad_W.baddbmm_(W_enc, torch.bmm(D, D.mT, out=gram).mul_(pairs))
        slope = self.weigh(self.target.slope(x).repeat(n // len(x), 1, 1), "root")
        if self.form.kink == "masked":
            slope += self.target.ignored(x) * (gate @ (W_enc.mT * D) - slope)
        self.through_diagonal(E, D, grad_E, grad_D, gate, slope.neg_())

    @staticmethod
    def through_diagonal(
        E: Tensor, D: Tensor, grad_E: Tensor, grad_D: Tensor, gate: Tensor, grad: Tensor
    ) -> None:
        """Chain rule through the Jacobian's diagonal, J_jj = Σ_i gate_i W_ji D_ij."""
        grad_products = gate.mT @ grad
        grad_E[:, :-1].addcmul_(grad_products.mT, D.mT)
        grad_D.addcmul_(grad_products, E[:, :-1].mT)

    def finite_difference(
        self, E: Tensor, D: Tensor, x: Tensor, error: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The second end of each difference: its inputs, hidden layer and output gradient."""
        x_moved = self.move(x, self.see("v"))
        h_moved = self.buffer("h_moved", E, *error.shape[:2], D.shape[1])
        torch.bmm(x_moved, E, out=h_moved).relu_()
        residual = torch.bmm(h_moved, D, out=self.buffer("residual", error))
        residual.sub_(self.target(x_moved[..., :-1])).sub_(error)
        return x_moved, h_moved, self.weigh(residual, "finite")

    def contribution(self, E: Tensor, D: Tensor, grad_E: Tensor, grad_D: Tensor, h: Tensor) -> None:
        """κ Σ_i a_i ‖e_i‖ ‖d_i‖ with a_i the share of the data on which feature i is on."""
        share = self.where_on("contribution", h).sum(1)
        W_enc = E[:, :-1]
        ratio = D.norm(dim=-1) / W_enc.norm(dim=1)
        grad_E[:, :-1].addcmul_(W_enc, (share * ratio)[:, None])
        grad_D.addcmul_(D, (share / ratio)[..., None])
