"""The gradient of the loss, which :func:`faithnb.training.ensemble.train` follows: by autograd
(:class:`Autograd`), or for ReLU transcoders in closed form (:class:`ClosedForm`).

:mod:`faithnb.training.objectives` says what each term is; here is its derivative, a method a term,
with the same names. Three devices keep the work near its matrix products:

* Inputs are homogeneous: points (x, 1) and directions (v, 0), read by E = (W_enc; b_enc). One
  product gives z, one the gradient of weights and biases together, and nothing that acts on
  directions reaches the biases.
* Features are measured by what they write. With n_i = c‖d_i‖, E'_i = n_i E_i and D'_i = D_i / n_i
  make the same transcoder, as a ReLU commutes with positive factors, and the penalty no longer
  needs the norms. With c = 2s it needs no tanh either: tanh(s h_i ‖d_i‖) = 2 sigmoid(h'_i) − 1, and
  on a CPU a sigmoid takes a tenth of the time. The terms are written in these coordinates; the
  chain rule leads back at the end.
* All arrays stay where they are, so that the calls on them can be written down once, views
  included, and a step only plays them (:class:`Tape`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.matching import SOFT
from faithnb.model.jacobians import target_diagonal
from faithnb.model.layers import Layer
from faithnb.model.transcoder import ARCHITECTURES, Transcoder
from faithnb.training.batches import Batches
from faithnb.training.objectives import loss_terms

mask_where_off = torch.ops.aten.threshold_backward.grad_input
"""mask_where_off(u, h, 0, grad_input=out): u where h > 0, else 0, in one pass."""

times_slope = torch.ops.aten.sigmoid_backward.grad_input
"""times_slope(u, g, grad_input=out): u g (1 − g), in one pass."""


class Tape(list[Callable[[], object]]):
    """Calls on fixed arrays: ``do(operation, *arrays)`` writes one down, ``play`` makes all."""

    def __call__(self, operation: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self.append(partial(operation, *args, **kwargs))

    def play(self) -> None:
        for call in self:
            call()


class Buffers(dict[tuple[str, tuple[int, ...]], Tensor]):
    """Arrays by name and shape, made when first asked for and used again ever after."""

    def like(self, name: str, model: Tensor, *shape: int) -> Tensor:
        """The array ``name`` of that shape (by default the model's), with the model's type."""
        key = name, shape or tuple(model.shape)
        if key not in self:
            self[key] = model.new_empty(key[1])
        return self[key]


class ClosedForm:
    """The gradient of the loss of ReLU transcoders without a linear part, for the instances of an
    ensemble, chunk by chunk.

    Args:
        template: says which penalty, matching form, estimator and kink.
        target: what the transcoders should do.
        scalars: coefficients and scales, each ``[n_inst]``.
        batches: what the instances see.
        chunks: instances whose hidden layers are computed together; they cover the ensemble.
        weights: encoder (bias as last row) ``[n_inst, d_in+1, d_sae]`` and decoder
            ``[n_inst, d_sae, d_out]``.
        gradients: where to write theirs. All of these arrays are kept, and read at every call.
    """

    def __init__(
        self,
        template: Experiment,
        target: Layer,
        scalars: Mapping[str, Tensor],
        batches: Batches,
        chunks: Sequence[slice],
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
    ):
        self.do, buffers = Tape(), Buffers()
        scaled = weights
        is_scaled = template.sparsity_penalty != "none" or template.jacobian_matching in SOFT
        if is_scaled:
            n = torch.empty_like(weights[1][..., 0])
            scaled = torch.empty_like(weights[0]), torch.empty_like(weights[1])
            c = contribution_units(template, scalars["tanh_scale"])[:, None]
            self.scale(c, n, weights, scaled)
        for chunk in chunks:
            own = {name: scalar[chunk, None, None] for name, scalar in scalars.items()}
            arrays = [array[chunk] for array in (*scaled, *gradients)]
            ChunkGradient(template, target, own, batches, chunk, arrays, buffers, self.do)
        if is_scaled:
            self.scale_back(c, n, scaled, gradients)

    @staticmethod
    def holds_for(template: Experiment) -> bool:
        """Whether it is the gradient of the template's loss."""
        return ARCHITECTURES[template.architecture] is Transcoder and not template.skip

    @torch.no_grad()
    def __call__(self) -> None:
        """Write the gradient of the loss on the present batch."""
        self.do.play()

    def scale(
        self, c: Tensor, n: Tensor, weights: Sequence[Tensor], scaled: Sequence[Tensor]
    ) -> None:
        """n_i = c‖d_i‖, E'_i = n_i E_i, D'_i = D_i / n_i."""
        do, (E, D), (scaled_E, scaled_D) = self.do, weights, scaled
        do(torch.linalg.vector_norm, D, dim=-1, out=n)
        do(n.mul_, c)
        do(torch.mul, E, n[:, None], out=scaled_E)
        do(torch.div, D, n[..., None], out=scaled_D)

    def scale_back(
        self, c: Tensor, n: Tensor, scaled: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> None:
        """∂E = n ∂E', and ∂D = (∂D' + c² (⟨E', ∂E'⟩ − ⟨D', ∂D'⟩) D') / n, feature by feature."""
        do, (E, D), (grad_E, grad_D) = self.do, scaled, gradients
        product_E, product_D = torch.empty_like(E), torch.empty_like(D)
        through_E, through_D = torch.empty_like(n), torch.empty_like(n)
        do(torch.mul, E, grad_E, out=product_E)
        do(torch.sum, product_E, 1, out=through_E)
        do(torch.mul, D, grad_D, out=product_D)
        do(torch.sum, product_D, -1, out=through_D)
        do(through_E.sub_, through_D)
        do(through_E.mul_, c * c)
        do(grad_D.addcmul_, D, through_E[..., None])
        do(grad_D.div_, n[..., None])
        do(grad_E.mul_, n[:, None])


class Autograd:
    """The gradient of the loss of any architecture: that of the formulas of
    :mod:`faithnb.training.objectives`, by autograd.

    Args:
        template: as for :class:`ClosedForm`, and so target, scalars, batches and chunks.
        transcoder: the ensemble; its weights are read at every call.
        gradients: where to write those of its weights, all but ``b_dec``, in their order.
    """

    def __init__(
        self,
        template: Experiment,
        target: Layer,
        scalars: Mapping[str, Tensor],
        batches: Batches,
        chunks: Sequence[slice],
        transcoder: Transcoder,
        gradients: Sequence[Tensor],
    ):
        self.template, self.target, self.batches, self.gradients = (
            template,
            target,
            batches,
            gradients,
        )
        names = [name for name in transcoder.axes if name != "b_dec"]
        self.chunks = []
        for chunk in chunks:
            part = transcoder.with_weights({k: w[chunk] for k, w in transcoder.weights().items()})
            learned = [getattr(part, name).requires_grad_() for name in names]
            for weight, gradient in zip(learned, gradients, strict=True):
                weight.grad = gradient[chunk]
            own = {name: scalar[chunk] for name, scalar in scalars.items()}
            self.chunks.append((chunk, part, own))

    def __call__(self) -> None:
        """Write the gradient of the loss on the present batch."""
        for gradient in self.gradients:
            gradient.zero_()
        with torch.enable_grad():
            for chunk, part, own in self.chunks:
                inputs = self.batches.inputs(chunk)
                terms = loss_terms(self.template, part, self.target, **inputs, **own)
                sum(terms.values(), torch.zeros(())).sum().backward()


class ChunkGradient:
    """Writes down the gradients of a template's terms for one chunk, in the scaled coordinates.

    The hidden layer of a chunk takes two buffers; finite matching takes a third, and so does
    sampled matching with masked kinks.

    Args:
        own: the chunk's coefficients and scales, each ``[n_inst, 1, 1]``.
        arrays: the chunk's scaled encoder and decoder, and their gradients.
        do: where to write the calls.
    """

    def __init__(
        self,
        template: Experiment,
        target: Layer,
        own: Mapping[str, Tensor],
        batches: Batches,
        chunk: slice,
        arrays: Sequence[Tensor],
        buffers: Buffers,
        do: Tape,
    ):
        self.template, self.target, self.batches, self.do = template, target, batches, do
        self.streams, self.buffer = batches.seen_by(chunk), buffers.like
        self.E, self.D, self.grad_E, self.grad_D = E, D, _, _ = arrays
        self.W_enc, self.grad_W = self.E[:, :-1], self.grad_E[:, :-1]
        self.sigma = own["perturbation_scale"]
        # of a soft gate, in the scaled coordinates
        self.width = self.sigma * contribution_units(template, own["tanh_scale"])
        self.tanh = template.sparsity_penalty == "tanh"

        weight = batches.weight[chunk].T[..., None, None]
        B, rows = template.batch_size, batches.weight.shape[1]
        self.parts = [(slice(None, B), weight[0])]
        if rows > B:
            self.parts.append((slice(B, None), weight[-1]))
        mu = own["jacobian_coefficient"]
        at = template.matching_at
        self.matched = at in ("all", "base"), at in ("all", "points")
        self.factors: dict[str, float | Tensor] = {
            "reconstruction": 2.0,
            "sparsity": (2 if self.tanh else 1) * own["sparsity_coefficient"],
            "jacobian": 2 * mu,
            "finite": 2 * mu / self.sigma.square(),
            "noise": 2 * mu / self.sigma.square(),
            "contribution": own["contribution_coefficient"],
        }

        n, d_sae, d_out = D.shape
        self.h = self.buffer("h", E, n, rows, d_sae)
        self.grad_z = self.buffer("grad_z", self.h)
        self.error = self.buffer("error", E, n, rows, d_out)
        self.write()

    def write(self) -> None:
        """The forward pass, then term by term."""
        template, do, h, error, grad_z = self.template, self.do, self.h, self.error, self.grad_z
        x = self.see("x")
        do(torch.bmm, self.each(x), self.E, out=h)
        do(h.relu_)
        do(torch.bmm, h, self.D, out=error)
        do(error.sub_, self.see("y"))
        if template.jacobian_matching == "finite":
            moved = self.finite_difference(x)
        self.weigh(error, "reconstruction")
        if template.jacobian_matching == "finite":
            do(error.sub_, moved[2])

        penalised = template.sparsity_penalty != "none"
        if penalised:
            self.sparsity()
        do(grad_z.baddbmm_, error, self.D.mT, beta=int(penalised))
        do(mask_where_off, grad_z, h, 0, grad_input=grad_z)
        do(torch.bmm, h.mT, error, out=self.grad_D)
        do(torch.bmm, self.each(x).mT, grad_z, out=self.grad_E)

        if template.contribution_coefficient > 0:
            self.contribution()
        if template.jacobian_matching == "finite":
            self.backward_from_output(*moved)
        elif template.jacobian_matching == "noise":
            self.noisy(self.move(x, self.see("noise")))
        elif template.jacobian_matching in SOFT:
            self.soft(x)
        elif template.jacobian_matching != "none":
            if template.jacobian_matching == "smoothed":
                x = self.move(x, self.see("noise"))
                do(torch.bmm, x, self.E, out=h)
                do(h.relu_)
            if template.jacobian_estimator == "exact":
                self.exact(x[..., :-1])
            else:
                self.sampled(x[..., :-1])

    def see(self, name: str) -> Tensor:
        """What the instances see of x, y, v or noise: ``[n_inst, rows, …]``, or with a first axis
        of 1 if they all see the same."""
        streams = self.batches.now[name]
        if isinstance(self.streams, slice):
            return streams[self.streams]
        seen = self.buffer(f"seen {name}", streams, len(self.streams), *streams.shape[1:])
        self.do(torch.index_select, streams, 0, self.streams, out=seen)
        return seen

    def each(self, seen: Tensor) -> Tensor:
        """The same with an axis for every instance."""
        return seen.expand(len(self.E), -1, -1)

    def move(self, x: Tensor, by: Tensor) -> Tensor:
        """x + σ by; a direction leaves the last coordinate of a point at 1."""
        moved = self.buffer("moved", x, *self.each(x).shape)
        self.do(torch.addcmul, x, by, self.sigma, out=moved)
        return moved

    def weigh(self, u: Tensor, term: str, root: bool = False) -> None:
        """u_b ← c ω_b u_b with the term's factor c (or its root); all rows of a part at once."""
        for rows, factor in self.weights_of(term):
            self.do(u[:, rows].mul_, factor.sqrt() if root else factor)

    def weights_of(self, term: str) -> list[tuple[slice, Tensor]]:
        """c ω_b for each part; where the Jacobian is not matched, its terms weigh nothing."""
        matched = self.matched if term in ("jacobian", "finite", "noise") else (True, True)
        return [
            (rows, self.factors[term] * weight * is_matched)
            for (rows, weight), is_matched in zip(self.parts, matched, strict=False)
        ]

    def where_on(self, term: str, root: bool = False) -> Tensor:
        """c ω_b (or its root) where a feature is on, 0 elsewhere."""
        for rows, factor in self.weights_of(term):
            h = self.h[:, rows]
            factor = (factor.sqrt() if root else factor).expand_as(h)
            self.do(mask_where_off, factor, h, 0, grad_input=self.grad_z[:, rows])
        return self.grad_z

    def sparsity(self) -> None:
        """∂(penalty)/∂h, before masking. L1: λ ω_b; tanh: 2 λ ω_b g (1 − g) with g = sigmoid(h)."""
        if self.tanh:
            self.do(torch.sigmoid, self.h, out=self.grad_z)
        for rows, factor in self.weights_of("sparsity"):
            part = self.grad_z[:, rows]
            factor = factor.expand_as(part)
            if self.tanh:
                self.do(times_slope, factor, part, grad_input=part)
            else:
                self.do(part.copy_, factor)

    def sampled(self, x: Tensor) -> None:
        """μ Σ_b ω_b ‖J_T v − J_M v‖²: residual r, ∂D = 2 (on vE)ᵀ r, ∂E = 2 vᵀ (on rDᵀ).

        The gates are constants.
        """
        do, h, on_v, residual, target = self.do, self.h, self.grad_z, self.error, self.target
        v = self.see("v")
        do(torch.bmm, self.each(v), self.E, out=on_v)
        do(mask_where_off, on_v, h, 0, grad_input=on_v)
        do(torch.bmm, on_v, self.D, out=residual)
        do(minus, residual, target.jvp, x, v[..., :-1])
        if self.template.kink == "masked":
            gate, through = self.buffer("gate", h), self.buffer("through ignored", residual)

            W_enc, D = self.W_enc, self.D

            def leave_out_ignored() -> None:
                through.copy_(target.ignored(x) * v[..., :-1]).neg_()
                diagonal_M = target_diagonal(target, target.slope(x))
                diagonal = torch.sign(h, out=gate) @ (W_enc.mT * D) - diagonal_M
                residual.addcmul_(through, diagonal)

            do(leave_out_ignored)
        self.weigh(residual, "jacobian")
        if self.template.kink == "masked":
            do(through.mul_, residual)
            self.backward_from_diagonal(gate, through)
        do(self.grad_D.baddbmm_, on_v.mT, residual)
        do(torch.bmm, residual, self.D.mT, out=on_v)
        do(mask_where_off, on_v, h, 0, grad_input=on_v)
        do(self.grad_E.baddbmm_, self.each(v).mT, on_v)

    def soft(self, x: Tensor) -> None:
        """As :meth:`sampled` with gates g = sigmoid(z / w), or only their derivative g' = g (1 − g)
        / w: with a = vE and c = rDᵀ, ∂D = 2 (g a)ᵀ r and ∂E = 2 vᵀ (g c) + 2 xᵀ (g' a c).
        """
        do, gate, a, residual, target = self.do, self.h, self.grad_z, self.error, self.target
        v, slope = self.see("v"), self.buffer("slope of gates", self.h)
        do(torch.bmm, self.each(x), self.E, out=gate)
        do(torch.div, gate, self.width, out=slope)
        do(slope.sigmoid_)
        if self.template.jacobian_matching == "straight_through":
            do(torch.gt, gate, 0, out=gate)
        else:
            do(gate.copy_, slope)
        do(torch.addcmul, slope, slope, slope, value=-1, out=slope)
        do(slope.div_, self.width)
        do(torch.bmm, self.each(v), self.E, out=a)
        do(slope.mul_, a)
        do(a.mul_, gate)
        do(torch.bmm, a, self.D, out=residual)
        do(minus, residual, target.jvp, x[..., :-1], v[..., :-1])
        self.weigh(residual, "jacobian")
        do(self.grad_D.baddbmm_, a.mT, residual)
        do(torch.bmm, residual, self.D.mT, out=a)
        do(slope.mul_, a)
        do(a.mul_, gate)
        do(self.grad_E.baddbmm_, self.each(v).mT, a)
        do(self.grad_E.baddbmm_, self.each(x).mT, slope)

    def noisy(self, x: Tensor) -> None:
        """μ/σ² Σ_b ω_b ‖f_T − f_M‖² at inputs that were moved."""
        do, h, residual = self.do, self.h, self.error
        do(torch.bmm, x, self.E, out=h)
        do(h.relu_)
        do(torch.bmm, h, self.D, out=residual)
        do(minus, residual, self.target, x[..., :-1])
        self.weigh(residual, "noise")
        self.backward_from_output(x, h, residual)

    def exact(self, x: Tensor) -> None:
        """μ Σ_b ω_b ‖J_T − J_M‖_F² in Gram form, each row scaled by √(2 μ ω_b).

        The gates are constants here too.
        """
        do, W_enc, D, target = self.do, self.W_enc, self.D, self.target
        gate = self.where_on("jacobian", root=True)
        n, d_sae, _ = D.shape
        pairs = self.buffer("pairs", D, n, d_sae, d_sae)
        gram = self.buffer("gram", pairs)
        do(torch.bmm, gate.mT, gate, out=pairs)
        do(torch.bmm, W_enc.mT, W_enc, out=gram)
        do(gram.mul_, pairs)
        do(self.grad_D.baddbmm_, gram, D)
        do(torch.bmm, D, D.mT, out=gram)
        do(gram.mul_, pairs)
        do(self.grad_W.baddbmm_, W_enc, gram)
        d_hidden = target.d_in if target.units is None else len(target.units[0])
        slope = self.buffer("slope", self.E, *self.error.shape[:-1], d_hidden)
        do(lambda: slope.copy_(target.slope(x)))
        self.weigh(slope, "jacobian", root=True)
        if self.template.kink == "masked":
            ignored = self.buffer("ignored", self.error)

            def of_ignored() -> None:
                diagonal = gate @ (W_enc.mT * D) - target_diagonal(target, slope)
                torch.mul(target.ignored(x), diagonal.neg_(), out=ignored)

            do(of_ignored)
            self.backward_from_diagonal(gate, ignored)
        do(slope.neg_)
        self.backward_from_overlaps(gate, slope)

    def backward_from_overlaps(self, gate: Tensor, grad: Tensor) -> None:
        """Chain rule through the overlaps, Σ_i gate_i (e_i · read_k)(d_i · write_k)."""
        if self.target.units is None:
            return self.backward_from_diagonal(gate, grad)
        W_enc, D, grad_W, grad_D = self.W_enc, self.D, self.grad_W, self.grad_D
        read, write = (w.to(D) for w in self.target.units)

        def add() -> None:
            grad_overlaps = gate.mT @ grad
            grad_W.add_(((D @ write.T) * grad_overlaps @ read).mT)
            grad_D.add_((W_enc.mT @ read.T) * grad_overlaps @ write)

        self.do(add)

    def backward_from_diagonal(self, gate: Tensor, grad: Tensor) -> None:
        """Chain rule through the Jacobian's diagonal, J_jj = Σ_i gate_i W_ji D_ij."""
        grad_products = self.buffer("products", self.D)
        self.do(torch.bmm, gate.mT, grad, out=grad_products)
        self.do(self.grad_W.addcmul_, grad_products.mT, self.D.mT)
        self.do(self.grad_D.addcmul_, grad_products, self.W_enc.mT)

    def finite_difference(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The second end of each difference: its inputs, hidden layer and output gradient."""
        x = self.move(x, self.see("v"))
        h, residual = self.buffer("h moved", self.h), self.buffer("residual", self.error)
        self.do(torch.bmm, x, self.E, out=h)
        self.do(h.relu_)
        self.do(torch.bmm, h, self.D, out=residual)
        self.do(minus, residual, self.target, x[..., :-1])
        self.do(residual.sub_, self.error)
        self.weigh(residual, "finite")
        return x, h, residual

    def backward_from_output(self, x: Tensor, h: Tensor, grad_y: Tensor) -> None:
        """Adds what an output gradient at x makes of the weights."""
        self.do(torch.bmm, grad_y, self.D.mT, out=self.grad_z)
        self.do(mask_where_off, self.grad_z, h, 0, grad_input=self.grad_z)
        self.do(self.grad_D.baddbmm_, h.mT, grad_y)
        self.do(self.grad_E.baddbmm_, x.mT, self.grad_z)

    def contribution(self) -> None:
        """κ Σ_i a_i ‖e_i‖ ‖d_i‖ with a_i the share of the data on which feature i is on."""
        gate, W_enc, D = self.where_on("contribution"), self.W_enc, self.D
        grad_W, grad_D = self.grad_W, self.grad_D

        def add() -> None:
            share, ratio = gate.sum(1), D.norm(dim=-1) / W_enc.norm(dim=1)
            grad_W.addcmul_(W_enc, (share * ratio)[:, None])
            grad_D.addcmul_(D, (share / ratio)[..., None])

        self.do(add)


def contribution_units(template: Experiment, tanh_scale: Tensor) -> Tensor:
    """c, in which contributions are measured: 2s where there is a tanh of them, else 1."""
    return 2 * tanh_scale if template.sparsity_penalty == "tanh" else torch.ones_like(tanh_scale)


def minus(out: Tensor, function: Callable[..., Tensor], *at: Float[Tensor, "..."]) -> None:
    """out ← out − function(at)."""
    out.sub_(function(*at))
