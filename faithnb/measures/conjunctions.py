"""Features that need several coordinates of a point at once."""

from __future__ import annotations

import torch

from faithnb.common.checks import exact
from faithnb.data.inputs import Point
from faithnb.measures.activity import contribution_sizes
from faithnb.measures.registry import CONTRIBUTES, PerInstance, measure
from faithnb.model.transcoder import Transcoder


@measure("share of what is written at p", costly=True)
@exact
def conjunction_share(transcoder: Transcoder, p: Point) -> PerInstance:
    """How much of what is written at p is written by features that contribute at none of its
    coordinates alone, so that they act at p for a conjunction of them.

    What a feature writes is measured by ``|h_i| ‖w_dec,i‖``. A linear part counts as one feature a
    coordinate, as in :func:`faithnb.measures.circuits.mechanism_error`. It is 0 for circuits that
    read one coordinate each, and for a datapoint feature that adds up the coordinates from 0 on; 1
    for one whose gate asks for more than one of them. NaN where nothing is written at p.

    Raises:
        ValueError: if p has fewer than two coordinates that are not 0.
    """
    support = p.nonzero()[:, 0]
    if len(support) < 2:
        raise ValueError(f"p = {p.tolist()} needs at least two coordinates that are not 0.")
    at_p = contribution_sizes(transcoder, p[None])[:, 0]
    alone = contribution_sizes(transcoder, torch.diag_embed(p)[support]).amax(1)
    return torch.where(alone <= CONTRIBUTES, at_p, 0.0).sum(-1) / (
        at_p.sum(-1) + _linear_sizes(transcoder, p)
    )


@exact
def linear_share(transcoder: Transcoder, p: Point) -> PerInstance:
    """How much of what is written at p is written by the linear part, measured as in
    :func:`conjunction_share`. NaN where nothing is written at p."""
    of_linear = _linear_sizes(transcoder, p)
    return of_linear / (contribution_sizes(transcoder, p[None])[:, 0].sum(-1) + of_linear)


def _linear_sizes(transcoder: Transcoder, p: Point) -> PerInstance:
    """``Σ_j |p_j| ‖W_skip,j‖``; 0 without a linear part."""
    if transcoder.W_skip is None:
        return p.new_zeros(transcoder.n_inst)
    return (p.to(transcoder.W_skip)[:, None] * transcoder.W_skip).norm(dim=-1).sum(-1)
