"""Layers that were trained: one hidden layer towards ``|x|``, with whatever errors it then has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, ClassVar, Self

import torch
import xarray as xr
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.files import PACKAGE
from faithnb.common.meaning import meaning
from faithnb.common.store import Rows
from faithnb.data.rng import Stream
from faithnb.data.sampling import sample_base
from faithnb.model.layer import Circuit, Kink, Layer
from faithnb.model.layers import AbsoluteValue, Units


class Network(Units):
    """A hidden layer trained towards ``|x|`` on sparse data (density 0.05), without any penalty.

    What it then computes, errors included, is the layer to explain.

    Args:
        read: ``[d_hidden, d_in]``, what each neuron reads.
        bias: ``[d_hidden]``.
        write: ``[d_hidden, d_in]``, what each writes.
        kink: of no effect; no unit has its kink where the data sits.
    """

    neurons_per_coordinate: ClassVar[float]

    def __init__(self, read: Tensor, bias: Tensor, write: Tensor, kink: Kink = "zero"):
        self.units, self.bias, self.kink = (read, write), bias, kink
        self.d_in = self.d_out = read.shape[1]

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A width in which it has too few neurons."""
        yield from super().refusals(experiment)
        if experiment.d_in < 2:
            yield (
                f"d_in = {experiment.d_in} is not allowed with target = "
                f"{experiment.target!r}: it must be at least 2."
            )

    @classmethod
    def of_experiment(cls, d_in: int, points: Float[Tensor, "n_points d_in"], kink: Kink) -> Layer:
        """The trained network of that width."""
        return cls.trained(d_in, kink)

    @classmethod
    def trained(cls, d_in: int, kink: Kink = "zero") -> Self:
        """The network of a width, at least 2: from ``networks`` in the folder that
        ``$FAITHNB_STORE`` names; if it is not there, it is trained, in seconds, and kept."""
        return cls(*_kept(cls, d_in), kink=kink)  # type: ignore[arg-type]

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


class SuperposedOnce(Superposed):
    """The :class:`faithnb.model.networks.Superposed` layer of width 16 as it was trained once, from
    a file. It is the same on every machine; trained anew it differs in what rounding becomes over a
    training."""

    name = "superposed_once"
    files = (str(PACKAGE / "model" / "superposed_once.safetensors"),)
    width: ClassVar[int] = 16

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Another width."""
        yield from super().refusals(experiment)
        if experiment.d_in != cls.width:
            yield (
                f"d_in = {experiment.d_in} is not allowed with target = "
                f"{experiment.target!r}: it must be {cls.width}."
            )

    @classmethod
    def trained(cls, d_in: int, kink: Kink = "zero") -> Self:
        """The layer, read from its file.

        Raises:
            ValueError: if ``d_in`` is not 16.
        """
        if d_in != cls.width:
            raise ValueError(f"d_in = {d_in} is not allowed: it must be {cls.width}.")
        held = load_file(cls.files[0])
        return cls(held["read"], held["bias"], held["write"], kink)


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


class Networks(Rows):
    """Trained networks, a row each."""

    kind = "networks"


@cache
def _kept(of: Any, d_in: int) -> tuple[Tensor, Tensor, Tensor]:
    """Encoder rows ``[d_hidden, d_in]``, biases and decoder rows of a network, found or trained."""
    d_hidden = int(of.neurons_per_coordinate * d_in)
    shapes = {"read": (1, d_hidden, d_in), "bias": (1, d_hidden), "write": (1, d_hidden, d_in)}

    def fits(at: list[int], rows: xr.Dataset) -> None:
        if {name: rows[name].shape for name in rows.data_vars} != shapes:
            raise ValueError("it has other arrays")

    about = f"{of.name} {d_in} {torch.__version__} {_SOURCE}"
    key, store = hashlib.sha256(about.encode()).hexdigest()[:32], Networks()
    if found := store.find([key], fits):
        ((_, rows),) = found
        read, bias, write = (torch.from_numpy(rows[name].values[0].copy()) for name in shapes)
        return read, bias, write
    weights = _train(of.act, d_in, d_hidden)
    axes = ("inst", "unit", "in")
    store.save([key], xr.Dataset({
        name: (axes[: 1 + weight.ndim], weight[None].numpy())
        for name, weight in zip(shapes, weights, strict=True)
    }))  # fmt: skip
    return weights


_SOURCE = "".join(
    meaning((PACKAGE / f"{name}.py").read_bytes())
    for name in ("model/networks", "data/rng", "data/sampling", "common/ambient")
)


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
