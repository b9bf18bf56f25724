"""What is explained: a layer f, the action of its Jacobian, and the circuits it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

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

    Its Jacobian is ``J(x) = Σ_k slope_k(x) · write_k read_kᵀ`` with ``read [d_hidden, d_in]``
    and ``write [d_hidden, d_out]``, so whoever knows ``slope`` knows the Jacobian.
    """

    name: str
    d_in: int
    d_out: int
    kink: Kink

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
        basis = torch.eye(self.d_in)
        return [
            Circuit(f"ReLU({symbol}x{i + 1})", sign * basis[i], basis[i])
            for symbol, sign in (("+", 1.0), ("−", -1.0))
            for i in range(self.d_in)
        ]


TARGETS = {AbsoluteValue.name: AbsoluteValue}
"""Targets by the name that ``Experiment.target`` takes."""
