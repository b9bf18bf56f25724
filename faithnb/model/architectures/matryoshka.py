"""Features in an order: the first of them must do alone, and more of them better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.model.architectures.batch_topk import BatchTopK
from faithnb.model.gating import Gating, OfBatch

SHARES = (1 / 8, 1 / 4, 1 / 2)
"""How large the nested prefixes are, in shares of all features, besides all of them."""


class Matryoshka(BatchTopK):
    """A BatchTopK whose loss is summed over nested prefixes of its features.

    After Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders"
    (2025). In use it is a BatchTopK.
    """

    architecture = "matryoshka"

    @property
    def prefixes(self) -> list[int]:
        """Sizes of the prefixes besides the whole."""
        return sorted({max(1, round(share * self.d_sae)) for share in SHARES} - {self.d_sae})

    def gating(self, norms: Tensor | None, gradients: Sequence[Tensor]) -> Gating:
        """The largest of the batch, with the errors of the prefixes."""
        return OfBatch(self.least_not_kept, norms, self.prefixes)

    def auxiliary(
        self,
        z: Float[Tensor, "n_inst B d_sae"],
        h: Float[Tensor, "n_inst B d_sae"],
        x: Float[Tensor, "*inst B d_in"],
        y: Float[Tensor, "*inst B d_out"],
    ) -> Float[Tensor, "n_inst B"]:
        """Σ over prefixes of ‖ŷ − y‖², ŷ of the prefix alone; bias and linear part in each."""
        total = torch.zeros_like(h[..., 0])
        for n in self.prefixes:
            y_hat = h[..., :n] @ self.W_dec[:, :n] + self.b_dec[:, None]
            total = total + (self.with_linear(y_hat, x) - y).square().sum(-1)
        return total
