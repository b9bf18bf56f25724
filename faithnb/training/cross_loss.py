"""Transcoders scored under objectives that did not train them: what would each have preferred?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.experiment import Experiment
from faithnb.model.transcoder import Transcoder
from faithnb.training.batches import Batches
from faithnb.training.loop import SCALARS
from faithnb.training.objectives import loss_terms

FRESH = 2**40
"""The seed of the batches that score; no training has it."""


@settled()
@torch.no_grad()
def score(transcoder: Transcoder, objective: Experiment, n: int = 64) -> Float[Tensor, "n_inst"]:
    """The loss of trained transcoders under an objective, in the mean over n fresh batches.

    Args:
        transcoder: an ensemble of the objective's widths.
        objective: data, penalty and form of matching; what it says of training is not used.
        n: batches; all transcoders see the same.

    Raises:
        ValueError: if the widths differ.
    """
    widths = transcoder.d_in, transcoder.d_sae
    if widths != (objective.d_in, objective.d_sae):
        raise ValueError(
            f"d_in, d_sae = {widths} of the transcoders are not those of the objective, "
            f"{(objective.d_in, objective.d_sae)}."
        )
    batches = Batches([replace(objective, seed=FRESH, steps=n)], transcoder.W_enc.device)
    scalars = {
        name: torch.full((len(transcoder),), getattr(objective, name)).to(transcoder.W_enc)
        for name in SCALARS
    }
    total = torch.zeros(len(transcoder)).to(transcoder.W_enc)
    for _ in range(n):
        batches.draw()
        inputs = batches.inputs(slice(0, 1))
        terms = loss_terms(objective, transcoder, batches.target, **inputs, **scalars)
        total += sum(terms.values())
    return total / n


@settled()
def cross(
    transcoders: Mapping[str, Transcoder], objectives: Mapping[str, Experiment], n: int = 64
) -> pd.DataFrame:
    """The :func:`score` of every transcoder under each objective (columns); rows are indexed by the
    name of the ensemble and the place in it."""
    names = [(of, k) for of, t in transcoders.items() for k in range(len(t))]
    every = Transcoder.cat(list(transcoders.values()))
    return pd.DataFrame(
        {name: score(every, objective, n).cpu() for name, objective in objectives.items()},
        index=pd.MultiIndex.from_tuples(names, names=("trained", "inst")),
    )
