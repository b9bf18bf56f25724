"""Layers that were trained: one hidden layer towards ``|x|``, with whatever errors it then has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream
from faithnb.data.sampling import sample_base
from faithnb.model.layers import AbsoluteValue, Circuit, Kink, Units


class Network(Units):
    """A hidden layer trained towards ``|x|`` on sparse data (density 0.05), without any penalty.

    What it then computes, errors included, is the layer to explain. Training takes seconds, once.

    Args:
        d_in: number of coordinates, at least 2.
        kink: of no effect; no unit has its kink where the data sits.
    """

    name: str
    neurons_per_coordinate: float

    def __init__(self, d_in: int, kink: Kink = "zero"):
        read, self.bias, write = _train(self.act, d_in, int(self.neurons_per_coordinate * d_in))
        self.d_in = self.d_out = d_in
        self.kink = kink
        self.units = read, write

    @staticmethod
    def act(z: Tensor) -> Tensor:
        """The nonlinearity."""
        raise NotImplementedError

    @staticmethod
    def act_slope(z: Tensor) -> Tensor:
        """Its derivative."""
        raise NotImplementedError

    def pre(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """What the neurons are given."""
        return x @ self.units[0].to(x).T + self.bias.to(x)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return self.act(self.pre(x)) @ self.units[1].to(x)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """The derivative of each neuron."""
        return self.act_slope(self.pre(x))

    def circuits(self) -> list[Circuit]:
        """The 2·d_in circuits of ``|x|``."""
        return AbsoluteValue(self.d_in).circuits()


class Superposed(Network):
    """A ReLU layer that computes ``|x|`` in superposition: a :class:`Network` with 3/4 of the
    neurons that the exact solution needs."""

    name = "superposed"
    neurons_per_coordinate = 1.5

    @staticmethod
    def act(z: Tensor) -> Tensor:
        """ReLU."""
        return torch.relu(z)

    @staticmethod
    def act_slope(z: Tensor) -> Tensor:
        """1 where a neuron is on."""
        return (z > 0).to(z)

    def sharing(self) -> tuple[float, float]:
        """How many neurons are on when a single coordinate is active, and for how many of the
        signed coordinates a neuron is on; means."""
        alone = torch.cat([torch.eye(self.d_in), -torch.eye(self.d_in)])
        on = self.slope(alone) > 0
        return on.sum(1).double().mean().item(), on.sum(0).double().mean().item()

    def circuits(self) -> list[Circuit]:
        """Its neurons."""
        return [
            Circuit(f"neuron {k + 1}", r, w, -b.item())
            for k, (r, b, w) in enumerate(zip(self.units[0], self.bias, self.units[1], strict=True))
        ]


class GeluNetwork(Network):
    """A GELU layer trained towards ``|x|``, with four neurons a coordinate: a
    :class:`faithnb.model.networks.Network` without a kink anywhere.

    It is no sum of ReLU circuits; its circuits are given as those of ``|x|``, which it is near.
    """

    name = "gelu_network"
    neurons_per_coordinate = 4

    @staticmethod
    def act(z: Tensor) -> Tensor:
        """GELU."""
        return torch.nn.functional.gelu(z)

    @staticmethod
    def act_slope(z: Tensor) -> Tensor:
        """Φ(z) + z φ(z)."""
        density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
        return (1 + torch.erf(z / 2**0.5)) / 2 + z * density


@cache
@settled()
def _train(
    act: Callable[[Tensor], Tensor], d_in: int, d_hidden: int, steps: int = 4000
) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder rows ``[d_hidden, d_in]``, biases and decoder rows of a network."""
    start = Stream([0], "init")
    read = start.normal(0, (d_hidden, d_in))[0] / d_in**0.5
    write = start.normal(1, (d_hidden, d_in))[0] / d_hidden**0.5
    weights = [w.requires_grad_() for w in (read, torch.zeros(d_hidden), write)]
    optimiser = torch.optim.Adam(weights, lr=3e-3, fused=True)
    stream = Stream([0], "data")
    with torch.enable_grad():
        for step in range(steps):
            x = sample_base(stream.uniform(step, (512, d_in))[0], 0.05)
            y = act(x @ read.T + weights[1]) @ write
            optimiser.param_groups[0]["lr"] = 3e-3 * min(1.0, 2 * (steps - step) / steps)
            optimiser.zero_grad()
            (y - x.abs()).square().sum(-1).mean().backward()
            optimiser.step()
    return weights[0].detach(), weights[1].detach(), weights[2].detach()
