"""Which features act, how much, and with which others."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize as unit

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs, Point
from faithnb.measures.registry import (
    ALIGNED,
    CONTRIBUTES,
    PerInstance,
    measure,
    remembered,
    require_square,
)
from faithnb.model.transcoder import Transcoder


@exact
@remembered
def contribution_sizes(transcoder: Transcoder, x: Inputs) -> Float[Tensor, "n_inst B d_sae"]:
    """``|h_i| ‖w_dec,i‖``, how much each feature writes."""
    return transcoder.encode(x).abs() * transcoder.decoder_norms()[:, None]


@measure("contributing features per input")
@exact
def l0(transcoder: Transcoder, x: Inputs, threshold: float = CONTRIBUTES) -> PerInstance:
    """Mean number of features that contribute more than ``threshold`` to an output."""
    return (contribution_sizes(transcoder, x) > threshold).sum(-1).double().mean(-1)


@measure("features with h ≠ 0 per input")
@exact
def n_on(transcoder: Transcoder, x: Inputs) -> PerInstance:
    """Mean number of features with h_i ≠ 0, however little they contribute."""
    return transcoder.gate(x).sum(-1).double().mean(-1)


@measure("share of features")
@exact
def frac_alive(transcoder: Transcoder, x: Inputs, threshold: float = CONTRIBUTES) -> PerInstance:
    """Share of the features that contribute more than ``threshold`` somewhere in x."""
    return (contribution_sizes(transcoder, x) > threshold).any(1).double().mean(-1)


@measure("contributing features", name="active_at_p")
@exact
def active_at_point(transcoder: Transcoder, p: Point) -> PerInstance:
    """Number of features that contribute at p."""
    return l0(transcoder, p[None])


@exact
def detector_precision(
    transcoder: Transcoder, p: Point, x: Inputs, repeat_frac: float
) -> PerInstance:
    """How surely the feature that contributes most at p says that the input is p: of the data on
    which it contributes at least half of what it does there, the share that is p. NaN where nothing
    contributes at p.

    Args:
        x: base samples.
        repeat_frac: the fraction of the data that is p.
    """
    strongest = contribution_sizes(transcoder, p[None])[:, 0].max(-1)
    sizes = contribution_sizes(transcoder, x)
    of_it = sizes.gather(-1, strongest.indices[:, None, None].expand(-1, len(x), 1))[..., 0]
    elsewhere = (of_it >= strongest.values[:, None] / 2).double().mean(-1)
    found = repeat_frac / (repeat_frac + (1 - repeat_frac) * elsewhere)
    return torch.where(strongest.values > CONTRIBUTES, found, torch.nan)


@exact
def coordinate_features(transcoder: Transcoder, p: Point) -> Int[Tensor, "n_inst k"]:
    """For each coordinate j of p that is not 0, the feature that writes y_j when x = p_j e_j: the
    one with the largest contribution there whose decoder is aligned with e_j (cosine > 0.9); −1
    if there is none.

    Raises:
        ValueError: if outputs are no coordinates of the inputs.
    """
    require_square(transcoder)
    support = p.nonzero()[:, 0]
    alone = torch.diag_embed(p)[support]
    h = transcoder.encode(alone) * transcoder.decoder_norms()[:, None]
    aligned = h.sign() * unit(transcoder.W_dec, dim=-1)[..., support].mT > ALIGNED
    most = torch.where(aligned, h.abs(), 0.0).max(-1)
    return torch.where(most.values > CONTRIBUTES, most.indices, -1)


@measure("weight on p's other coordinates, relative")
@exact
def rotation(transcoder: Transcoder, p: Point) -> PerInstance:
    """How far the features of p's coordinates read the *other* coordinates of p negatively.

    −p_k w_enc,k / (p_j w_enc,j), averaged over the other coordinates k of p and over the features
    j of :func:`coordinate_features`: 0 for the true circuits, 1/3 to 1/2 where a memorizing
    transcoder holds them off at a point of three coordinates. NaN if no such feature exists.
    """
    support, found = p.nonzero()[:, 0], coordinate_features(transcoder, p)
    reads = transcoder.W_enc[:, support] * p[support, None].to(transcoder.W_enc)
    total, count = reads.new_zeros(len(transcoder)), reads.new_zeros(len(transcoder))
    for j in range(len(support)):
        of_j = reads.gather(-1, found[:, j].clamp(min=0)[:, None, None].expand(-1, len(support), 1))
        others = (of_j.sum((1, 2)) - of_j[:, j, 0]) / max(len(support) - 1, 1)
        exists = found[:, j] >= 0
        total += torch.where(exists, -others / of_j[:, j, 0], 0.0)
        count += exists
    return total / torch.where(count > 0, count, torch.nan)


@measure("share", at="p", costly=True)
@exact
def absorption(transcoder: Transcoder, p: Point, x: Inputs) -> PerInstance:
    """How much of what the features of p's coordinates write is gone where they act together.

    1 − Σ_j (what feature j contributes at x) / Σ_j (what it contributes where x_j alone is left),
    in the mean over x, with the features of :func:`coordinate_features`: 0 if each does on the
    pattern what it does alone, 1 if all of them are silent on it, as the parents of an absorbed
    feature are. NaN where no coordinate has a feature.
    """
    found = coordinate_features(transcoder, p)
    sizes = x.new_zeros(2, len(transcoder))
    for k, j in enumerate(p.nonzero()[:, 0].tolist()):
        alone = torch.zeros_like(x)
        alone[:, j] = x[:, j]
        feature = found[:, k].clamp(min=0)[:, None, None].expand(-1, len(x), 1)
        for row, inputs in enumerate((x, alone)):
            size = contribution_sizes(transcoder, inputs).gather(-1, feature).mean((1, 2))
            sizes[row] += torch.where(found[:, k] >= 0, size, 0.0)
    return 1 - sizes[0] / sizes[1]


@exact
def off_at_point(transcoder: Transcoder, p: Point) -> Bool[Tensor, "n_inst"]:
    """Whether none of the features of p's coordinates (:func:`coordinate_features`) contributes
    more than 1e-2 at p; a coordinate without such a feature does not count against it."""
    found = coordinate_features(transcoder, p)
    at_p = contribution_sizes(transcoder, p[None])[:, 0]
    quiet = at_p.gather(-1, found.clamp(min=0)) <= CONTRIBUTES
    return (quiet | (found < 0)).all(-1)
