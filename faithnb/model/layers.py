"""Layers that are written down: the note's ``y = |x|``, the same without its kink, and the
identity, which makes a transcoder an autoencoder."""

from __future__ import annotations

from typing import get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.model.layer import Circuit, Kink, Layer


class Coordinatewise(Layer):
    """What layers share that map each coordinate by itself; ``slope`` is their own.

    Args:
        d_in: number of coordinates, at least 1.
        kink: ``"zero"``, ``"masked"`` or ``"one"``, see :data:`Kink`.

    Raises:
        ValueError: if ``d_in`` is below 1 or ``kink`` is unknown.
    """

    def __init__(self, d_in: int, kink: Kink = "zero"):
        if d_in < 1:
            raise ValueError(f"d_in = {d_in} is not allowed: at least one coordinate is needed.")
        if kink not in get_args(Kink):
            raise ValueError(f"kink = {kink!r} is not allowed: use one of {get_args(Kink)}.")
        self.d_in = self.d_out = d_in
        self.kink = kink

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """J(x) v = slope(x) ∘ v."""
        return self.slope(x) * v

    def jacobian(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in d_in"]:
        """J(x) = diag(slope(x))."""
        return torch.diag_embed(self.slope(x))

    def _half_lines(self, below: float) -> list[Circuit]:
        """``ReLU(x_i)`` written to coordinate i, then ``ReLU(−x_i)`` written to it ``below``
        times."""
        basis = torch.eye(self.d_in, dtype=torch.float32, device="cpu")
        return [
            Circuit(f"ReLU({symbol}x{i + 1})", sign * basis[i], written * basis[i])
            for symbol, sign, written in (("+", 1.0, 1.0), ("−", -1.0, below))
            for i in range(self.d_in)
        ]


class AbsoluteValue(Coordinatewise):
    """The note's model: ``y = |x|``, coordinate by coordinate.

    It *is* a ReLU network, ``y_i = ReLU(x_i) + ReLU(−x_i)``, and those 2·d_in ReLU neurons are
    its circuits. Its derivative is the sign of x_i; at x_i = 0, where most coordinates of sparse
    data sit, it does not exist and ``kink`` chooses.
    """

    name = "abs"

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x.abs()

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """sign(x), with the kink convention at 0. One hidden unit a coordinate."""
        sign = x.sign()
        return sign + (x == 0) if self.kink == "one" else sign

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Where x_i = 0 under ``kink="masked"``; nowhere otherwise."""
        return x == 0 if self.kink == "masked" else torch.zeros_like(x, dtype=torch.bool)

    def circuits(self) -> list[Circuit]:
        """The 2·d_in true circuits, ``ReLU(+x_1), …, ReLU(+x_d), ReLU(−x_1), …, ReLU(−x_d)``."""
        return self._half_lines(1.0)


class Identity(Coordinatewise):
    """``y = x``: a transcoder of it is an autoencoder, which represents and computes nothing.

    Its derivative is 1 everywhere, so the conventions of ``kink`` have no effect. It has no units
    of its own. Its circuits are the 2·d_in half-lines of a sparse representation with
    non-negative codes, ``x_i = ReLU(x_i) − ReLU(−x_i)``.
    """

    name = "identity"

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x.clone()

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """1."""
        return torch.ones_like(x)

    def circuits(self) -> list[Circuit]:
        """``ReLU(+x_i)``, which writes e_i, then ``ReLU(−x_i)``, which writes −e_i."""
        return self._half_lines(-1.0)


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


class Units(Layer):
    """What layers made of units share; ``slope`` and the units are their own."""

    units: tuple[Tensor, Tensor]

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
