"""Sparse layers other than the ReLU, one class each."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.transcoder import Transcoder


class TopK(Transcoder):
    """Of each input the ``k`` largest pre-activations are kept, as far as they are above 0."""

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

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(z) where z is among the k largest of its row, else 0."""
        return torch.relu(z) * self._kept(z)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1 where a feature is kept and above 0."""
        return self._kept(z) * (z > 0)

    def _kept(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z).scatter_(-1, z.topk(self.k, dim=-1).indices, 1.0)


class JumpReLU(Transcoder):
    """``h = ReLU(z)`` where z exceeds the feature's threshold, else 0.

    Args:
        threshold: ``[n_inst, d_sae]``, in units of z.
    """

    architecture = "jumprelu"
    own_axes: ClassVar = {"threshold": ("d_sae",)}
    trainable = False

    threshold: torch.nn.Parameter

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """ReLU(z) · 1[z > θ]."""
        return torch.relu(z) * (z > self.threshold[:, None])

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1[z > θ] where z > 0; the jump itself has no slope."""
        return (z > self.threshold[:, None].clamp(min=0)).to(z)


class Gated(Transcoder):
    """A gate decides which features are on, and a magnitude by how much: with the gate's
    pre-activation π = z, ``h = 1[π > 0] · ReLU(e^r_mag · (π − b_enc) + b_mag)``.

    Args:
        b_enc: ``[n_inst, d_sae]``, the gate's bias.
        r_mag: ``[n_inst, d_sae]``, the logarithm of the magnitude's scale.
        b_mag: ``[n_inst, d_sae]``, the magnitude's bias.
    """

    architecture = "gated"
    own_axes: ClassVar = {"r_mag": ("d_sae",), "b_mag": ("d_sae",)}
    trainable = False

    r_mag: torch.nn.Parameter
    b_mag: torch.nn.Parameter

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1[π > 0] · ReLU(magnitude)."""
        return torch.relu(self._magnitude(z)) * (z > 0)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """e^r_mag where gate and magnitude are on; the gate itself has no slope."""
        return self.r_mag.exp()[:, None] * ((z > 0) & (self._magnitude(z) > 0))

    def _magnitude(self, z: Tensor) -> Tensor:
        return self.r_mag.exp()[:, None] * (z - self.b_enc[:, None]) + self.b_mag[:, None]
