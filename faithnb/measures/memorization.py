"""Whether a transcoder has features for a point, which the layer does not have."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
import xarray as xr
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize as unit

from faithnb.common.checks import exact
from faithnb.common.errors import InputError
from faithnb.data.inputs import Inputs, Point
from faithnb.measures.activity import contribution_sizes
from faithnb.measures.registry import ALIGNED, CONTRIBUTES, PerInstance, measure, outputs
from faithnb.model.foreign import Foreign
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

Output = Float[Tensor, "d_out"]

DATAPOINT, PARTIAL = 0.44 / (3**0.5 - 1), 0.08 / (3**0.5 - 1)
"""Memorization share from which a state is ``datapoint`` / not ``generalising``.

For the note's p they are the total memorizations 0.44 and 0.08.
"""

TASK_LOST = 0.1
"""FVU from which a transcoder counts as one that has not learned the task."""

STATES = ("generalising", "pair", "datapoint", "other")
"""The states of :func:`state`."""

MEMORIZED = ("datapoint", "pair")
"""The states that count as memorized, with a feature for the point or for a part of it."""


@measure("√3 − 1 is one datapoint feature for three ones")
@exact
def memorization(
    transcoder: Transcoder,
    p: Point,
    y_p: Output | None = None,
    per_feature: bool = False,
    target: Layer | None = None,
) -> Float[Tensor, "n_inst"] | Float[Tensor, "n_inst d_sae"]:
    """The note's measure of a datapoint feature, summed over features.

    m(f_i, p) = ReLU(c · ŷ_p − max_j c · e_j) with the contribution c = w_dec,i f_i(p), j over
    the coordinates where y_p is not 0: how much better all of p explains what the feature writes
    than the best single coordinate does. A full datapoint feature for k ones has √k − 1, a pure
    coordinate feature 0. Blind spot: (1, a, a) stays at 0 until a > 0.366. Of a layer whose
    circuits write other directions, the e_j are these,
    :meth:`faithnb.model.layer.Layer.written_at`.

    Args:
        p: the point.
        y_p: the target's output there, p itself by default.
        per_feature: return the features' own values instead of their sum.
        target: the layer; one that writes coordinates, if it is not given.

    Raises:
        ValueError: if y_p is 0.
    """
    y_p = p if y_p is None else y_p
    if len(y_p) != transcoder.d_out:
        raise InputError(
            f"y_p must be given, with d_out = {transcoder.d_out} coordinates: p has {len(p)}."
        )
    if not y_p.any():
        raise ValueError("memorization needs a point at which the target's output is not 0.")
    c = transcoder.encode(p[None])[:, 0, :, None] * transcoder.W_dec
    alone = _written(target, p, y_p)
    m = torch.relu(c @ (y_p / y_p.norm()) - (c @ alone.mT).amax(-1))
    return m if per_feature else m.sum(-1)


@exact
def full_memorization(y_p: Output, written: Float[Tensor, "n d_out"] | None = None) -> float:
    """The memorization of one feature that writes exactly y_p: ‖y_p‖ − max_j y_p,j, j over the
    coordinates, or over the directions ``written``."""
    return (y_p.norm() - (y_p if written is None else written @ y_p).max()).item()


@measure("datapoint features")
@exact
def memorization_share(
    transcoder: Transcoder, p: Point, y_p: Output | None = None, target: Layer | None = None
) -> PerInstance:
    """:func:`memorization` in datapoint features: 1 is one feature that writes exactly y_p.

    Raises:
        ValueError: if y_p has fewer than two coordinates that are not 0, or the layer writes fewer
            than two directions there: then a datapoint feature and a coordinate feature are the
            same.
    """
    y_p = p if y_p is None else y_p
    alone = _written(target, p, y_p)
    if len(alone) < 2:
        raise ValueError(f"p = {p.tolist()} needs at least two coordinates that are not 0.")
    full = full_memorization(y_p, alone if _says_what_it_writes(target, p) else None)
    return memorization(transcoder, p, y_p, target=target) / full


def _says_what_it_writes(target: Layer | None, p: Point) -> bool:
    return isinstance(target, Layer) and target.written_at(p) is not None


def _written(target: Layer | None, p: Point, y_p: Output) -> Float[Tensor, "n d_out"]:
    """The directions that the layer writes at p one by one."""
    found = target.written_at(p) if isinstance(target, Layer) else None
    return torch.eye(len(y_p)).to(y_p)[y_p != 0] if found is None else found


@measure("", words=STATES)
@exact
def state(transcoder: Transcoder, target: Layer, p: Point) -> list[str]:
    """What each instance does at p: ``datapoint``, ``pair``, ``generalising`` or ``other``.

    * datapoint: the total memorization is at least 60 % of a full datapoint feature's (split ones
      count), and a feature active at p reads along p and writes along f(p), cosines > 0.9.
    * pair: not that, at least 11 %, and a feature active at p writes along two coordinates of p.
    * generalising: less than 11 %, and for each coordinate of p a feature active at p writes it.
    * other: the rest.

    In place of coordinates stand the directions that the layer writes, where it says so.

    Raises:
        ValueError: if p has fewer than two coordinates that are not 0, as for
            :func:`memorization_share`.
    """
    y_p = outputs(target, p)
    alone = _written(target, p, y_p)
    m = memorization_share(transcoder, p, y_p, target)
    active = transcoder.gate(p[None])[:, 0]

    pairs = torch.stack([one + other for one, other in combinations(alone, 2)])
    decoder = unit(transcoder.W_dec, dim=-1)
    sign = transcoder.encode(p[None])[:, 0].sign()

    def writes(directions: Tensor) -> Tensor:
        along = sign[..., None] * (decoder @ unit(directions, dim=-1).mT)
        return (along > ALIGNED) & active[..., None]

    whole = (_alignments(transcoder, target, p) > ALIGNED) & active
    datapoint = (m >= DATAPOINT) & whole.any(1)
    pair = ~datapoint & (m >= PARTIAL) & writes(pairs).any(dim=(1, 2))
    generalising = (m < PARTIAL) & writes(alone).any(1).all(1)
    return [
        "datapoint" if d else "pair" if q else "generalising" if g else "other"
        for d, q, g in zip(datapoint, pair, generalising, strict=True)
    ]


@exact
def datapoint_features(
    transcoder: Transcoder, target: Layer, p: Point, x: Inputs, silent: float = 0.95
) -> Bool[Tensor, "n_inst d_sae"]:
    """Features that do what the note describes, y += p · ReLU(λp · x − b).

    They read along p and write along f(p) (cosines > 0.9), contribute at p, and contribute at
    most 1e-2 (as for :func:`faithnb.measures.activity.l0`) on at least a share ``silent`` of the
    base samples.
    """
    at_p = contribution_sizes(transcoder, p[None])[:, 0] > CONTRIBUTES
    rare = (contribution_sizes(transcoder, x) > CONTRIBUTES).double().mean(1) <= 1 - silent
    return (_alignments(transcoder, target, p) > ALIGNED) & at_p & rare


class OfPoint(NamedTuple):
    """A feature beside a point p and base samples."""

    feature: int
    """Which it is."""
    memorization: float
    """Its own, see :func:`memorization`."""
    reads: float
    """Cosine of its encoder with p."""
    writes: float
    """Cosine of its decoder with p."""
    off: float
    """Share of the base samples on which it is off."""
    silent: float
    """Share of them on which it contributes at most 1e-2."""


@exact
def most_memorizing(transcoder: Transcoder, p: Point, x: Inputs) -> OfPoint:
    """The feature of an ensemble of one that memorizes p most, on base samples ``x``."""
    m = memorization(transcoder, p, per_feature=True)[0]
    i = int(m.argmax())
    return OfPoint(
        i,
        m[i].item(),
        (unit(transcoder.W_enc[0, :, i], dim=0) @ unit(p, dim=0)).item(),
        (unit(transcoder.W_dec[0, i], dim=0) @ unit(p, dim=0)).item(),
        (~transcoder.gate(x)[0, :, i]).double().mean().item(),
        (contribution_sizes(transcoder, x)[0, :, i] <= CONTRIBUTES).double().mean().item(),
    )


def _alignments(transcoder: Transcoder, target: Layer, p: Point) -> Float[Tensor, "n_inst d_sae"]:
    """How nearly each feature reads p and writes f(p): the smaller of its two cosines. One whose
    activation at p is below 0 reads and writes the other way round."""
    sign = torch.where(transcoder.encode(p[None])[:, 0] < 0, -1.0, 1.0)
    of = transcoder.reads(p) if isinstance(transcoder, Foreign) else transcoder.W_enc
    reads = unit(of, dim=1).mT @ unit(p, dim=0)
    writes = unit(transcoder.W_dec, dim=-1) @ unit(outputs(target, p), dim=0)
    return torch.minimum(sign * reads, sign * writes)


@measure("cosine")
@exact
def alignment(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """How nearly some feature reads p and writes f(p): the smaller of its two cosines, for the
    feature that contributes at p and has the largest; 0 if none contributes."""
    at_p = contribution_sizes(transcoder, p[None])[:, 0] > CONTRIBUTES
    return torch.where(at_p, _alignments(transcoder, target, p), 0.0).amax(-1).clamp(min=0)


def writes_pattern(measured: xr.Dataset) -> xr.DataArray:
    """Where the features together write at p at least 60 % of a datapoint feature, of a
    :func:`faithnb.measures.table.table`.

    Unlike the state ``datapoint`` it does not ask what they read: a feature for a pattern whose
    magnitudes vary reads some coordinates more than others. False where training diverged.
    """
    return measured.memorization_share >= DATAPOINT


def memorized(measured: xr.Dataset) -> xr.DataArray:
    """Where a transcoder is in state ``datapoint`` or ``pair``, of a
    :func:`faithnb.measures.table.table` or a sweep. False where training diverged."""
    return measured.state.isin(MEMORIZED)


def lost(measured: xr.Dataset) -> xr.DataArray:
    """Where a transcoder has not learned the task: its FVU is not below 0.1, or its training
    diverged."""
    return ~(measured.fvu < TASK_LOST)


def fails(measured: xr.Dataset) -> xr.DataArray:
    """Where a transcoder has a pattern feature (:func:`writes_pattern`) or has :func:`lost` the
    task."""
    return writes_pattern(measured) | lost(measured)
