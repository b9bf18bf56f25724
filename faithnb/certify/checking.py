"""Whether certificates hold: by the second method, and the witness by the transcoder itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch

from faithnb.certify.box import Box
from faithnb.certify.certificate import Certificate, digest
from faithnb.certify.enumeration import largest_output, largest_slope
from faithnb.certify.piecewise import of_transcoder
from faithnb.certify.questions import copies, error_problem, jacobian_problem
from faithnb.certify.solving import task_of
from faithnb.certify.splitting import Slopes, Splitting
from faithnb.common.errors import InputError
from faithnb.data.sampling import pad_points
from faithnb.model.layer import LAYERS, Layer
from faithnb.model.transcoder import Transcoder, load

AGREE = 1e-6
"""How far the two methods may be apart."""

MOST_PATTERNS = 2e4
"""That are enumerated at most, as far as their number is known before; else a mixed-integer program
looks for anything above the bound. Certificates that were found by splitting need none, so that
it is another method too."""

SECONDS = 120.0
"""That one such program may take."""


def layer_named(name: str, d_in: int, point: list[float]) -> Layer:
    """A layer of the package, for the point that it may have a mechanism for.

    Raises:
        InputError: if there is no such layer.
    """
    if name not in LAYERS:
        raise InputError(
            f"layer = {name!r} is not allowed: it must be one of {', '.join(sorted(LAYERS))}."
        )
    return LAYERS[name].of_experiment(d_in, pad_points([tuple(point)], d_in), "zero")


def wrong(certificate: Certificate) -> Iterator[str]:
    """A sentence for each thing in which a certificate does not hold; nothing if it does.

    Raises:
        InputError: if it does not say where its transcoder is, or there is not time to check it.
    """
    c, source = certificate, certificate.source
    if not source:
        raise InputError("the certificate does not say where its transcoder is.")
    transcoder = load(source["folder"])[source["instance"]].in_float64()
    if digest(transcoder) != c.weights:
        yield f"{source['folder']} holds other weights than those that were certified."
        return
    layer = layer_named(source["layer"], transcoder.d_in, list(source["point"]))
    box = Box(np.array(c.low), np.array(c.high))
    if c.what == "faithful_radius" and c.bound == 0:
        return  # nothing is claimed
    if c.what == "faithful_radius":
        bound, problems = float(c.asked["tolerance"]), _of_radius(c, transcoder, layer, box)
    else:
        bound, problems = c.bound, _problems(c, transcoder, layer, box)
        attained = _attained(c, transcoder, layer, box)
        if attained is None:
            yield "the witness is not in the box."
        elif abs(attained - c.value) > AGREE:
            yield f"the witness attains {attained:.9g}, not {c.value:.9g}."
    found = max(_largest(one, bound, c.asked.get("margin", 0.0)) for one in problems)
    if found > bound + AGREE:
        yield f"there is {found:.9g}, above the bound {bound:.9g}."
    if c.closed and c.what != "faithful_radius" and c.value < c.dual_bound - 2 * AGREE:
        yield f"it is said to be closed at {c.dual_bound:.9g}; the witness attains {c.value:.9g}."


def _attained(c: Certificate, t: Transcoder, layer: Layer, box: Box) -> float | None:
    x = np.atleast_2d(np.array(c.witness))
    if (x < box.low).any() or (x > box.high).any():
        return None
    at = torch.from_numpy(x)
    if c.what == "mechanism":
        y = t(at)[0, :, c.entry[0]]
        return float((y[0] - y[1]).abs()) if (x[0] == x[1])[c.entry[0]] else None
    if c.what == "worst_error":
        return float((t(at)[0] - layer(at))[0, c.entry[0]].abs())
    return float((t.jacobian(at)[0, 0] - layer.jacobian(at)[0])[tuple(c.entry)].abs())


def _problems(c: Certificate, t: Transcoder, layer: Layer, box: Box) -> Iterator[Splitting]:
    if c.what == "worst_error":
        yield error_problem(t, layer, box)
    elif c.what == "mechanism":
        yield from (copies(of_transcoder(t), box, j)[0] for j in range(t.d_out))
    else:
        diagonal = c.what == "worst_jacobian_error"
        yield jacobian_problem(t, layer, box, c.asked["margin"], diagonal)[0]


def _of_radius(c: Certificate, t: Transcoder, layer: Layer, box: Box) -> Iterator[Splitting]:
    if c.asked["of"] == "error":
        yield error_problem(t, layer, box)
    elif len(box.free):
        yield jacobian_problem(t, layer, box, c.asked["margin"], True)[0]


def _largest(problem: Splitting, bound: float, margin: float) -> float:
    """The largest goal by enumeration; where that is too long, what exceeds the bound, if anything.

    Raises:
        InputError: if a program takes too long.
    """
    if _patterns(*problem.f.read.shape) <= MOST_PATTERNS:
        if isinstance(problem, Slopes):
            return largest_slope(problem.f, problem.weight, problem.offset, margin)
        return largest_output(problem.f, problem.goals)
    best, whole = bound, (-np.ones(problem.m), np.ones(problem.m))
    for j in range(problem.n_goals):
        solved = task_of(problem, j, whole, bound + AGREE).solve(SECONDS)
        if solved.at is not None:
            best = max(best, float(problem.values(solved.at[None])[0].max()))
        if not solved.final and solved.dual_bound > bound + AGREE:
            raise InputError(f"a program was not solved in {SECONDS:g} seconds.")
    return best


def _patterns(n: int, m: int) -> float:
    """Into how many parts n planes cut m dimensions at most, Σ_i C(n, i)."""
    return float(sum(math.comb(n, i) for i in range(min(n, m) + 1)))
