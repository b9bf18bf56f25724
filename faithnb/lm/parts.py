"""What a transformer's blocks are made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faithnb.model.layer import Layer


@dataclass(eq=False)
class Norm:
    """Root-mean-square normalisation; with a bias, LayerNorm.

    Attributes:
        weight: what each coordinate is scaled by.
        eps: what is added to the mean square.
        bias: added at the end.
    """

    weight: Float[Tensor, "d_model"]
    eps: float
    bias: Float[Tensor, "d_model"] | None = None

    def __call__(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        if self.bias is None:
            return F.rms_norm(x, self.weight.shape, self.weight, self.eps)
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(eq=False)
class Rotary:
    """Rotary embedding: queries and keys are turned by angles that grow with the position.

    Attributes:
        frequencies: radians a position, one for each plane.
        interleaved: whether a plane is two neighbours; else coordinates i and i + d_head / 2.
    """

    frequencies: Float[Tensor, "half"]
    interleaved: bool

    def __call__(self, x: Float[Tensor, "batch head pos d_head"]) -> Tensor:
        positions = torch.arange(x.shape[-2], device=x.device, dtype=torch.float64)
        angle = positions[:, None] * self.frequencies.double()
        cos, sin = angle.cos().to(x), angle.sin().to(x)
        a, b = (x[..., ::2], x[..., 1::2]) if self.interleaved else x.chunk(2, -1)
        turned = a * cos - b * sin, b * cos + a * sin
        return torch.stack(turned, -1).flatten(-2) if self.interleaved else torch.cat(turned, -1)


@dataclass(eq=False)
class Linear:
    """``W x + b``."""

    W: Float[Tensor, "d_out d_in"]
    b: Float[Tensor, "d_out"] | None = None

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return F.linear(x, self.W, self.b)


@dataclass(eq=False)
class Block:
    """Attention and an MLP, each of the normalised residual stream; heads share keys and values in
    groups where there are fewer of those."""

    before_attention: Norm
    query: Linear
    key: Linear
    value: Linear
    out: Linear
    before_mlp: Norm
    mlp: Layer


def pattern(q: Tensor, k: Tensor) -> Float[Tensor, "batch head query key"]:
    """How much each position attends to those before it and itself."""
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
    return scores.masked_fill(ahead, -torch.inf).softmax(-1)
