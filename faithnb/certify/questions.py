"""What can be certified of a transcoder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from faithnb.certify.box import Box, Reals, box_of
from faithnb.certify.certificate import Certificate, digest
from faithnb.certify.piecewise import Piecewise, of_layer, of_transcoder
from faithnb.certify.solving import CLOSED, MARGIN, Effort, Outcome, largest
from faithnb.certify.splitting import Slopes, Splitting
from faithnb.common.checks import exact
from faithnb.common.errors import InputError
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

BELOW = 1e-9
"""How far below a number a bound is searched for that is to be within it, rounding included."""


@exact
def worst_error(
    transcoder: Transcoder,
    layer: Layer,
    support: Sequence[int] | None = None,
    low: Reals = -1.0,
    high: Reals = 1.0,
    around: Float[Tensor, "d_in"] | None = None,
    each: bool = False,
    time_limit: float | None = None,
    workers: int | None = None,
    most_boxes: int | None = None,
) -> Certificate:
    """The largest ``|ŷ_j − y_j|`` over inputs of a box and over outputs.

    Weights of any type are taken to float64 exactly, and the certificate is about these. Where the
    transcoder jumps (JumpReLU, a tie of TopK), both values are allowed: the bound is a supremum.

    Args:
        transcoder: one instance of relu, jumprelu, topk or batch_topk, with a linear part or not.
        layer: a sum of ReLUs, absolute values and GELUs. A smooth one is replaced by chords, whose
            distance is added to the bound: the certificate is valid, and not closed.
        support: the coordinates that vary, from 0; the others are 0. All by default.
        low: of the box; one number, or one for each coordinate of the support.
        high: likewise.
        around: a point that the box is around: ``low`` and ``high`` are distances from it, and the
            other coordinates are its own.
        each: whether each output's own largest error is asked for.
        time_limit: seconds after which what is known by then is returned, not closed: 60 by
            default, and as many as it takes where ``most_boxes`` is given.
        workers: processes for mixed-integer programs, where any are needed; one a core by default.
        most_boxes: boxes to split into, at most. No program is solved then, so that without a time
            limit every machine comes to the same bound, not closed where the boxes do not suffice.

    Raises:
        InputError: if the box is empty, or the layer or the architecture is not piecewise linear.
        ParameterError: if there is no time.
    """
    effort = Effort.asked(time_limit, workers, each, most_boxes)
    box = box_of(layer.d_in, support, low, high, around)
    return error_on(transcoder, layer, box, effort)


def error_on(
    transcoder: Transcoder,
    layer: Layer,
    box: Box,
    effort: Effort,
    least: float = -np.inf,
    enough: float = np.inf,
) -> Certificate:
    """As :func:`faithnb.certify.worst_error` on a box that is made already; errors up to ``least``
    are of no interest, and one above ``enough`` ends the search."""
    problem = error_problem(transcoder, layer, box)
    apart = problem.apart
    outcome = largest(problem, effort, least - apart.max(), enough + apart.max())
    outcome.dual = outcome.dual + apart

    def attained(x: Tensor, entry: tuple[int, ...]) -> float:
        return float((transcoder(x)[0] - layer(x))[0, entry[0]].abs())

    entries = [(j,) for j in range(transcoder.d_out)] * 2
    return _certificate("worst_error", outcome, entries, box, attained, transcoder, layer, effort)


def error_problem(transcoder: Transcoder, layer: Layer, box: Box) -> Splitting:
    """Outputs of the difference, with either sign."""
    f = of_transcoder(transcoder).minus(of_layer(layer))
    eye = np.eye(len(f.offset))
    return Splitting(box.seen(f).simplified(), np.concatenate([eye, -eye]))


@exact
def worst_jacobian_error(
    transcoder: Transcoder,
    layer: Layer,
    support: Sequence[int] | None = None,
    low: Reals = -1.0,
    high: Reals = 1.0,
    around: Float[Tensor, "d_in"] | None = None,
    margin: float = MARGIN,
    each: bool = False,
    time_limit: float | None = None,
    workers: int | None = None,
    most_boxes: int | None = None,
    diagonal: bool = True,
) -> Certificate:
    """The largest entry of ``J_T − J_M``, in absolute value, over the inputs of a box at which both
    have a Jacobian: over all patterns of activation that occur.

    An entry (j, k) counts if x_k varies. Inputs nearer than the margin to any kink or jump are left
    out, because no float64 tells on which side they are: so a pattern counts only if it occurs on a
    region that is at least that wide. Other arguments and errors are those of
    :func:`faithnb.certify.worst_error`.

    Args:
        margin: as a share of half of the box's width.
        diagonal: whether entries (j, j) count.
    """
    effort = Effort.asked(time_limit, workers, each, most_boxes)
    box = box_of(layer.d_in, support, low, high, around)
    return jacobian_on(transcoder, layer, box, effort, margin, diagonal)


@wraps(worst_jacobian_error, assigned=("__annotations__",), updated=())
def worst_off_diagonal(*given: Any, **named: Any) -> Certificate:
    """:func:`faithnb.certify.worst_jacobian_error` without the diagonal, and with its arguments. Of
    a layer with a diagonal Jacobian it is the largest such entry of the transcoder's own."""
    return worst_jacobian_error(*given, **(named | {"diagonal": False}))


def jacobian_on(
    transcoder: Transcoder,
    layer: Layer,
    box: Box,
    effort: Effort,
    margin: float,
    diagonal: bool,
    least: float = -np.inf,
    enough: float = np.inf,
) -> Certificate:
    """As :func:`worst_jacobian_error` on a box that is made already."""
    if not len(box.free):
        raise InputError("low = high is not allowed: no coordinate varies, so no entry counts.")
    if not 0 < margin < 1:
        raise InputError(f"margin = {margin} is not allowed: it must be between 0 and 1.")
    problem, named = jacobian_problem(transcoder, layer, box, margin, diagonal)
    outcome = largest(problem, effort, least, enough)

    def attained(x: Tensor, entry: tuple[int, ...]) -> float:
        of_both = transcoder.jacobian(x)[0, 0] - layer.jacobian(x)[0]
        return float(of_both[entry].abs())

    what = "worst_jacobian_error" if diagonal else "worst_off_diagonal"
    made = _certificate(what, outcome, named, box, attained, transcoder, layer, effort)
    return replace(made, asked=made.asked | {"margin": margin})


def jacobian_problem(
    transcoder: Transcoder, layer: Layer, box: Box, margin: float, diagonal: bool
) -> tuple[Slopes, list[tuple[int, ...]]]:
    """Entries of the difference's Jacobian, with either sign, and which they are."""
    f = of_transcoder(transcoder).minus(of_layer(layer))
    if f.apart is not None:
        raise InputError(
            "a smooth layer is not allowed: it is certified by chords, which say nothing of its "
            "Jacobian; ask for the worst error."
        )
    entries = [
        (j, k) for j in range(len(f.offset)) for k in range(len(box.free))
        if diagonal or j != box.free[k]
    ]  # fmt: skip
    g = box.seen(f).simplified()
    at = np.array(entries).reshape(-1, 2).T
    per_unit = (g.write[:, at[0]] * g.read[:, at[1]] / box.radius[at[1]]).T
    constant = g.linear[at[0], at[1]] / box.radius[at[1]]
    slopes = Slopes(
        g, np.concatenate([per_unit, -per_unit]), np.concatenate([constant, -constant]), margin
    )
    named: list[tuple[int, ...]] = [(j, int(box.free[k])) for j, k in entries]
    return slopes, named * 2


@exact
def mechanism_certificate(
    transcoder: Transcoder,
    support: Sequence[int] | None = None,
    low: Reals = -1.0,
    high: Reals = 1.0,
    around: Float[Tensor, "d_in"] | None = None,
    epsilon: float | None = None,
    time_limit: float | None = None,
    workers: int | None = None,
    most_boxes: int | None = None,
) -> Certificate:
    """Whether on a box every output depends on its own coordinate alone: the largest
    ``|ŷ_j(x) − ŷ_j(x′)|`` over outputs j and inputs of the box with ``x_j = x′_j``.

    The witness is the pair. Arguments and errors besides are those of
    :func:`faithnb.certify.worst_error`.

    Args:
        transcoder: with as many outputs as inputs; not of TopK, whose copies would compete.
        epsilon: up to which dependence is allowed; the certificate's ``holds`` tells. Smaller
            dependence is not looked at then.
        most_boxes: as there, for each output.
    """
    effort = Effort.asked(time_limit, workers, most_boxes=most_boxes)
    box = box_of(transcoder.d_in, support, low, high, around)
    f = of_transcoder(transcoder)
    if f.n_ranked or transcoder.d_in != transcoder.d_out:
        raise InputError(
            "transcoder is not allowed: it must have as many outputs as inputs, and not be a topk."
        )
    if epsilon is not None and not epsilon >= 0:
        raise InputError(f"epsilon = {epsilon} is not allowed: it must be 0 or more.")
    least = -np.inf if epsilon is None else epsilon - BELOW
    outcomes, pairs = [], []
    for j in range(transcoder.d_out):
        problem, pair = copies(f, box, j)
        outcome = largest(problem, effort, least)
        outcomes.append(outcome)
        pairs.append(pair)
        least = max(least, outcome.value.max())
    joined = Outcome(
        np.concatenate([o.value for o in outcomes]),
        np.empty(0),
        np.concatenate([o.dual for o in outcomes]),
        np.concatenate([o.slack for o in outcomes]),
        sum(o.programs for o in outcomes),
        sum(o.boxes for o in outcomes),
    )
    best = int(joined.value.argmax())
    both = pairs[best](outcomes[best].at[0])

    def attained(x: Tensor, entry: tuple[int, ...]) -> float:
        y = transcoder(torch.from_numpy(both))[0, :, entry[0]]
        return float((y[0] - y[1]).abs())

    joined.at = np.zeros((len(joined.value), len(box.free)))
    entries = [(j,) for j in range(transcoder.d_out)]
    made = _certificate("mechanism", joined, entries, box, attained, transcoder, None, effort)
    asked = {} if epsilon is None else {"epsilon": epsilon}
    witness = tuple(tuple(row) for row in both.tolist())
    return replace(made, asked=made.asked | asked, witness=witness)


def copies(f: Piecewise, box: Box, j: int) -> tuple[Splitting, Callable[[ndarray], ndarray]]:
    """Output j at x minus the same at x′, as a function of both, and how to tell them apart."""
    m = len(box.free)
    own = box.free == j
    width = m + int((~own).sum())
    first = np.eye(m, width)
    second = np.zeros((m, width))
    second[own] = first[own]
    second[~own, m:] = np.eye(width - m)
    alone = replace(f, write=f.write[:, [j]], linear=f.linear[[j]], offset=f.offset[[j]])
    seen = box.seen(alone)
    none = np.zeros(m)
    both = seen.seen_from(first, none).minus(seen.seen_from(second, none)).simplified()

    def pair(at: ndarray) -> ndarray:
        return box.points(np.stack([first @ at, second @ at]))

    return Splitting(both, np.ones((1, 1))), pair


def _certificate(
    what: str,
    outcome: Outcome,
    entries: Sequence[tuple[int, ...]],
    box: Box,
    attained: Callable[[Tensor, tuple[int, ...]], float],
    transcoder: Transcoder,
    layer: Layer | None,
    effort: Effort,
) -> Certificate:
    best = int(outcome.value.argmax())
    x = box.points(outcome.at[best][None])
    found = bool(np.isfinite(outcome.value[best]))
    value = attained(torch.from_numpy(x), entries[best]) if found else 0.0
    sure, worst = outcome.dual + outcome.slack, int((outcome.dual + outcome.slack).argmax())
    dual = float(max(outcome.dual.max(), 0.0))
    by_output: dict[int, float] = {}
    for entry, one in zip(entries, sure, strict=True):
        by_output[entry[0]] = max(by_output.get(entry[0], 0.0), float(one))
    asked: dict[str, Any] = {"each": True} if effort.each else {}
    return Certificate(
        what, float(max(sure[worst], value, 0.0)), value, tuple(x[0].tolist()), entries[best], dual,
        float(outcome.slack[worst]), max(dual - value, 0.0), bool(dual - value <= CLOSED),
        time.perf_counter() - effort.begun, tuple(box.low.tolist()), tuple(box.high.tolist()),
        tuple(by_output.get(j, 0.0) for j in range(transcoder.d_out)), outcome.boxes,
        outcome.programs, asked, digest(transcoder), getattr(layer, "name", ""),
    )  # fmt: skip
