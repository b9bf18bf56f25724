"""The training of one ensemble, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.model.fitting import Fitting
from faithnb.training.batches import Batches
from faithnb.training.gradients import Autograd, ClosedForm
from faithnb.training.init import start
from faithnb.training.objectives import TERMS, loss_terms

SCALARS = (
    "sparsity_coefficient",
    "tanh_scale",
    "jacobian_coefficient",
    "perturbation_scale",
    "contribution_coefficient",
)
"""Fields that enter the loss as one number an instance."""

CHUNK_BYTES = {"cpu": 2**21, "cuda": 2**27}
"""Size of a hidden layer of all instances computed together: what the caches of a CPU hold, and
enough to keep a GPU busy."""


class Loop:
    """The training of one ensemble, to be driven step by step: ``draw``, then ``update``.

    Args:
        experiments: equal in all fields but :data:`MAY_DIFFER`.
        device: where to train.
    """

    def __init__(self, experiments: Sequence[Experiment], device: torch.device):
        self.template = template = experiments[0]
        self.batches = Batches(experiments, device)
        self.target = self.batches.target
        first = start(experiments, template.make_target()).to(device)
        weights = first.weights()
        learned = [weights[name] for name in first.learned]
        self.by_hand = ClosedForm.holds_for(template)
        if self.by_hand:
            encoder = torch.cat([first.W_enc, first.b_enc[:, None]], dim=1).detach()
            weights |= {"W_enc": encoder[:, :-1], "b_enc": encoder[:, -1]}
            learned[:2] = [encoder]
        self.weights = tuple(learned)
        self.transcoder = first.with_weights(weights)
        self.quiet = first.W_enc.new_zeros(len(experiments), template.d_sae)
        self.gradients = tuple(torch.zeros_like(weight) for weight in self.weights)
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        as_form: dict[str, Any] = {"dtype": template.torch_dtype, "device": device}
        self.scalars = {
            name: torch.tensor([getattr(e, name) for e in experiments], **as_form)
            for name in SCALARS
        }
        n_chunks = -(-len(experiments) // most_in_a_chunk(template, device))
        self.chunk_size = -(-len(experiments) // n_chunks)
        self.chunks = _slices(len(experiments), self.chunk_size)
        self.quarters = _slices(len(experiments), -(-self.chunk_size // 4))
        self.stages = [
            (round(template.jacobian_start * template.steps), template, self._gradient(template))
        ]
        if self.stages[0][0] > 0:
            unmatched = replace(
                template, jacobian_matching="none", jacobian_coefficient=0.0, jacobian_start=0.0,
                kink="zero",
            )  # fmt: skip
            self.stages.insert(0, (0, unmatched, self._gradient(unmatched)))
        self.optimiser = torch.optim.Adam(self.weights, lr=template.learning_rate, fused=True)

    def _gradient(self, template: Experiment) -> ClosedForm | Autograd:
        given = template, self.target, self.scalars, self.batches, self.chunks
        if self.by_hand:
            return ClosedForm(*given, self.transcoder, self.weights, self.gradients)
        return Autograd(*given, self.transcoder, self.gradients, self.quiet)

    def _stage(self) -> tuple[Experiment, ClosedForm | Autograd]:
        """The template that the present batch is trained on, and its gradient."""
        step = max(0, self.batches.step - 1)
        return [(template, gradient) for first, template, gradient in self.stages if first <= step][
            -1
        ]

    def draw(self) -> None:
        """Draw the next batch."""
        self.batches.draw()

    @torch.no_grad()
    def terms(self) -> tuple[Tensor, Tensor]:
        """The terms of the loss on the present batch, ``[n_terms, n_inst]``, and the share of
        features that are on somewhere in it, ``[n_inst]``.

        A quarter of a chunk at a time: written for reading, they take much memory.
        """
        template, _ = self._stage()
        weight = self.batches.weight
        values = torch.zeros(len(TERMS), len(weight), device=weight.device)
        alive = torch.zeros(len(weight), device=weight.device)
        for part in self.quarters:
            some, inputs = self.transcoder[part], self.batches.inputs(part)
            some.fitting = Fitting(
                template, weight[part], self.quiet[part].clone(), self.batches.lightest
            )
            scalars = {name: scalar[part] for name, scalar in self.scalars.items()}
            terms = loss_terms(template, some, self.target, **inputs, **scalars)
            for name, value in terms.items():
                values[TERMS.index(name), part] = value.to(values)
            alive[part] = some.gate(inputs["x"]).any(1).to(alive).mean(1)
        return values, alive

    def gradient(self) -> None:
        """Write the gradient on the present batch into ``gradients``."""
        self._stage()[1]()

    def update(self) -> None:
        """One step of Adam on the present batch. No call in it asks for a value or copies one from
        the host, as :meth:`draw` does not but to read a file or to find singular vectors, so that
        neither waits for a GPU."""
        self.gradient()
        now = rate(self.template, self.batches.step - 1)
        self.optimiser.param_groups[0]["lr"] = self.template.learning_rate * now
        self.optimiser.step()
        self._stage()[1].settle()


def _slices(n: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def most_in_a_chunk(template: Experiment, device: torch.device) -> int:
    """How many instances' hidden layers fit :data:`CHUNK_BYTES`; at least one.

    The exact form also holds a matrix of features by features.
    """
    rows = template.batch_size
    if template.jacobian_estimator == "exact":
        rows = max(rows, template.d_sae)
    hidden = rows * template.d_sae * template.torch_dtype.itemsize
    return max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"]) // hidden)


def rate(experiment: Experiment, step: int) -> float:
    """The learning rate at a step, as a fraction of its height: rise, plateau, linear fall."""
    rise = experiment.warmup_frac * experiment.steps
    fall = experiment.decay_frac * experiment.steps
    up = (step + 1) / rise if rise else 1.0
    down = (experiment.steps - step) / fall if fall else 1.0
    return min(1.0, up, down)
