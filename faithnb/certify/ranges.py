"""How far features can be activated on a box, and how far around a point all is faithful."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from faithnb.certify.box import Reals, box_of
from faithnb.certify.certificate import Certificate
from faithnb.certify.piecewise import of_transcoder
from faithnb.certify.questions import BELOW, error_on, jacobian_on
from faithnb.certify.solving import CLOSED, MARGIN, Effort, largest
from faithnb.certify.splitting import Splitting
from faithnb.common.checks import exact
from faithnb.common.errors import InputError
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@dataclass(frozen=True, eq=False)
class Ranges:
    """How far features can be activated on a box: certified bounds, and what was found.

    Attributes:
        low: ``[d_sae]``, no activation is below it.
        high: ``[d_sae]``, none is above it.
        least: ``[d_sae]``, the smallest found.
        most: ``[d_sae]``, the largest found.
        at: ``[d_sae, d_in]``, where the largest is.
        closed: whether all of them agree to 1e-6.
        seconds: that it took.
    """

    low: Float[ndarray, "d_sae"]
    high: Float[ndarray, "d_sae"]
    least: Float[ndarray, "d_sae"]
    most: Float[ndarray, "d_sae"]
    at: Float[ndarray, "d_sae d_in"]
    closed: bool
    seconds: float


@exact
def activation_range(
    transcoder: Transcoder,
    support: Sequence[int] | None = None,
    low: Reals = -1.0,
    high: Reals = 1.0,
    around: Float[Tensor, "d_in"] | None = None,
    time_limit: float | None = None,
    workers: int | None = None,
    most_boxes: int | None = None,
) -> Ranges:
    """The least and the largest activation of each feature on a box. Arguments and errors are those
    of :func:`faithnb.certify.worst_error`."""
    effort = Effort.asked(time_limit, workers, True, most_boxes)
    box = box_of(transcoder.d_in, support, low, high, around)
    f = of_transcoder(transcoder)
    n, eye = len(f.bias), np.eye(len(f.bias))
    of_features = replace(f, write=eye, linear=np.zeros((n, transcoder.d_in)), offset=np.zeros(n))
    g = box.seen(of_features).simplified()
    outcome = largest(Splitting(g, np.concatenate([eye, -eye])), effort)
    sure = outcome.dual + outcome.slack
    return Ranges(
        np.maximum(-sure[n:], 0) + 0.0,
        np.maximum(sure[:n], 0),
        -outcome.value[n:] + 0.0,
        outcome.value[:n],
        box.points(outcome.at[:n]),
        bool((outcome.dual - outcome.value).max() <= CLOSED),
        time.perf_counter() - effort.begun,
    )


@exact
def faithful_radius(
    transcoder: Transcoder,
    layer: Layer,
    p: Float[Tensor, "d_in"],
    tolerance: float,
    of: Literal["error", "jacobian"] = "error",
    support: Sequence[int] | None = None,
    limit: float = 2.0,
    margin: float = MARGIN,
    time_limit: float | None = None,
    workers: int | None = None,
    most_boxes: int | None = None,
) -> Certificate:
    """The largest r such that on the box ``|x_k − p_k| ≤ r`` over some coordinates no output's
    error exceeds the tolerance, or no entry's of the Jacobian.

    Its ``bound`` is a radius for which that is proved, 0 if it may not even hold at p. Its
    ``value`` is the distance of the witness, an input which exceeds the tolerance, or misses it by
    less than 1e-6; infinite if there is none up to the limit. Errors besides are those of
    :func:`faithnb.certify.worst_error`.

    Args:
        transcoder: as there.
        layer: as there.
        p: the point.
        tolerance: above 0.
        of: the error of outputs, or of the Jacobian's entries.
        support: the coordinates that vary, from 0; by default those where p is not 0.
        limit: the largest radius that is looked at.
        margin: for the Jacobian, as in :func:`faithnb.certify.worst_jacobian_error`, of each box.
        time_limit: seconds, for all of it.
        workers: as there.
        most_boxes: as there, for each radius that is looked at.
    """
    for name, given in ("tolerance", tolerance), ("limit", limit):
        if not given > 0:
            raise InputError(f"{name} = {given} is not allowed: it must be above 0.")
    effort = Effort.asked(time_limit, workers, most_boxes=most_boxes)
    some = torch.nonzero(p)[:, 0].tolist() if support is None else support

    def within(r: float) -> Certificate:
        box, left = box_of(layer.d_in, some, -r, r, p), effort.again()
        floor = tolerance - BELOW, tolerance
        if of == "error":
            return error_on(transcoder, layer, box, left, *floor)
        return jacobian_on(transcoder, layer, box, left, margin, True, *floor)

    sure, beyond, nearest = 0.0, np.inf, within(limit)
    last, r, boxes, programs = nearest, limit, 0, 0
    while True:
        boxes, programs = boxes + last.boxes, programs + last.programs
        if last.bound <= tolerance:
            sure = r
        elif last.value > tolerance - CLOSED:
            away = np.abs(np.array(last.witness) - p.cpu().numpy()).max()
            beyond, nearest = min(float(away), r), last
        else:
            break
        if sure >= limit or beyond - sure <= CLOSED or effort.left <= 0:
            break
        r = (sure + beyond) / 2
        last = within(r)
    gap = max(beyond - sure, 0.0) if sure < limit else 0.0
    box = box_of(layer.d_in, some, -sure, sure, p)
    asked = {"tolerance": tolerance, "of": of, "limit": limit}
    return replace(
        nearest, what="faithful_radius", bound=sure, value=beyond, dual_bound=sure, slack=0.0,
        gap=gap, closed=gap <= CLOSED, seconds=time.perf_counter() - effort.begun,
        low=tuple(box.low.tolist()), high=tuple(box.high.tolist()), by_output=(), boxes=boxes,
        programs=programs, asked=nearest.asked | asked,
    )  # fmt: skip
