"""A random rotation of inputs, so that no axis is special."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED
from faithnb.data.sources import Data


@lru_cache(maxsize=8)
@settled()
def rotation(
    seed: int, d: int, n_layers: int = 1, device: torch.device | None = None
) -> Float[Tensor, "d d"]:
    """A random orthogonal matrix, in float64; x becomes x R. To be read, not changed.

    Args:
        seed: at least 1; 0 is no rotation.
        d: its width.
        n_layers: in how many equal parts the coordinates stand, one a layer; all are rotated alike,
            as the stream is that the layers read and write.
        device: where it is kept; it does not change it.
    """
    if device is not None:
        return rotation(seed, d, n_layers).to(device)
    if n_layers > 1:
        return torch.block_diag(*[rotation(seed, d // n_layers)] * n_layers)
    if seed == 0:
        return torch.eye(d, dtype=torch.float64)
    normal = Stream([seed], "rotation").normal(0, (d, d), torch.float64)[0]
    Q, R = torch.linalg.qr(normal)
    return Q * R.diagonal().sign()


class TurnedData(Data):
    """Samples of another source, rotated.

    Args:
        upright: that source.
        turn: the seed of the rotation, at least 1.
        n_layers: see :func:`rotation`.
    """

    def __init__(self, upright: Data, turn: int, n_layers: int):
        self.upright, self.d_in = upright, upright.d_in
        self._rotation = turn, self.d_in, n_layers
        self.matrix = rotation(*self._rotation)

    @property
    def uniforms(self) -> int:
        """Those of the source."""
        return self.upright.uniforms

    def draw(self, u: Float[Tensor, "*batch uniforms"]) -> Float[Tensor, "*batch d_in"]:
        """The source's samples, rotated."""
        return self._turned(self.upright.draw(u))

    def evaluation(
        self, n: int = EVALUATED, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n d_in"]:
        """The source's, rotated."""
        return self._turned(self.upright.evaluation(n, dtype))

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """Rᵀ C R."""
        return self.matrix.T @ self.upright.covariance() @ self.matrix

    def directions(
        self, normal: Float[Tensor, "*batch d_in"], share: float | Tensor = 1.0
    ) -> Float[Tensor, "*batch d_in"]:
        """The source's, rotated."""
        return self._turned(self.upright.directions(normal, share))

    def _turned(self, x: Tensor) -> Tensor:
        return x @ rotation(*self._rotation, x.device).to(x)


def turned(data: Data, turn: int, n_layers: int) -> Data:
    """The source itself if ``turn`` is 0."""
    return TurnedData(data, turn, n_layers) if turn else data


def refusals_of_turn(experiment: Any) -> Iterator[str]:
    """A sentence for each choice of an experiment that looks at coordinates which its rotation
    mixes."""
    looks: dict[str, tuple[Any, ...]] = {
        "kink": ("masked",),
        "probe": ("active", "top_k"),
        "init": ("generalising", "memorising"),
    }
    for name, values in looks.items():
        if experiment.turn and (value := getattr(experiment, name)) in values:
            yield (
                f"turn = {experiment.turn} is not allowed with {name} = {value!r}: that looks at "
                "single coordinates, leave it at 0."
            )
