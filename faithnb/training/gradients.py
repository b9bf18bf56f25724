"""The gradient of the loss, which :func:`faithnb.training.ensemble.train` follows: by autograd
(:class:`Autograd`), or for ReLU transcoders in closed form (:class:`ClosedForm`).

:mod:`faithnb.training.objectives`, a form of matching and a penalty say what each term is; here are
the terms' derivatives, as far as they are not written beside the term itself. The devices are those
of :mod:`faithnb.matching.workspace`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.matching.workspace import Buffers, Tape, Workspace
from faithnb.model.fitting import Fitting
from faithnb.model.layer import Layer
from faithnb.model.transcoder import ARCHITECTURES, Transcoder
from faithnb.training.batches import Batches
from faithnb.training.objectives import loss_terms


class ClosedForm:
    """The gradient of the loss of transcoders whose features are ReLUs, of which some may be turned
    off, for the instances of an ensemble, chunk by chunk.

    Args:
        template: says which architecture, penalty, matching form, estimator and kink.
        target: what the transcoders should do.
        scalars: coefficients and scales, each ``[n_inst]``.
        batches: what the instances see.
        chunks: instances whose hidden layers are computed together; they cover the ensemble.
        transcoder: the ensemble, for what it has besides encoder and decoder.
        weights: encoder (bias as last row) ``[n_inst, d_in+1, d_sae]`` and decoder
            ``[n_inst, d_sae, d_out]``, then what else is learned.
        gradients: where to write theirs. All of these arrays are kept, and read at every call.
    """

    def __init__(
        self,
        template: Experiment,
        target: Layer,
        scalars: Mapping[str, Tensor],
        batches: Batches,
        chunks: Sequence[slice],
        transcoder: Transcoder,
        weights: Sequence[Tensor],
        gradients: Sequence[Tensor],
    ):
        self.do, buffers = Tape(), Buffers()
        weights, gradients, own_gradients = weights[:2], gradients[:2], [*gradients[2:]]
        of_linear = own_gradients.pop(0) if template.skip else None
        scaled, n = weights, None
        units = torch.ones_like(scalars["tanh_scale"])
        if template.penalty:
            units = template.penalty.units(scalars["tanh_scale"])
        on_gates = template.matching is not None and template.matching.on_gates
        is_scaled = template.penalty is not None or on_gates
        if is_scaled:
            n = torch.empty_like(weights[1][..., 0])
            scaled = torch.empty_like(weights[0]), torch.empty_like(weights[1])
            c = units[:, None]
            self.scale(c, n, weights, scaled)
        at = template.matching_at
        matched = at in ("all", "base"), at in ("all", "points")
        self.parts = [of_chunk(transcoder, chunk) for chunk in chunks]
        for chunk, part in zip(chunks, self.parts, strict=True):
            own = {name: scalar[chunk, None, None] for name, scalar in scalars.items()}
            part.fitting = Fitting(template, batches.weight[chunk], lightest=batches.lightest)
            self.do(setattr, part.fitting, "least", None)
            norms = None if n is None else n[chunk]
            gating = part.gating(norms, [gradient[chunk] for gradient in own_gradients])
            linear = None
            if part.W_skip is not None and of_linear is not None:
                linear = part.W_skip, of_linear[chunk]
            work = Workspace(
                target, batches, chunk, [array[chunk] for array in (*scaled, *gradients)],
                own["perturbation_scale"], own["jacobian_coefficient"], units[chunk, None, None],
                template.batch_size, matched, buffers, self.do, gating, linear,
            )  # fmt: skip
            gating.begin(work)
            write(template, work, own)
        if n is not None:
            self.scale_back(c, n, scaled, gradients)

    @staticmethod
    def holds_for(template: Experiment) -> bool:
        """Whether it is the gradient of the template's loss: where the architecture and each term
        that was asked for have one written by hand, which holds for a linear part if it has one."""
        matching, of = template.matching, ARCHITECTURES[template.architecture]
        terms = [term for term in (matching, template.penalty) if term is not None]
        if template.skip and matching and not (matching.says("linear") and matching.linear()):
            return False
        by_hand = all(term.says("gradient") for term in terms)
        return by_hand and template.aux_coefficient == 0 and of.has_gating(template)

    @torch.no_grad()
    def __call__(self) -> None:
        """Write the gradient of the loss on the present batch."""
        self.do.play()

    def settle(self) -> None:
        """What an architecture does after each step."""
        for part in self.parts:
            part.settle()

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
        gradients: where to write those of its weights, all but those held, in their order.
        quiet: for how many steps each feature has not been on; counted on.
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
        quiet: Tensor,
    ):
        self.template, self.target, self.batches, self.gradients = (
            template,
            target,
            batches,
            gradients,
        )
        self.chunks = []
        for chunk in chunks:
            part = of_chunk(transcoder, chunk)
            part.fitting = Fitting(template, batches.weight[chunk], quiet[chunk], batches.lightest)
            learned = [getattr(part, name).requires_grad_() for name in part.learned]
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
                if part.fitting is not None:
                    part.fitting.least = None
                terms = loss_terms(self.template, part, self.target, **inputs, **own)
                sum(terms.values(), torch.zeros(())).sum().backward()

    def settle(self) -> None:
        """What an architecture does after each step."""
        for _, part, _ in self.chunks:
            part.settle()


def of_chunk(transcoder: Transcoder, chunk: slice) -> Transcoder:
    """Some of the instances; their weights stay where they are."""
    return transcoder.with_weights({k: w[chunk] for k, w in transcoder.weights().items()})


def write(template: Experiment, work: Workspace, own: Mapping[str, Tensor]) -> None:
    """Write down the gradients of a template's terms for one chunk, in the scaled coordinates: the
    forward pass, then term by term.

    Args:
        template: says which.
        work: the chunk's arrays.
        own: its coefficients and scales, each ``[n_inst, 1, 1]``.
    """
    do, h, D, grad_z, matching = work.do, work.h, work.D, work.grad_z, template.matching
    x = work.see("x")
    work.hidden(work.each(x), h)
    groups = errors(work, x)
    taken_off = matching.before(work) if matching else None
    for _, error in groups:
        work.weigh(error, 2.0)
    if taken_off is not None:
        do(work.error.sub_, taken_off)
    for (_, error), (_, after) in reversed([*pairwise(groups)]):
        do(error.add_, after)

    if template.penalty:
        template.penalty.gradient(work, own["sparsity_coefficient"])
    for some, error in groups:
        beta = int(template.penalty is not None)
        do(grad_z[..., some].baddbmm_, error, D[:, some].mT, beta=beta)
    work.gating.backward(work, grad_z, h)
    for some, error in groups:
        do(torch.bmm, h[..., some].mT, error, out=work.grad_D[:, some])
    do(torch.bmm, work.each(x).mT, grad_z, out=work.grad_E)
    work.to_linear(x, groups[0][1], beta=0)

    if template.contribution_coefficient > 0:
        contribution(work, own["contribution_coefficient"])
    if matching:
        matching.gradient(work)


def errors(work: Workspace, x: Tensor) -> list[tuple[slice, Tensor]]:
    """Write down ŷ − y of each prefix of the features, the last of which are all (in
    ``work.error``), beside the features that it has and the one before has not."""
    bounds = [0, *work.gating.prefixes, work.D.shape[1]]
    groups = [(slice(*of), work.buffer(f"error of {of}", work.error)) for of in pairwise(bounds)]
    groups[-1] = groups[-1][0], work.error
    (some, error), *_ = groups
    work.decode(x, work.h, error, some)
    work.do(error.sub_, work.see("y"))
    for (_, before), (some, error) in pairwise(groups):
        work.do(torch.baddbmm, before, work.h[..., some], work.D[:, some], out=error)
    return groups


def contribution(work: Workspace, coefficient: Tensor) -> None:
    """κ Σ_i a_i ‖e_i‖ ‖d_i‖ with a_i the share of the data on which feature i is on."""
    gate, W_enc, D = work.where_on(coefficient), work.W_enc, work.D
    grad_W, grad_D = work.grad_W, work.grad_D

    def add() -> None:
        share, ratio = gate.sum(1), D.norm(dim=-1) / W_enc.norm(dim=1)
        grad_W.addcmul_(W_enc, (share * ratio)[:, None])
        grad_D.addcmul_(D, (share / ratio)[..., None])

    work.do(add)
