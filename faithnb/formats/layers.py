"""Transcoders of several layers, layer by layer as other libraries keep them, and as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from faithnb.formats.folder import Folder
from faithnb.formats.layout import Held


def require_shapes(folder: Folder, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """That weights have these shapes.

    Raises:
        ValueError: naming one that has not.
    """
    for name, wanted in shapes.items():
        if folder.shape(name) != wanted:
            raise folder.refuse(
                f"{name} has shape {list(folder.shape(name))} where {list(wanted)} is needed"
            )


def joined(
    reads: Sequence[Tensor], writes: Sequence[Sequence[Tensor]], b_enc: Sequence[Tensor],
    b_dec: Sequence[Tensor],
) -> dict[str, Tensor]:  # fmt: skip
    """The weights of a cross-layer transcoder by our names.

    Args:
        reads: ``[d_in, d_sae]`` of each layer.
        writes: ``[d_sae, d_out]`` of each layer to each layer from it on.
        b_enc: ``[d_sae]`` of each layer.
        b_dec: ``[d_out]`` of each layer.
    """
    rows = [
        torch.cat([torch.zeros_like(to[0]).repeat(1, i), *to], dim=1) for i, to in enumerate(writes)
    ]
    return {
        "W_enc": torch.block_diag(*reads),
        "b_enc": torch.cat(list(b_enc)),
        "W_dec": torch.cat(rows),
        "b_dec": torch.cat(list(b_dec)),
    }


def parted(held: Held) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Of a cross-layer transcoder, for each layer i: W_enc ``[d_in, d_sae]``, W_dec ``[d_sae,
    L − i, d_out]``, b_enc ``[d_sae]`` and b_dec ``[d_out]``."""
    n, w = held.settings["n_layers"], held.one
    reads = [part.chunk(n, dim=1)[i] for i, part in enumerate(w["W_enc"].chunk(n))]
    writes = [part.unflatten(1, (n, -1))[:, i:] for i, part in enumerate(w["W_dec"].chunk(n))]
    return list(zip(reads, writes, w["b_enc"].chunk(n), w["b_dec"].chunk(n), strict=True))
