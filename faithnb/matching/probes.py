"""Distributions of the random direction v that sampled matching compares along, one class each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registered, Registry
from faithnb.data.rng import Stream
from faithnb.data.sources import Data
from faithnb.model.layer import Layer

PROBES: Registry[type[Probe]] = Registry("probe")
"""Every distribution that ``Experiment.probe`` may name."""


@dataclass(frozen=True)
class Drawing:
    """What a probe is drawn for: rows of a batch, for some streams and steps."""

    stream: Stream
    steps: range
    x: Float[Tensor, "n_steps n_streams rows d_in"]
    target: Layer
    data: Data
    points: Float[Tensor, "n_points d_in"]
    repeat_frac: Float[Tensor, "n_streams 1 1"]
    """The streams' own, where the probe asks for it; else 0."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and coordinates."""
        rows, d_in = self.x.shape[-2:]
        return rows, d_in

    def normal(self, more: int = 0) -> Tensor:
        """Standard normal numbers, a coordinate each and so many more."""
        rows, d_in = self.shape
        return self.stream.normal(self.steps, (rows, d_in + more), self.x.dtype)

    def signs(self) -> Tensor:
        """−1 or 1, a coordinate each."""
        return self.stream.signs(self.steps, self.shape, self.x.dtype)


class Probe(Registered):
    """A distribution of v. A subclass with a ``name`` can be asked for by an experiment."""

    registry = PROBES

    isotropic: ClassVar[bool] = False
    """Whether E v vᵀ = I, as the exact estimator has it."""
    of_mixture: ClassVar[bool] = False
    """Whether it depends on how often the points come."""

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """v, for every row."""
        raise NotImplementedError

    def refusals(self, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        if not self.isotropic and experiment.jacobian_estimator == "exact":
            yield (
                f"probe = {self.name!r} is not allowed with jacobian_estimator = 'exact': the "
                "exact form matches all directions alike, use 'sampled'."
            )


class Rademacher(Probe):
    """−1 or 1 on every coordinate."""

    name, isotropic = "rademacher", True

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """Signs."""
        return on.signs()


class Gaussian(Probe):
    """N(0, I)."""

    name, isotropic = "gaussian", True

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """Normal numbers."""
        return on.normal()


class Covariance(Probe):
    """Gaussian with E v vᵀ = E x xᵀ over the data, repeats included: (1 − r) times that of the base
    data, and r/n Σ p pᵀ."""

    name, of_mixture = "covariance", True

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """One normal number a coordinate and one a point."""
        r, n, d_in = on.repeat_frac, len(on.points), on.x.shape[-1]
        drawn = on.normal(n)
        of_base = on.data.directions(drawn[..., :d_in], 1 - r)
        return of_base + (r / n).sqrt() * drawn[..., d_in:] @ on.points

    def refusals(self, experiment: Any) -> Iterator[str]:
        """It knows exact repeats and data without noise."""
        yield from super().refusals(experiment)
        if experiment.point_variation != "none":
            yield (
                "probe = 'covariance' is not allowed with point_variation = "
                f"{experiment.point_variation!r}: it knows the covariance of exact repeats only."
            )
        if experiment.blur > 0:
            yield (
                f"probe = 'covariance' is not allowed with blur = {experiment.blur:g}: it knows "
                "the covariance of data without noise only."
            )


class Active(Probe):
    """Signs on the coordinates where x is not 0, and 0 elsewhere."""

    name = "active"

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """Signs, masked."""
        return on.signs() * (on.x != 0)


class TopK(Probe):
    """Signs projected onto as many leading right singular vectors of the layer's Jacobian at x as x
    has coordinates that are not 0."""

    name = "top_k"

    def draw(self, on: Drawing) -> Float[Tensor, "n_steps n_streams rows d_in"]:
        """Signs, projected."""
        return leading(on.target, on.x, on.signs())


def leading(
    target: Layer, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
) -> Float[Tensor, "*batch d_in"]:
    """v projected onto the leading right singular vectors of the target's Jacobian at x, as many as
    x has coordinates that are not 0."""
    if target.has_units() and target.units is None:  # 1 on these coordinates, 0 on the others
        return v * (x != 0)
    J = target.jacobian(x)
    # on the host: cuSOLVER fails at some 32,000 matrices, fewer than are drawn together on a GPU
    directions = torch.linalg.eigh((J.mT @ J).cpu()).eigenvectors.flip(-1).to(x)
    kept = torch.arange(target.d_in, device=x.device) < (x != 0).sum(-1, keepdim=True)
    along = (v[..., None, :] @ directions)[..., 0, :] * kept
    return (directions @ along[..., None])[..., 0]
