"""What is measured of a transcoder, trained here or not.

Every metric takes ``(transcoder, target, x)``, or a point p in place of x, and returns one value an
instance, ``[n_inst]``. Base metrics are taken on base samples without p; whatever is measured at p
says so in its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize as unit

from faithnb.common.ambient import settled
from faithnb.common.checks import exact
from faithnb.common.errors import InputError
from faithnb.data.inputs import Inputs, Point, ball, fixed, subsets
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.experiment import Experiment
from faithnb.measures.stats import rate_interval
from faithnb.model.jacobians import diagonal, squared_distance, target_diagonal
from faithnb.model.layers import Target
from faithnb.model.transcoder import Transcoder

PerInstance = Float[Tensor, "n_inst"]
Output = Float[Tensor, "d_out"]

ROUNDING = torch.finfo(torch.float32).eps
"""Relative size of differences up to which outputs count as equal."""

CONTRIBUTES = 1e-2
"""A feature counts as active where its contribution h_i ‖w_dec,i‖ exceeds this."""

ALIGNED = 0.9
"""Cosine above which a direction counts as another."""

DATAPOINT, PARTIAL = 0.44 / (3**0.5 - 1), 0.08 / (3**0.5 - 1)
"""Memorization share from which a state is ``datapoint`` / not ``generalising``.

For the note's p they are the total memorizations 0.44 and 0.08.
"""

LOST = 0.1
"""FVU from which a transcoder counts as one that has not learned the task."""

STATES = ("generalising", "pair", "datapoint", "other")
"""The states of :func:`state`; the two in the middle count as memorised."""


def _remembering(transcoder: Transcoder) -> Transcoder:
    """The same in float64, which keeps what it gave for the last inputs, as many metrics ask for
    the same one by one."""
    found = transcoder.with_weights({k: w.double() for k, w in transcoder.weights().items()})
    memory: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def ask(name: str, measure: Callable[..., Any], *inputs: Any) -> Any:
        last = memory.get(name)
        if last is None or any(a is not b for a, b in zip(last[0], inputs, strict=True)):
            last = memory[name] = inputs, measure(*inputs)
        return last[1]

    object.__setattr__(found, "ask", ask)
    for name in ("hidden_pre", "encode"):
        object.__setattr__(found, name, partial(ask, name, getattr(found, name)))
    return found


def _remembered(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Work out what several metrics need only once, where the transcoder remembers."""

    @wraps(measure)
    def answer(transcoder: Transcoder, *inputs: Any, **named: Any) -> Any:
        if "ask" in vars(transcoder) and not named:
            ask = partial(vars(transcoder)["ask"], measure.__name__)
            return ask(partial(measure, transcoder), *inputs)
        return measure(transcoder, *inputs, **named)

    return answer


def outputs(target: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x) in float64. A layer that is a torch module is asked in the type of its own weights."""
    of_module = target.parameters() if isinstance(target, torch.nn.Module) else iter(())
    like = next(of_module, x)
    return target(x.to(like)).to(x)


@exact
def mse(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """E ‖ŷ − y‖², summed over coordinates (not divided by d_out)."""
    return (transcoder(x) - outputs(target, x)).square().sum(-1).mean(-1)


@exact
def fvu(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """Fraction of variance unexplained, E‖ŷ − y‖² / E‖y − E y‖².

    0 is perfect, 1 is as good as always predicting the mean.

    Raises:
        ValueError: if the target's output does not vary over x.
    """
    y = outputs(target, x)
    variance = (y - y.mean(0)).square().sum(-1).mean()
    if variance <= ROUNDING**2 * y.square().sum(-1).mean():
        raise ValueError("fvu needs inputs on which the target's output varies; it is constant.")
    return mse(transcoder, target, x) / variance


@exact
def relative_error(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """E‖ŷ − y‖² / E‖y‖²: like :func:`fvu`, but 1 for a transcoder that gives 0. For inputs whose
    outputs hardly vary.

    Raises:
        ValueError: if the target's output is 0 on all of x.
    """
    size = outputs(target, x).square().sum(-1).mean()
    if size == 0:
        raise ValueError("relative_error needs inputs on which the target's output is not 0.")
    return mse(transcoder, target, x) / size


@exact
def explained_variance(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """1 − FVU."""
    return 1 - fvu(transcoder, target, x)


@exact
@_remembered
def contribution_sizes(transcoder: Transcoder, x: Inputs) -> Float[Tensor, "n_inst B d_sae"]:
    """|h_i| ‖w_dec,i‖, how much each feature writes."""
    return transcoder.encode(x).abs() * transcoder.decoder_norms()[:, None]


@exact
def l0(transcoder: Transcoder, x: Inputs, threshold: float = CONTRIBUTES) -> PerInstance:
    """Mean number of features that contribute more than ``threshold`` to an output."""
    return (contribution_sizes(transcoder, x) > threshold).sum(-1).double().mean(-1)


@exact
def n_on(transcoder: Transcoder, x: Inputs) -> PerInstance:
    """Mean number of features with h_i ≠ 0, however little they contribute."""
    return transcoder.gate(x).sum(-1).double().mean(-1)


@exact
def frac_alive(transcoder: Transcoder, x: Inputs, threshold: float = CONTRIBUTES) -> PerInstance:
    """Share of the features that contribute more than ``threshold`` somewhere in x."""
    return (contribution_sizes(transcoder, x) > threshold).any(1).double().mean(-1)


@exact
def memorization(
    transcoder: Transcoder, p: Point, y_p: Output | None = None, per_feature: bool = False
) -> Float[Tensor, "n_inst"] | Float[Tensor, "n_inst d_sae"]:
    """The note's measure of a datapoint feature, summed over features.

    m(f_i, p) = ReLU(c · ŷ_p − max_j c · e_j) with the contribution c = w_dec,i f_i(p), j over
    the coordinates where y_p is not 0: how much better all of p explains what the feature writes
    than the best single coordinate does. A full datapoint feature for k ones has √k − 1, a pure
    coordinate feature 0. Blind spot: (1, a, a) stays at 0 until a > 0.366.

    Args:
        p: the point.
        y_p: the target's output there, p itself by default.
        per_feature: return the features' own values instead of their sum.

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
    support = y_p != 0
    m = torch.relu(c @ (y_p / y_p.norm()) - c[..., support].amax(-1))
    return m if per_feature else m.sum(-1)


@exact
def full_memorization(y_p: Output) -> float:
    """The memorization of one feature that writes exactly y_p: ‖y_p‖ − max_j y_p,j."""
    return (y_p.norm() - y_p.max()).item()


@exact
def memorization_share(transcoder: Transcoder, p: Point, y_p: Output | None = None) -> PerInstance:
    """:func:`memorization` in datapoint features: 1 is one feature that writes exactly y_p.

    Raises:
        ValueError: if y_p has fewer than two coordinates that are not 0: then a datapoint feature
            and a coordinate feature are the same.
    """
    y_p = p if y_p is None else y_p
    if (y_p != 0).sum() < 2:
        raise ValueError(f"p = {p.tolist()} needs at least two coordinates that are not 0.")
    return memorization(transcoder, p, y_p) / full_memorization(y_p)


@exact
def state(transcoder: Transcoder, target: Target, p: Point) -> list[str]:
    """What each instance does at p: ``datapoint``, ``pair``, ``generalising`` or ``other``.

    * datapoint: the total memorization is at least 60 % of a full datapoint feature's (split ones
      count), and a feature active at p reads along p and writes along f(p), cosines > 0.9.
    * pair: not that, at least 11 %, and a feature active at p writes along two coordinates of p.
    * generalising: less than 11 %, and for each coordinate of p a feature active at p writes it.
    * other: the rest.

    Raises:
        ValueError: if p has fewer than two coordinates that are not 0, as for
            :func:`memorization_share`.
    """
    y_p = outputs(target, p)
    support = y_p.nonzero()[:, 0]
    m = memorization_share(transcoder, p, y_p)
    active = transcoder.gate(p[None])[:, 0]

    basis = torch.eye(transcoder.d_out, dtype=torch.float64).to(transcoder.W_dec)
    pairs = torch.stack([basis[i] + basis[j] for i, j in combinations(support, 2)])
    decoder = unit(transcoder.W_dec, dim=-1)

    def writes(directions: Tensor) -> Tensor:
        return (decoder @ unit(directions, dim=-1).mT > ALIGNED) & active[..., None]

    whole = (_alignments(transcoder, target, p) > ALIGNED) & active
    datapoint = (m >= DATAPOINT) & whole.any(1)
    pair = ~datapoint & (m >= PARTIAL) & writes(pairs).any(dim=(1, 2))
    generalising = (m < PARTIAL) & writes(basis[support]).any(1).all(1)
    return [
        "datapoint" if d else "pair" if q else "generalising" if g else "other"
        for d, q, g in zip(datapoint, pair, generalising, strict=True)
    ]


@exact
def datapoint_features(
    transcoder: Transcoder, target: Target, p: Point, x: Inputs, silent: float = 0.95
) -> Bool[Tensor, "n_inst d_sae"]:
    """Features that do what the note describes, y += p · ReLU(λp · x − b).

    They read along p and write along f(p) (cosines > 0.9), contribute at p, and contribute at
    most 1e-2 (as for :func:`l0`) on at least a share ``silent`` of the base samples.
    """
    at_p = contribution_sizes(transcoder, p[None])[:, 0] > CONTRIBUTES
    rare = (contribution_sizes(transcoder, x) > CONTRIBUTES).double().mean(1) <= 1 - silent
    return (_alignments(transcoder, target, p) > ALIGNED) & at_p & rare


def _alignments(transcoder: Transcoder, target: Target, p: Point) -> Float[Tensor, "n_inst d_sae"]:
    """How nearly each feature reads p and writes f(p): the smaller of its two cosines."""
    reads = unit(transcoder.W_enc, dim=1).mT @ unit(p, dim=0)
    writes = unit(transcoder.W_dec, dim=-1) @ unit(outputs(target, p), dim=0)
    return torch.minimum(reads, writes)


@exact
def alignment(transcoder: Transcoder, target: Target, p: Point) -> PerInstance:
    """How nearly some feature reads p and writes f(p): the smaller of its two cosines, for the
    feature that contributes at p and has the largest; 0 if none contributes."""
    at_p = contribution_sizes(transcoder, p[None])[:, 0] > CONTRIBUTES
    return torch.where(at_p, _alignments(transcoder, target, p), 0.0).amax(-1).clamp(min=0)


@exact
def active_at_point(transcoder: Transcoder, p: Point) -> PerInstance:
    """Number of features that contribute at p."""
    return l0(transcoder, p[None])


@exact
@_remembered
def jacobian_products(
    transcoder: Transcoder, target: Target, x: Inputs
) -> tuple[Float[Tensor, "n_inst B"], Float[Tensor, "n_inst B"], Float[Tensor, "B"]]:
    """⟨J_T, J_T⟩, ⟨J_T, J_M⟩ and ⟨J_M, J_M⟩ at each input, in float64, without the entries that the
    target leaves undefined.

    No Jacobian is written out, see :mod:`faithnb.model.jacobians`.
    """
    s, slope, ignored = transcoder.slopes(x), target.slope(x), target.ignored(x)
    own, mixed, size = squared_distance(transcoder, target, s, slope)
    if ignored.any():
        of_T = diagonal(transcoder, s) * ignored
        of_M = target_diagonal(target, slope) * ignored
        own = own - of_T.square().sum(-1)
        mixed = mixed - (of_T * of_M).sum(-1)
        size = size - of_M.square().sum(-1)
    return own, mixed, size


@exact
def jacobian_error(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """E‖J_T − J_M‖_F² / E‖J_M‖_F²: 0 where the derivatives agree, 1 for a constant transcoder.

    Raises:
        ValueError: if the target's Jacobian is 0, or undefined, on all of x.
    """
    own, mixed, size = jacobian_products(transcoder, target, x)
    _need_a_slope("jacobian_error", size)
    return ((own - 2 * mixed + size).sum(-1) / size.sum()).clamp(min=0)


@exact
def jacobian_cosine(transcoder: Transcoder, target: Target, x: Inputs) -> PerInstance:
    """Mean cosine between the flattened Jacobians, over inputs where the target's is not 0.

    Where the transcoder's is 0 the cosine counts as 0.

    Raises:
        ValueError: if the target's is 0, or undefined, on all of x.
    """
    own, mixed, size = jacobian_products(transcoder, target, x)
    _need_a_slope("jacobian_cosine", size)
    cosine = mixed / (own * size).sqrt().clamp(min=1e-12)
    return cosine[:, size > 0].mean(-1)


def _need_a_slope(measure: str, size: Tensor) -> None:
    if not (size > 0).any():
        raise ValueError(f"{measure} needs inputs at which the target's Jacobian is not 0.")


@exact
def jacobian_at_point(transcoder: Transcoder, p: Point) -> Float[Tensor, "n_inst k k"]:
    """The Jacobian averaged over a small ball around p, on the coordinates where p is not 0.

    Raises:
        ValueError: if p is 0.
    """
    if not p.any():
        raise ValueError("p = 0 is not allowed: it needs a coordinate that is not 0.")
    support = p.nonzero()[:, 0]
    J = transcoder.jacobian(ball(p)).mean(1)
    return J[:, support][:, :, support]


@exact
def contributing_jacobian(transcoder: Transcoder, p: Point) -> Float[Tensor, "n_inst d_out d_in"]:
    """The Jacobian at p of the features that contribute more than 1e-2 there, and of the linear
    part.

    It leaves out features that are held on their kink, for which it is a matter of rounding
    whether they count.
    """
    on = contribution_sizes(transcoder, p[None])[:, 0] > CONTRIBUTES
    slopes = transcoder.slopes(p[None])[:, 0] * on
    found = ((transcoder.W_enc * slopes[:, None]) @ transcoder.W_dec).mT
    return found if transcoder.W_skip is None else found + transcoder.W_skip.mT


@exact
def off_diagonal_norm(transcoder: Transcoder, p: Point) -> PerInstance:
    """‖offdiag J‖_F of :func:`jacobian_at_point`; 0 for ``|x|``."""
    J = jacobian_at_point(transcoder, p)
    return (J - torch.diag_embed(J.diagonal(dim1=-2, dim2=-1))).norm(dim=(-2, -1))


@exact
def off_diagonal_share(transcoder: Transcoder, p: Point) -> PerInstance:
    """‖offdiag J‖_F² / ‖J‖_F² of :func:`jacobian_at_point`: 0 for ``|x|``, 2/3 for a sole datapoint
    feature at three ones; NaN where the Jacobian is 0."""
    J = jacobian_at_point(transcoder, p)
    return off_diagonal_norm(transcoder, p).square() / J.square().sum((-2, -1))


@exact
def off_distribution_fvu(
    transcoder: Transcoder,
    target: Target,
    kind: Literal["dense", "near_point"] = "dense",
    p: Point | None = None,
    scale: float = 0.1,
    n: int = 8192,
) -> PerInstance:
    """FVU where the training data was not: ``dense`` inputs U(−1, 1)^d_in, or ``near_point``,
    p + ``scale`` · N(0, I). Both samples are fixed.

    Raises:
        ValueError: if ``kind`` is unknown or p is missing.
    """
    if kind == "dense":
        x = 2 * fixed("uniform", n, target.d_in) - 1
    elif kind == "near_point" and p is not None:
        x = p.cpu() + scale * fixed("normal", n, target.d_in)
    else:
        raise ValueError(
            f"kind = {kind!r} is not allowed: use 'dense', or 'near_point' together with p."
        )
    return fvu(transcoder, target, x.to(transcoder.W_enc))


@exact
def subset_error(
    transcoder: Transcoder, target: Target, p: Point, per_subset: bool = False
) -> Float[Tensor, "n_inst"] | Float[Tensor, "n_inst n_subsets"]:
    """‖ŷ − y‖² at p with some coordinates missing, averaged over
    :func:`faithnb.data.inputs.subsets`, or each; NaN where p has a single coordinate, and so
    none."""
    x = subsets(p).to(transcoder.W_enc)
    error = (transcoder(x) - outputs(target, x)).square().sum(-1)
    return error if per_subset else error.mean(-1)


@exact
def masking_index(transcoder: Transcoder, x: Inputs, small: float = 0.05) -> PerInstance:
    """Share of the squared Jacobian contributions, Σ ‖w_enc,i‖² ‖w_dec,i‖² over the features that
    are on, carried by features that a step of ``small`` in the input can turn off: those that
    contribute less than ``small`` times ‖w_enc,i‖ ‖w_dec,i‖.

    It is high where derivatives are made by features that hardly act for their weights: gradient
    masking. Neither splitting a feature nor rescaling it changes its share. The true circuits of
    y = abs(x) have ``small`` itself, on inputs uniform on (−1, 1). NaN where nothing is on.
    """
    size = contribution_sizes(transcoder, x)
    gain = (transcoder.W_enc.norm(dim=1) * transcoder.decoder_norms())[:, None]
    carried = (size > 0) * gain.square()
    return (carried * (size < small * gain)).sum((1, 2)) / carried.sum((1, 2))


@exact
def coordinate_features(transcoder: Transcoder, p: Point) -> Int[Tensor, "n_inst k"]:
    """For each coordinate j of p that is not 0, the feature that writes y_j when x = p_j e_j: the
    one with the largest contribution there whose decoder is aligned with e_j (cosine > 0.9); −1
    if there is none."""
    support = p.nonzero()[:, 0]
    alone = torch.diag_embed(p)[support].to(transcoder.W_enc)
    aligned = unit(transcoder.W_dec, dim=-1)[..., support] > ALIGNED
    h = transcoder.encode(alone) * transcoder.decoder_norms()[:, None]
    most = torch.where(aligned.mT, h, 0.0).max(-1)
    return torch.where(most.values > CONTRIBUTES, most.indices, -1)


@exact
def rotation(transcoder: Transcoder, p: Point) -> PerInstance:
    """How far the features of p's coordinates read the *other* coordinates of p negatively.

    −p_k w_enc,k / (p_j w_enc,j), averaged over the other coordinates k of p and over the features
    j of :func:`coordinate_features`: 0 for the true circuits, 1/3 to 1/2 where a memorising
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


BASE_METRICS: dict[str, tuple[Callable[[Transcoder, Target, Tensor], Tensor], str]] = {
    "mse": (mse, "summed squared error"),
    "fvu": (fvu, "fraction of variance unexplained"),
    "explained_variance": (explained_variance, "fraction of variance"),
    "l0": (lambda t, f, x: l0(t, x), "contributing features per input"),
    "n_on": (lambda t, f, x: n_on(t, x), "features with h ≠ 0 per input"),
    "frac_alive": (lambda t, f, x: frac_alive(t, x), "share of features"),
    "jacobian_error": (jacobian_error, "relative squared error"),
    "jacobian_cosine": (jacobian_cosine, "cosine"),
    "masking_index": (lambda t, f, x: masking_index(t, x), "share of squared contributions"),
    "dense_fvu": (lambda t, f, x: off_distribution_fvu(t, f), "fraction of variance unexplained"),
}
"""Columns of :func:`table` taken on base samples: ``f(transcoder, target, x)`` and their unit."""

POINT_METRICS: dict[str, tuple[Callable[[Transcoder, Target, Tensor], Tensor], str]] = {
    "memorization": (
        lambda t, f, p: memorization(t, p, f(p)),
        "√3 − 1 is one datapoint feature for three ones",
    ),
    "memorization_share": (
        lambda t, f, p: memorization_share(t, p, f(p)),
        "datapoint features",
    ),
    "alignment": (alignment, "cosine"),
    "active_at_p": (lambda t, f, p: active_at_point(t, p), "contributing features"),
    "error_at_p": (lambda t, f, p: mse(t, f, p[None]), "summed squared error"),
    "jacobian_error_at_p": (
        lambda t, f, p: jacobian_error(t, f, ball(p)),
        "relative squared error",
    ),
    "off_diagonal_norm": (lambda t, f, p: off_diagonal_norm(t, p), "Frobenius norm"),
    "off_diagonal_share": (lambda t, f, p: off_diagonal_share(t, p), "share of squared norm"),
    "near_point_fvu": (
        lambda t, f, p: off_distribution_fvu(t, f, "near_point", p),
        "fraction of variance unexplained",
    ),
    "subset_error": (subset_error, "summed squared error"),
    "rotation": (lambda t, f, p: rotation(t, p), "weight on p's other coordinates, relative"),
    "masking_index_at_p": (
        lambda t, f, p: masking_index(t, ball(p)),
        "share of squared contributions",
    ),
}
"""Columns of :func:`table` taken at each repeated point: ``f(transcoder, target, p)`` and unit."""


@settled()
def table(
    experiments: Sequence[Experiment],
    ensembles: Sequence[tuple[Sequence[int], Transcoder]],
    diverged: Sequence[int] = (),
    chunk: int = 4,
) -> xr.Dataset:
    """All metrics of trained transcoders over ``inst``, in the order of ``experiments``.

    Base metrics are taken on :func:`faithnb.data.sampling.evaluation_sample`; Jacobians are
    compared on the entries that the target defines (``kink = "masked"``), whatever convention
    trained them. Point metrics are taken at the repeated points, with a further dim ``point`` if
    there are several. The fields in which the experiments differ become coordinates over ``inst``.
    A metric that is not defined for an experiment is NaN there, and so is all of a diverged one,
    whose state is "".
    """
    n_points = max(len(e.points) for e in experiments)
    point_dims = ("point",) if n_points > 1 else ()
    shape = (len(experiments), *((n_points,) if point_dims else ()))
    columns: dict[str, Any] = {name: np.full(len(experiments), np.nan) for name in BASE_METRICS}
    columns |= {name: np.full(shape, np.nan) for name in POINT_METRICS if n_points}
    if n_points:
        columns["state"] = np.full(shape, "", dtype="<U12")

    for indices, ensemble in ensembles:
        local = {i: k for k, i in enumerate(indices) if i not in diverged}
        for group in _alike(experiments, list(local), chunk):
            e = experiments[group[0]]
            some = ensemble[[local[i] for i in group]]
            some = _remembering(some)
            target = e.make_target(kink="masked")
            like = some.W_enc
            x = evaluation_sample(e.d_in, e.density, blur=e.blur).to(like)
            for name, (metric, _) in BASE_METRICS.items():
                with suppress(ValueError):
                    columns[name][group] = metric(some, target, x).cpu()
            for k, p in enumerate(pad_points(e.points, e.d_in, e.torch_dtype).to(like)):
                at = (group, k) if point_dims else group
                for name, (metric, _) in POINT_METRICS.items():
                    with suppress(ValueError):
                        columns[name][at] = metric(some, target, p).cpu()
                with suppress(ValueError):
                    columns["state"][at] = state(some, target, p)

    units = {name: unit for name, (_, unit) in (BASE_METRICS | POINT_METRICS).items()}
    return xr.Dataset(
        {
            name: (("inst", *point_dims)[: values.ndim], values, {"units": units.get(name, "")})
            for name, values in columns.items()
        },
        coords={"inst": range(len(experiments))} | varying_fields(experiments),
    )


def refuse_other_columns(
    experiments: Sequence[Experiment], at: Sequence[int], rows: xr.Dataset
) -> None:
    """Whether kept rows are what :func:`table` gives of those experiments.

    Raises:
        ValueError: naming the column that is missing, too much, or of another shape or kind.
    """
    n_points = len(experiments[at[0]].points)
    of_base: dict[str, int] = {"inst": len(at)}
    of_point = of_base | ({"point": n_points} if n_points > 1 else {})
    wanted = {name: (of_base, "f8") for name in BASE_METRICS}
    if n_points:
        wanted |= {name: (of_point, "f8") for name in POINT_METRICS} | {"state": (of_point, "U")}
    refuse_unlike(wanted, rows)


def refuse_unlike(wanted: Mapping[str, tuple[Mapping[str, int], str]], rows: xr.Dataset) -> None:
    """Whether a dataset has these columns alone: their sizes by dim, and what their type's name
    begins with.

    Raises:
        ValueError: naming the first that differs.
    """
    for name in [*wanted, *rows.data_vars]:
        if name not in wanted or name not in rows:
            raise ValueError(f"{name} is {'missing' if name in wanted else 'not known'}")
        sizes, kind = wanted[str(name)]
        found = rows[name]
        if dict(found.sizes) != sizes or not found.dtype.str.lstrip("<>|=").startswith(kind):
            raise ValueError(f"{name} has sizes {dict(found.sizes)} and type {found.dtype}")
        if kind == "U" and not {*map(str, np.unique(found))} <= {"", *STATES}:
            raise ValueError(f"{name} holds other words than {', '.join(STATES)}")


def writes_pattern(measured: xr.Dataset) -> xr.DataArray:
    """Where the features together write at p at least 60 % of a datapoint feature, of a
    :func:`table`.

    Unlike the state ``datapoint`` it does not ask what they read: a feature for a pattern whose
    magnitudes vary reads some coordinates more than others. False where training diverged.
    """
    return measured.memorization_share >= DATAPOINT


def fails(measured: xr.Dataset) -> xr.DataArray:
    """Where a transcoder has a pattern feature (:func:`writes_pattern`) or has not learned the
    task: its FVU is not below 0.1, or its training diverged."""
    return writes_pattern(measured) | ~(measured.fvu < LOST)


def summary(tables: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One row an arm: the states' counts, the rate of memorised seeds with its 95 % Wilson
    interval, and medians over seeds. Diverged seeds are left out.

    Raises:
        ValueError: if the experiments repeat no point, or several.
    """
    rows = {}
    for arm, measured in tables.items():
        if "state" not in measured or "point" in measured.dims:
            raise ValueError(f"{arm}: a summary needs experiments with exactly one repeated point.")
        measured = measured.isel(inst=np.flatnonzero(measured.state != ""))
        states = measured.state.values
        k, n = int(np.isin(states, ("datapoint", "pair")).sum()), len(states)
        low, high = rate_interval(k, n)
        rows[arm] = {
            "seeds": n,
            **{name: int((states == name).sum()) for name in STATES},
            "memorised": f"{k / n:.2f} [{low:.2f}, {high:.2f}]",
            "median FVU": f"{measured.fvu.median():.4f}",
            "median L0": f"{measured.l0.median():.2f}",
            "median active at p": f"{measured.active_at_p.median():.0f}",
            "median ‖offdiag J‖ at p": f"{measured.off_diagonal_norm.median():.2f}",
        }
    return pd.DataFrame(rows).T


def _alike(experiments: Sequence[Experiment], indices: list[int], size: int) -> list[list[int]]:
    """Groups of experiments that are measured on the same inputs, at most ``size`` each."""
    groups: dict[Any, list[int]] = {}
    for i in indices:
        e = experiments[i]
        groups.setdefault((e.target, e.d_in, e.density, e.blur, e.points), []).append(i)
    return [g[k : k + size] for g in groups.values() for k in range(0, len(g), size)]


def varying_fields(experiments: Sequence[Experiment]) -> dict[str, tuple[str, list[Any]]]:
    """The fields in which experiments differ, as coordinates over ``inst``."""
    names = ["seed"] + [name for name in Experiment.__dataclass_fields__ if name != "seed"]
    values = {name: [getattr(e, name) for e in experiments] for name in names}
    return {
        name: ("inst", column if name != "points" else list(map(str, column)))
        for name, column in values.items()
        if name == "seed" or len(set(column)) > 1
    }
