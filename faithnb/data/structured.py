"""Sources of base samples that suit layers whose circuits read several coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream
from faithnb.data.sampling import sample_base
from faithnb.data.sources import Sparse


class Structured(Sparse):
    """A source whose coordinates depend on each other."""

    multiple: int = 1
    """What ``d_in`` must be a multiple of."""

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A width that does not fit, and probes of a covariance, which is not known."""
        yield from super().refusals(experiment)
        if experiment.d_in % cls.multiple:
            yield (
                f"d_in = {experiment.d_in} is not allowed with data = {experiment.data!r}: it must "
                f"be a multiple of {cls.multiple}."
            )
        if experiment.probe == "covariance":
            yield (
                f"probe = 'covariance' is not allowed with data = {experiment.data!r}: its "
                "covariance is not known."
            )


class Pairs(Structured):
    """Coordinates 2k − 1 and 2k act together, with probability ``density``, and are then
    independent and U(−1, 1) each; else both are exactly 0."""

    name = "pairs"
    multiple = 2

    @property
    def uniforms(self) -> int:
        """One a coordinate, and one a pair."""
        return self.d_in * 3 // 2

    def draw(self, u: Float[Tensor, "*batch uniforms"]) -> Float[Tensor, "*batch d_in"]:
        """A pair's number decides whether it acts."""
        acts = (u[..., self.d_in :] < self._on(u)).to(u)
        return (2 * u[..., : self.d_in] - 1) * acts.repeat_interleave(2, -1)


class Rotated(Structured):
    """Sums of :func:`faithnb.data.structured.directions`, each of which acts with probability
    ``density``, then with a strength that is U(½, 3/2)."""

    name = "rotated"

    @property
    def uniforms(self) -> int:
        """One a direction."""
        return n_directions(self.d_in)

    def draw(self, u: Float[Tensor, "*batch uniforms"]) -> Float[Tensor, "*batch d_in"]:
        """One number decides whether a direction acts, and how strongly."""
        density = self._on(u)
        strength = torch.where(u < density, 1.5 - u / density, 0.0)
        return strength @ directions(self.d_in, device=u.device).to(u)


class TwoLayers(Structured):
    """What two layers in sequence read, (x_1, x_2): ``x_2 = x_1 + ½|x_1| + z``, where ``½|x_1|`` is
    what the first layer adds to the stream and z what else is added between them. x_1 and z are
    sparse uniform and independent. Without z the first layer would be linear on these data, as
    ``½|x_1| = x_2 − x_1``."""

    name = "two_layers"
    multiple = 2

    @property
    def uniforms(self) -> int:
        """One a coordinate of x_1, and of z."""
        return self.d_in

    def draw(self, u: Float[Tensor, "*batch uniforms"]) -> Float[Tensor, "*batch d_in"]:
        """x_1 and z, then x_2."""
        return in_sequence(*sample_base(u, self._on(u)).chunk(2, dim=-1))


def in_sequence(
    x: Float[Tensor, "*batch half"], z: Float[Tensor, "*batch half"] | float = 0.0
) -> Float[Tensor, "*batch d_in"]:
    """(x_1, x_2) from x_1 and what is added between the layers."""
    return torch.cat([x, x + x.abs() / 2 + z], dim=-1)


def n_directions(d: int) -> int:
    """How many directions there are in d dimensions: two thirds more than d."""
    return round(5 * d / 3)


@lru_cache(maxsize=8)
@settled()
def directions(d: int, seed: int = 0, device: torch.device | None = None) -> Float[Tensor, "n d"]:
    """Unit vectors in float64, more than dimensions and none along an axis: random ones that have
    pushed each other apart; kept on the device. To be read, not changed."""
    if device is not None:
        return directions(d, seed).to(device)
    found = torch.nn.functional.normalize(
        Stream([seed], "rotation").normal(1, (n_directions(d), d), torch.float64)[0], dim=-1
    )
    for _ in range(300):
        overlap = (found @ found.T).fill_diagonal_(0)
        found = torch.nn.functional.normalize(found - overlap.pow(5) @ found, dim=-1)
    return found
