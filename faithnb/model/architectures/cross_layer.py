"""Features that read one layer's stream and write to that layer and those after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.architectures.crosscoder import Crosscoder


class CrossLayer(Crosscoder):
    """A cross-layer transcoder: of L equal parts of its features, part l reads x_l and writes to
    the layers l, …, L.

    After Ameisen et al., "Circuit tracing" (2025). Inputs and outputs are those of
    :class:`faithnb.model.architectures.Crosscoder`. What would read another layer's stream, or
    write to a layer before, is 0 in W_enc and W_dec, and in the linear part. The sparsity penalty
    weighs an activation with the norm of its whole decoder row.

    Args:
        n_layers: L, the number of layers; it divides d_in, d_sae and d_out.
    """

    architecture = "cross_layer"
    split = ("d_in", "d_sae", "d_out")

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Circuits to begin at, which are of no layer."""
        yield from super().refusals(experiment)
        if experiment.init != "random":
            yield (
                f"init = {experiment.init!r} is not allowed with architecture = "
                f"{cls.architecture!r}: its features are of one layer each, circuits of none."
            )

    @classmethod
    def from_arrays(cls, *arrays: Any, **own: Any) -> Self:
        """As that of any transcoder.

        Raises:
            ValueError: besides, if a weight is not 0 that must be.
        """
        found = super().from_arrays(*arrays, **own)
        for name, mask in found.masks().items():
            if (getattr(found, name) * (1 - mask)).any():
                raise ParameterError(
                    f"{name} is not 0 where it reads or writes across layers that it must not: "
                    f"part l of the {found.n_layers} parts of the features reads layer l, and "
                    "nothing writes to a layer before."
                )
        return found

    @classmethod
    @torch.no_grad()
    def random(cls, *sizes: Any, **given: Any) -> Self:
        """As that of any transcoder, with what it must not read or write at 0, and of the same
        size: what it reads has variance 1 for normal inputs, decoder rows have norm 1."""
        found = super().random(*sizes, **given)
        found.settle()
        found.W_enc.mul_(found.n_layers**0.5)
        found.W_dec.div_(found.decoder_norms()[..., None])
        return found

    def masks(self) -> dict[str, Float[Tensor, "rows columns"]]:
        """1 where a weight may differ from 0, else 0, by the names of the weights."""
        n = self.n_layers
        after = self.W_enc.new_ones(n, n).triu()
        own = after.tril()
        blocks = {"W_enc": own, "W_dec": after, "W_skip": after}
        return {
            name: block.repeat_interleave(rows // n, 0).repeat_interleave(columns // n, 1)
            for name, block in blocks.items()
            if name in self.axes
            for rows, columns in [getattr(self, name).shape[1:]]
        }

    @torch.no_grad()
    def settle(self) -> None:
        """What it must not read or write, at 0."""
        for name, mask in self.masks().items():
            getattr(self, name).mul_(mask)

    def write_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """Those of whole decoder rows."""
        return self.decoder_norms()
