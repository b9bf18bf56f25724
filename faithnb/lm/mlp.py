"""A language model's MLPs as layers to explain."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faithnb.model.layer import Layer


class SwiGLU(Layer):
    """``W_d (silu(W_g x) ∘ W_u x)``, of normalised inputs.

    A neuron multiplies two numbers that it reads, so the layer is not made of scalar units, and
    which circuits it consists of is not known.

    Args:
        W_gate: what the gates read.
        W_up: what they are multiplied with.
        W_down: what is written.
        name: for tables.
    """

    def __init__(
        self,
        W_gate: Float[Tensor, "d_mlp d_in"],
        W_up: Float[Tensor, "d_mlp d_in"],
        W_down: Float[Tensor, "d_out d_mlp"],
        name: str = "mlp",
    ):
        self.W_gate, self.W_up, self.W_down = W_gate, W_up, W_down
        self.d_in, self.d_out = W_gate.shape[1], W_down.shape[0]
        self.name = name  # type: ignore[misc]

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return F.linear(self.neurons(x), self.W_down.to(x))

    def neurons(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """``silu(W_g x) ∘ W_u x``: what ``W_d`` writes."""
        return F.silu(F.linear(x, self.W_gate.to(x))) * F.linear(x, self.W_up.to(x))

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """``W_d (silu'(g) ∘ u ∘ W_g v + silu(g) ∘ W_u v)`` with ``g = W_g x`` and ``u = W_u x``."""
        W_gate, W_up, W_down = (w.to(x) for w in (self.W_gate, self.W_up, self.W_down))
        g, u = F.linear(x, W_gate), F.linear(x, W_up)
        on = torch.sigmoid(g)
        of_gate = on * (1 + g * (1 - on)) * u * F.linear(v, W_gate)
        return F.linear(of_gate + g * on * F.linear(v, W_up), W_down)


class GeluMLP(Layer):
    """``W_out gelu(W_in x + b_in) + b_out``, of normalised inputs, as in GPT-2.

    Args:
        W_in: what the neurons read.
        b_in: their biases.
        W_out: what they write.
        b_out: what is added.
        tanh: whether GELU is its approximation by a tanh, as GPT-2 has it.
        name: for tables.
    """

    def __init__(
        self,
        W_in: Float[Tensor, "d_mlp d_in"],
        b_in: Float[Tensor, "d_mlp"],
        W_out: Float[Tensor, "d_out d_mlp"],
        b_out: Float[Tensor, "d_out"],
        tanh: bool = True,
        name: str = "mlp",
    ):
        self.W_in, self.b_in, self.W_out, self.b_out, self.tanh = W_in, b_in, W_out, b_out, tanh
        self.d_in, self.d_out = W_in.shape[1], W_out.shape[0]
        self.units = W_in, W_out.T
        self.name = name  # type: ignore[misc]

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return F.linear(self.neurons(x), self.W_out.to(x), self.b_out.to(x))

    def pre(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """What the neurons are given."""
        return F.linear(x, self.W_in.to(x), self.b_in.to(x))

    def neurons(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """``gelu(W_in x + b_in)``: what ``W_out`` writes."""
        return F.gelu(self.pre(x), approximate="tanh" if self.tanh else "none")

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """The derivative of each neuron."""
        z = self.pre(x)
        if not self.tanh:
            density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
            return (1 + torch.erf(z / 2**0.5)) / 2 + z * density
        scale, cube = (2 / torch.pi) ** 0.5, 0.044715
        t = torch.tanh(scale * (z + cube * z**3))
        return (1 + t) / 2 + z / 2 * (1 - t.square()) * scale * (1 + 3 * cube * z.square())

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """``W_out (gelu' ∘ W_in v)``."""
        return F.linear(self.slope(x) * F.linear(v, self.W_in.to(x)), self.W_out.to(x))
