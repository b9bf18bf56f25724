"""Layers that are sums of circuits which read several coordinates, or write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.structured import directions
from faithnb.model.layer import Circuit, Kink
from faithnb.model.layers import Units


class Sum(Units):
    """``y = Σ_k write_k · act_k(read_k · x − threshold_k)``, where act_k is a ReLU, or the absolute
    value, which is two circuits. A subclass says its :meth:`parts`.

    Args:
        d_in: number of inputs, and of outputs.
        kink: how the derivative of a unit is read exactly at its kink. ``"masked"`` leaves out
            entries of the Jacobian's diagonal only.

    Raises:
        ValueError: if ``d_in`` is not what the layer is made for.
    """

    multiple: ClassVar[int] = 1
    """What ``d_in`` must be a multiple of."""

    least: ClassVar[int] = 1
    """The least ``d_in`` otherwise."""

    @settled()
    def __init__(self, d_in: int, kink: Kink = "zero"):
        if not self._fits(d_in):
            raise ValueError(f"d_in = {d_in} is not allowed: it must be {self._widths()}.")
        self.d_in = self.d_out = d_in
        self.kink = kink
        read, write, self.threshold, self.absolute = self.parts(d_in)
        self.units = read, write

    @staticmethod
    def parts(d_in: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``read [d_hidden, d_in]``, ``write [d_hidden, d_in]``, ``threshold [d_hidden]``, and
        whether each is an absolute value, ``[d_hidden]``."""
        raise NotImplementedError

    @classmethod
    def _fits(cls, d_in: int) -> bool:
        return d_in >= cls.least and d_in % cls.multiple == 0

    @classmethod
    def _widths(cls) -> str:
        return f"at least {cls.least}" if cls.multiple == 1 else f"a multiple of {cls.multiple}"

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A width that it is not made for."""
        yield from super().refusals(experiment)
        if not cls._fits(experiment.d_in):
            yield (
                f"d_in = {experiment.d_in} is not allowed with target = {experiment.target!r}: it "
                f"must be {cls._widths()}."
            )

    def pre(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """What the units are given."""
        return x @ self.units[0].to(x).T - self.threshold.to(x)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        z = self.pre(x)
        return torch.where(self.absolute.to(x.device), z.abs(), z.relu()) @ self.units[1].to(x)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """The sign of what a unit is given; 0 for a ReLU below its threshold."""
        z = self.pre(x)
        sign = z.sign() + (z == 0) if self.kink == "one" else z.sign()
        return torch.where(self.absolute.to(x.device), sign, sign.relu())

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Under ``kink="masked"`` where a unit that reads and writes coordinate i is at its kink;
        nowhere otherwise."""
        if self.kink != "masked":
            return torch.zeros_like(x, dtype=torch.bool)
        of_diagonal = self.units[0] * self.units[1] != 0
        return (self.pre(x) == 0).to(x) @ of_diagonal.to(x) > 0

    def written_at(self, p: Float[Tensor, "d_in"]) -> Float[Tensor, "n d_out"]:
        """What the units that act at p write."""
        write = self.units[1].to(p)[self.pre(p) * self.slope(p) > 0]
        return torch.nn.functional.normalize(write, dim=-1)

    def circuits(self) -> list[Circuit]:
        """One a ReLU, two an absolute value."""
        found = []
        every = zip(*self.units, self.threshold.tolist(), self.absolute.tolist(), strict=True)
        for k, (read, write, threshold, is_absolute) in enumerate(every, start=1):
            found.append(Circuit(f"unit {k}", read, write, threshold))
            if is_absolute:
                found.append(Circuit(f"unit {k}, below", -read, write, -threshold))
        return found


class Rotated(Sum):
    """Circuits that nothing aligns with an axis, two thirds more than dimensions:
    ``y = Σ_k w_k ReLU(r_k · x − ½)``. The r_k are the :func:`faithnb.data.structured.directions`
    that data of that name are sums of, the w_k are other ones. Directions overlap so little that
    one of strength 3/2 alone reaches the threshold of no other."""

    name = "rotated"
    least = 4

    @staticmethod
    def parts(d_in: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One ReLU a direction."""
        read = directions(d_in).float()
        n = len(read)
        return read, directions(d_in, 1).float(), torch.full((n,), 0.5), torch.zeros(n).bool()


class Combinations(Sum):
    """Circuits of two inputs, over groups of four coordinates (a, b, c, d):

    * ``max(|a|, |b|) = ½|a + b| + ½|a − b|``, the larger magnitude,
    * ``½|a + b| − ½|a − b|``, which is the product of the signs times the smaller magnitude: the
      product of signs itself jumps, and is no sum of ReLU circuits,
    * ``2 ReLU(c + d − 1)``, which is AND: it needs c and d,
    * ``2 ReLU(|d| − ½)``, a threshold on either side.

    Those are its outputs, in this order. Each of its circuits has a part of the (a, b) plane, or of
    the (c, d) plane, where it acts.
    """

    name = "combinations"
    multiple = 4

    @staticmethod
    def parts(d_in: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Two absolute values and three ReLUs a group."""
        read = [[1, 1, 0, 0], [1, -1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, -1]]
        write = [[0.5, 0.5, 0, 0], [0.5, -0.5, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 0, 0, 2]]
        groups = torch.eye(d_in // 4)
        return (
            torch.kron(groups, torch.tensor(read, dtype=torch.float32)),
            torch.kron(groups, torch.tensor(write, dtype=torch.float32)),
            torch.tensor([0, 0, 1, 0.5, 0.5]).repeat(d_in // 4),
            torch.tensor([1, 1, 0, 0, 0]).bool().repeat(d_in // 4),
        )


class TwoLayers(Sum):
    """Two layers in sequence as one: from (x_1, x_2), what each layer reads, to
    ``(½|x_1|, |x_2|)``, what each adds to the stream. That x_2 has ``x_1 + ½|x_1|`` in it is for
    the data to say (:class:`faithnb.data.structured.TwoLayers`), so the layer is defined for any
    x_2. No circuit of one layer reads or writes in the other."""

    name = "two_layers"
    n_layers = multiple = 2

    @staticmethod
    def parts(d_in: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One absolute value a coordinate."""
        scale = torch.tensor([0.5, 1.0]).repeat_interleave(d_in // 2)
        own = torch.eye(d_in)
        return own, scale.diag(), torch.zeros(d_in), torch.ones(d_in).bool()
