"""The largest of a batch, k an input on average; in use a threshold in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.architectures.jumprelu import JumpReLU
from faithnb.model.gating import Gating, OfBatch

MEMORY = 0.999
"""Share of the running threshold that a step leaves."""

ROUNDING = 1e-6
"""Relative size of differences up to which sums of weights count as equal."""


class BatchTopK(JumpReLU):
    """Training keeps the largest activations of a batch, ``k`` an input on average; in use a
    feature is on above a threshold, which is the running mean of the least activation that was
    kept. So it is a JumpReLU with one threshold for all features, which no gradient moves.

    After Bussmann et al., "BatchTopK sparse autoencoders" (2024). The rows of a batch count by
    their weights, so that a repeated point takes as large a part of the k as of the data. What
    equals the first that is left out is left out, too.

    Args:
        threshold: ``[n_inst, d_sae]``, the same for all features of an instance.
    """

    architecture = "batch_topk"
    settings: ClassVar = ("k",)
    asks = ()
    held = ("b_dec", "threshold")
    gates_learn = False

    k: float

    def __init__(self, *weights: Tensor, **given: Any):
        super().__init__(*weights, **given)
        is_number = isinstance(self.k, (int, float)) and not isinstance(self.k, bool)
        if not is_number or not 0 < self.k <= self.d_sae:
            raise ParameterError(
                f"k = {self.k!r} is not allowed: it must be a number above 0 and at most "
                f"{self.d_sae}, the number of features."
            )

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A number of features that it cannot keep."""
        yield from super().refusals(experiment)
        if not 0 < experiment.k <= experiment.d_sae:
            yield (
                f"k = {experiment.k:g} is not allowed with architecture = {cls.architecture!r} and "
                f"d_sae = {experiment.d_sae}: it must be above 0 and at most d_sae."
            )

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(z) where z is among the largest of the batch; in use, where it exceeds θ."""
        return torch.relu(z) * (z > self._bound(z))

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1 where a feature is on."""
        return (z > self._bound(z).clamp(min=0)).to(z)

    def gates(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1 where a feature is on."""
        return self.slope(z)

    def begin(self, experiment: Any) -> None:
        """Thresholds stay at 0 until there is one."""

    @torch.no_grad()
    def settle(self) -> None:
        """The running mean of the least activation kept, which begins at the first of them."""
        if self.fitting is None or self.fitting.least is None:
            return
        least = self.fitting.least[:, None].to(self.threshold)
        memory = torch.where(self.threshold > 0, MEMORY, 0.0)
        self.threshold.copy_(memory * self.threshold + (1 - memory) * least)

    @torch.no_grad()
    def _bound(self, z: Tensor) -> Tensor:
        """What an activation must exceed: ``[n_inst, 1, d_sae]``, or of all features alike."""
        if self.fitting is None:
            return self.threshold[:, None]
        return self.least_not_kept(z)[:, None, None]

    def gating(self, norms: Tensor | None, gradients: Sequence[Tensor]) -> Gating:
        """The largest of the batch."""
        return OfBatch(self.least_not_kept, norms)

    def least_not_kept(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst"]:
        """In training, the largest activation that is not kept, so that those above weigh at most k
        together."""
        fitting = self.fitting
        assert fitting is not None
        most = min(z[0].numel(), int(self.k / fitting.lightest) + 2)
        largest, at = z.flatten(1).topk(most, dim=1)
        counted = fitting.weight.gather(1, at // z.shape[-1]).double().cumsum(1)
        kept = (counted <= self.k * (1 + ROUNDING)) & (largest > 0)
        n_kept = kept.sum(1, keepdim=True)
        if fitting.least is None:
            fitting.least = largest.gather(1, (n_kept - 1).clamp(min=0))[:, 0].clamp(min=0)
        beyond = largest.gather(1, n_kept.clamp(max=most - 1))[:, 0]
        return torch.where(n_kept[:, 0] < most, beyond, 0.0).clamp(min=0)
