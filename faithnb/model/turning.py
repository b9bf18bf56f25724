"""Layers and transcoders in a rotated basis."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.data.turning import rotation
from faithnb.model.layer import Circuit, Layer
from faithnb.model.transcoder import Transcoder


class TurnedLayer(Layer):
    """Another layer with inputs and outputs rotated: ``x ↦ f(x Rᵀ) R``, by the same R where it has
    as many outputs as inputs.

    Args:
        upright: the other layer f.
        turn: the seed of the rotation, at least 1.
    """

    def __init__(self, upright: Layer, turn: int):
        self.upright, self.kink = upright, upright.kink
        self.d_in, self.d_out = upright.d_in, upright.d_out
        self.name = getattr(upright, "name", type(upright).__name__)  # type: ignore[misc]
        self.of_inputs = rotation(turn, self.d_in, upright.n_layers)
        self.of_outputs = rotation(turn, self.d_out, upright.n_layers)
        read, write = self.of_inputs, self.of_outputs
        if upright.units is not None:
            read, write = (w.double().cpu() for w in upright.units)
            read, write = read @ self.of_inputs, write @ self.of_outputs
        self.units = read, write

    def _upright(self, x: Tensor) -> Tensor:
        return x @ self.of_inputs.T.to(x)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        y = self.upright(self._upright(x))
        return y @ self.of_outputs.to(y)

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """Of the units, which are the same."""
        return self.upright.slope(self._upright(x))

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The other layer's, rotated."""
        found = self.upright.jvp(self._upright(x), self._upright(v))
        return found @ self.of_outputs.to(found)

    def circuits(self) -> list[Circuit]:
        """The other layer's, rotated."""
        return [
            replace(c, read=_by(c.read, self.of_inputs), write=_by(c.write, self.of_outputs))
            for c in self.upright.circuits()
        ]


def turned_layer(layer: Layer, turn: int) -> Layer:
    """The layer itself if ``turn`` is 0."""
    return TurnedLayer(layer, turn) if turn else layer


@torch.no_grad()
def upright(transcoder: Transcoder, turn: int, n_layers: int) -> Transcoder:
    """What a transcoder of rotated inputs and outputs is of those before the rotation: the map
    ``x ↦ transcoder(x R) Rᵀ``, with the same features; itself if ``turn`` is 0."""
    if turn == 0:
        return transcoder
    weights = dict(transcoder.weights())
    for name, axes in transcoder.axes.items():
        for axis, size in ("d_in", transcoder.d_in), ("d_out", transcoder.d_out):
            if axis in axes:
                at = axes.index(axis) + 1
                along = weights[name].movedim(at, -1).double()
                back = along @ rotation(turn, size, n_layers).T.to(along)
                weights[name] = back.to(weights[name]).movedim(-1, at).contiguous()
    return transcoder.with_weights(weights)


def _by(weight: Tensor, matrix: Tensor) -> Tensor:
    return (weight.double() @ matrix.to(weight.device)).to(weight)
