"""Features with two readings: one decides whether they are on, the other how much."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.model.transcoder import Transcoder


class Gated(Transcoder):
    """``h = 1[π > 0] · ReLU(e^r ∘ (x W_enc) + b_mag)`` with the gate's own reading ``π = x W_enc +
    b_enc``.

    After Rajamanoharan et al., "Improving dictionary learning with gated sparse autoencoders"
    (2024). A penalty sees ReLU(π), and the loss has the error of ReLU(π) W_dec besides, in which
    the decoder is a constant, because no gradient passes a gate.

    Args:
        r_mag: ``[n_inst, d_sae]``, logarithms of the factors between the two readings.
        b_mag: ``[n_inst, d_sae]``, biases of how much.
    """

    architecture = "gated"
    own_axes: ClassVar = {"r_mag": ("d_sae",), "b_mag": ("d_sae",)}

    r_mag: torch.nn.Parameter
    b_mag: torch.nn.Parameter

    def _magnitude(self, z: Tensor) -> Tensor:
        return self.r_mag.exp()[:, None] * (z - self.b_enc[:, None]) + self.b_mag[:, None]

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """How much, where the gate is open."""
        return torch.relu(self._magnitude(z)) * (z > 0)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """e^r where a feature is on."""
        on = (z > 0) & (self._magnitude(z) > 0)
        return on * self.r_mag.exp()[:, None]

    def penalised(
        self, z: Float[Tensor, "n_inst B d_sae"], h: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(π)."""
        return torch.relu(z)

    def auxiliary(
        self,
        z: Float[Tensor, "n_inst B d_sae"],
        h: Float[Tensor, "n_inst B d_sae"],
        x: Float[Tensor, "*inst B d_in"],
        y: Float[Tensor, "*inst B d_out"],
    ) -> Float[Tensor, "n_inst B"]:
        """‖ReLU(π) W_dec + b_dec + x W_skip − y‖², by which the gates learn; the decoder and the
        linear part are constants."""
        y_hat = torch.relu(z) @ self.W_dec.detach() + self.b_dec[:, None]
        if self.W_skip is not None:
            y_hat = y_hat + self._cast(x) @ self.W_skip.detach()
        return (y_hat - y).square().sum(-1)
