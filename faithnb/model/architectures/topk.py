"""The k largest of each input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.gating import Gating, OfRows
from faithnb.model.transcoder import Transcoder


class TopK(Transcoder):
    """Of each input the ``k`` largest pre-activations are kept, as far as they are above 0.

    After Gao et al., "Scaling and evaluating sparse autoencoders" (2024).
    """

    architecture = "topk"
    settings: ClassVar = ("k",)

    k: int

    def __init__(self, *weights: Tensor, **given: Any):
        super().__init__(*weights, **given)
        if isinstance(self.k, bool) or not isinstance(self.k, int) or not 1 <= self.k <= self.d_sae:
            raise ParameterError(
                f"k = {self.k!r} is not allowed: it must be a whole number in [1, {self.d_sae}], "
                "the number of features."
            )

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A number of features that it cannot keep."""
        yield from super().refusals(experiment)
        if not 1 <= experiment.k <= experiment.d_sae or experiment.k != int(experiment.k):
            yield (
                f"k = {experiment.k:g} is not allowed with architecture = {cls.architecture!r} and "
                f"d_sae = {experiment.d_sae}: it must be a whole number from 1 to d_sae."
            )

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(z) where z is among the k largest of its row, else 0."""
        return torch.relu(z) * self._kept(z)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1 where a feature is kept and above 0."""
        return self._kept(z) * (z > 0)

    def gating(self, norms: Tensor | None, gradients: Sequence[Tensor]) -> Gating:
        """The largest of each row."""
        return OfRows(self.k, norms)

    def _kept(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z).scatter_(-1, z.topk(self.k, dim=-1).indices, 1.0)
