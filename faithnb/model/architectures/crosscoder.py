"""One code for several layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.layer import LAYERS
from faithnb.model.transcoder import Transcoder


class Crosscoder(Transcoder):
    """ReLU features that read all of several layers' streams and write to all of these layers.

    After Lindsey et al., "Sparse crosscoders for cross-layer features and model diffing" (2024).
    Inputs are the streams side by side, ``(x_1, …, x_L)``, outputs what the layers add; layer
    ``"two_layers"`` is the target for it. The sparsity penalty weighs an activation with
    ``Σ_l ‖w_l‖`` over the parts of its decoder row, not with the norm of the whole row, so that a
    feature which writes to one layer costs less than one that writes as much to several.

    Args:
        n_layers: L, the number of layers; it divides d_in and d_out.
    """

    architecture = "crosscoder"
    settings: ClassVar = ("n_layers",)

    split: ClassVar[tuple[str, ...]] = ("d_in", "d_out")
    """The axes that are made of one part a layer."""

    n_layers: int

    def __init__(self, *weights: Tensor, **given: Any):
        super().__init__(*weights, **given)
        n = self.n_layers
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ParameterError(
                f"n_layers = {n!r} is not allowed: it must be a whole number of at least 1."
            )
        for axis in self.split:
            if (size := getattr(self, axis)) % n:
                raise ParameterError(
                    f"n_layers = {n} is not allowed with {axis} = {size}: it must divide it."
                )

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Sizes that are no multiple of the number of layers, and what mixes layers."""
        yield from super().refusals(experiment)
        of = f"is not allowed with architecture = {cls.architecture!r}"
        for axis in cls.split:
            if (size := getattr(experiment, axis)) % experiment.n_layers:
                yield (
                    f"{axis} = {size} {of}: it must be a multiple of {experiment.n_layers}, the "
                    "number of layers."
                )
        if experiment.turn and LAYERS[experiment.target].n_layers != experiment.n_layers:
            yield f"turn = {experiment.turn} {of}: a rotation mixes the layers, leave it at 0."

    def write_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """Σ_l ‖w_l‖."""
        return self.W_dec.unflatten(-1, (self.n_layers, -1)).norm(dim=-1).sum(-1)
