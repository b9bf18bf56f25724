"""A language model in which a transcoder stands for an MLP, as edits of its runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.lm.patching import Edit
from faithnb.lm.subject import Subject
from faithnb.model.transcoder import Transcoder


def replaced(k: int, instead: Callable[[Tensor], Tensor], leave: int = 1) -> dict[str, Edit]:
    """Edits that replace MLP k.

    Args:
        k: the layer.
        instead: from the MLP's inputs ``[n, d_model]``, normalised as the MLP reads them, to its
            outputs; a transcoder of one instance gives ``[1, n, d_model]``, which is allowed.
        leave: how many positions at the beginning keep the model's own output. The first one is
            far from all others, and transcoders are often trained without it.
    """
    read: list[Tensor] = []

    def look(x: Tensor) -> Tensor:
        read[:] = [x]
        return x

    def write(y: Tensor) -> Tensor:
        (x,) = read
        new = instead(x.flatten(0, 1)).reshape(y.shape).to(y)
        return torch.cat([y[:, :leave], new[:, leave:]], 1)

    return {f"mlp_in.{k}": look, f"mlp_out.{k}": write}


def stand_in(subject: Subject, transcoder: Transcoder, leave: int = 1) -> dict[str, Edit]:
    """Edits that put a transcoder of one instance, trained in a subject's units, in the place of
    the subject's MLP."""

    def instead(x: Tensor) -> Tensor:
        return subject.output_scale * transcoder.to(x.device)(x / subject.scale)

    return replaced(subject.k, instead, leave)


def ablated(k: int, mean: Float[Tensor, "d_model"], leave: int = 1) -> dict[str, Edit]:
    """Edits that put one output, such as the mean over texts, in place of all of MLP k's: the least
    that a replacement must be better than.

    Args:
        k: the layer.
        mean: the output.
        leave: as for :func:`replaced`.
    """
    return replaced(k, lambda x: mean.to(x).expand(len(x), -1), leave)
