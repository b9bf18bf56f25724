"""What is explained: a layer f, the action of its Jacobian, and the circuits it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream
from faithnb.data.sampling import sample_base

Kink = Literal["zero", "masked", "one"]
"""How the derivative of a kinked activation is read exactly at its kink.

``zero``: 0, torch's own convention and the subgradient of least norm.
``masked``: 0 too, and the undefined entry is left out of every comparison of Jacobians.
``one``: +1, the derivative from the right; a caution, not a recommendation.
"""


@dataclass(frozen=True, eq=False)
class Circuit:
    """One mechanism that adds ``write · ReLU(read · x − threshold)`` to the output.

    Attributes:
        name: a label for axes and tables.
        read: what it reads from the input, shape ``[d_in]``.
        write: what it writes to the output, shape ``[d_out]``.
        threshold: how far ``read · x`` must rise before the circuit acts.
    """

    name: str
    read: Tensor
    write: Tensor
    threshold: float = 0.0

    def activation(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch"]:
        """How strongly the circuit acts on x: ``ReLU(read · x − threshold)``."""
        return torch.relu(x @ self.read.to(x) - self.threshold)

    def contribution(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """What the circuit adds to the output: the note's ``y|_f(x) = W_down f(x)``."""
        return self.activation(x)[..., None] * self.write.to(x)


class Target(Protocol):
    """A layer to explain: one hidden layer of ``d_hidden`` units, each a scalar nonlinearity.

    Its Jacobian is ``J(x) = Σ_k slope_k(x) · write_k read_kᵀ``, so whoever knows ``slope`` and
    ``units`` knows the Jacobian.
    """

    name: str
    d_in: int
    d_out: int
    kink: Kink

    @property
    def units(self) -> tuple[Tensor, Tensor] | None:
        """``read [d_hidden, d_in]`` and ``write [d_hidden, d_out]``; ``None`` if unit k reads and
        writes coordinate k."""
        ...

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]: ...

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """The derivative of each hidden unit at x, by the kink convention."""
        ...

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Diagonal entries (i, i) of the Jacobian left out of comparisons at x."""
        ...

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """J(x) v, the directional derivative."""
        ...

    def jacobian(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out d_in"]:
        """J(x) as a matrix: rows are outputs, columns inputs."""
        ...

    def circuits(self) -> list[Circuit]:
        """The mechanisms the layer really consists of."""
        ...


class AbsoluteValue:
    """The note's model: ``y = |x|``, coordinate by coordinate.

    It *is* a ReLU network, ``y_i = ReLU(x_i) + ReLU(−x_i)``, and those 2·d_in ReLU neurons are
    its circuits. Its derivative is the sign of x_i; at x_i = 0, where most coordinates of sparse
    data sit, it does not exist and ``kink`` chooses.

    Args:
        d_in: number of coordinates, at least 1.
        kink: ``"zero"``, ``"masked"`` or ``"one"``, see :data:`Kink`.

    Raises:
        ValueError: if ``d_in`` is below 1 or ``kink`` is unknown.
    """

    name = "abs"
    units: tuple[Tensor, Tensor] | None = None

    def __init__(self, d_in: int, kink: Kink = "zero"):
        if d_in < 1:
            raise ValueError(f"d_in = {d_in} is not allowed: at least one coordinate is needed.")
        if kink not in get_args(Kink):
            raise ValueError(f"kink = {kink!r} is not allowed: use one of {get_args(Kink)}.")
        self.d_in = self.d_out = d_in
        self.kink = kink

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x.abs()

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """sign(x), with the kink convention at 0. One hidden unit a coordinate."""
        sign = x.sign()
        return sign + (x == 0) if self.kink == "one" else sign

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Where x_i = 0 under ``kink="masked"``; nowhere otherwise."""
        return x == 0 if self.kink == "masked" else torch.zeros_like(x, dtype=torch.bool)

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """J(x) v = sign(x) ∘ v."""
        return self.slope(x) * v

    def jacobian(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in d_in"]:
        """J(x) = diag(sign(x))."""
        return torch.diag_embed(self.slope(x))

    def circuits(self) -> list[Circuit]:
        """The 2·d_in true circuits, ``ReLU(+x_1), …, ReLU(+x_d), ReLU(−x_1), …, ReLU(−x_d)``."""
        basis = torch.eye(self.d_in, dtype=torch.float32, device="cpu")
        return [
            Circuit(f"ReLU({symbol}x{i + 1})", sign * basis[i], basis[i])
            for symbol, sign in (("+", 1.0), ("−", -1.0))
            for i in range(self.d_in)
        ]


class SmoothAbsolute(AbsoluteValue):
    """``y = [gelu(βx) + gelu(−βx)] / β`` with β = 4: ``|x|`` without its kink.

    Its derivative, 2Φ(βx) − 1 + 2βx φ(βx), is 0 at 0 and defined there, so the conventions of
    ``kink`` have no effect. It is no ReLU network; its circuits are given as those of ``|x|``,
    which it is near.
    """

    name = "smooth_abs"
    beta = 4.0

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x * torch.erf(self.beta * x / 2**0.5)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """The derivative of each coordinate."""
        t = self.beta * x
        return torch.erf(t / 2**0.5) + t * torch.exp(-t.square() / 2) * (2 / torch.pi) ** 0.5

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Nowhere."""
        return torch.zeros_like(x, dtype=torch.bool)


class Units:
    """What targets made of units share; ``slope``, ``ignored`` and the units are their own."""

    d_in: int
    units: tuple[Tensor, Tensor]

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        raise NotImplementedError

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """J(x) v = Σ_k slope_k(x) (read_k · v) write_k."""
        read, write = (w.to(x) for w in self.units)
        return ((v @ read.T) * self.slope(x)) @ write

    def jacobian(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out d_in"]:
        """J(x) = Σ_k slope_k(x) write_k read_kᵀ."""
        read, write = (w.to(x) for w in self.units)
        return (write.T * self.slope(x)[..., None, :]) @ read


class WithPoint(Units):
    """A layer that does have a mechanism for p: ``y = |x| + p · ReLU(p · x − ⅔ p · p)``.

    The control for a remedy against datapoint features: here such a feature is faithful. At p the
    Jacobian, on p's coordinates, is I + ppᵀ (for p of ones). For three ones the threshold is 2,
    which base data hardly ever reach.

    Args:
        d_in: number of coordinates.
        point: p, ``[d_in]``.
        kink: for the absolute value, as in :class:`AbsoluteValue`.
    """

    name = "abs_with_point"

    def __init__(self, d_in: int, point: Float[Tensor, "d_in"], kink: Kink = "zero"):
        self.absolute = AbsoluteValue(d_in, kink)
        self.d_in = self.d_out = d_in
        self.kink = kink
        self.circuit = Circuit("datapoint", point, point, 2 / 3 * (point @ point).item())
        own = torch.eye(d_in, dtype=torch.float32, device="cpu")
        both = torch.cat([own, point[None].float().cpu()])
        self.units = both, both

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return self.absolute(x) + self.circuit.contribution(x)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in+1"]:
        """Of the absolute values, then 1 where the mechanism for p acts."""
        acts = (self.circuit.activation(x) > 0).to(x)
        return torch.cat([self.absolute.slope(x), acts[..., None]], dim=-1)

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """As for the absolute value."""
        return self.absolute.ignored(x)

    def circuits(self) -> list[Circuit]:
        """The 2·d_in circuits of the absolute value, and the one for p."""
        return [*self.absolute.circuits(), self.circuit]


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

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Nowhere."""
        return torch.zeros_like(x, dtype=torch.bool)

    def circuits(self) -> list[Circuit]:
        """The 2·d_in circuits of ``|x|``."""
        return AbsoluteValue(self.d_in).circuits()


class Superposed(Network):
    """A ReLU layer that computes ``|x|`` in superposition: a
    :class:`faithnb.model.layers.Network` with 3/4 of the neurons that the exact solution needs."""

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

    def circuits(self) -> list[Circuit]:
        """Its neurons."""
        return [
            Circuit(f"neuron {k + 1}", r, w, -b.item())
            for k, (r, b, w) in enumerate(zip(self.units[0], self.bias, self.units[1], strict=True))
        ]


class GeluNetwork(Network):
    """A GELU layer trained towards ``|x|``, with four neurons a coordinate: a
    :class:`faithnb.model.layers.Network` without a kink anywhere.

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


def leading(
    target: Target, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
) -> Float[Tensor, "*batch d_in"]:
    """v projected onto the leading right singular vectors of the target's Jacobian at x, as many as
    x has coordinates that are not 0."""
    if target.units is None:  # the singular value is 1 on these coordinates, 0 on the others
        return v * (x != 0)
    J = target.jacobian(x)
    directions = torch.linalg.eigh(J.mT @ J).eigenvectors.flip(-1)
    kept = torch.arange(target.d_in, device=x.device) < (x != 0).sum(-1, keepdim=True)
    along = (v[..., None, :] @ directions)[..., 0, :] * kept
    return (directions @ along[..., None])[..., 0]


def make_target(name: str, d_in: int, points: Float[Tensor, "n_points d_in"], kink: Kink) -> Target:
    """The target that ``Experiment.target`` names.

    Raises:
        ValueError: if ``abs_with_point`` is not given exactly one point.
    """
    if name == WithPoint.name:
        if len(points) != 1:
            raise ValueError(f"target = {name!r} needs exactly one point, not {len(points)}.")
        return WithPoint(d_in, points[0], kink)
    plain: dict[str, type[AbsoluteValue | Network]] = {
        of.name: of for of in (AbsoluteValue, SmoothAbsolute, Superposed, GeluNetwork)
    }
    return plain[name](d_in, kink)


TARGETS = tuple(
    of.name for of in (AbsoluteValue, WithPoint, Superposed, SmoothAbsolute, GeluNetwork)
)
"""The names that ``Experiment.target`` takes."""
