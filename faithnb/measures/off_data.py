"""How a transcoder does where no data are: beside a point, and what it says of changed inputs."""

from __future__ import annotations

import numpy as np
import torch

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs, Point, ray, sign_flips, subsets, without_one
from faithnb.measures.circuits import circuit_match, mechanism_error
from faithnb.measures.error import relative_error
from faithnb.measures.interventions import change_error
from faithnb.measures.registry import PerInstance, measure
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@measure("relative squared error", costly=True)
@exact
def parts_error(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """The error at p with some of its coordinates missing, relative to the outputs there.

    Raises:
        ValueError: if p has a single coordinate, and so no parts.
    """
    return relative_error(transcoder, target, _some(subsets(p)))


@measure("relative squared error", costly=True)
@exact
def ray_error(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """The error along t · p, t up to 2, relative to the outputs there."""
    return relative_error(transcoder, target, ray(p))


@measure("relative squared error", costly=True)
@exact
def signs_error(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """The error at p with the signs of some of its coordinates changed, relative to the outputs
    there."""
    return relative_error(transcoder, target, sign_flips(p))


@measure("relative squared error", costly=True)
@exact
def mechanism_error_at_p(transcoder: Transcoder, target: Layer, x: Inputs, p: Point) -> PerInstance:
    """:func:`faithnb.measures.circuits.mechanism_error` at p, with the features counted towards
    the circuits that they are like on x and p."""
    return mechanism_error(transcoder, target, p[None], assign_on=torch.cat([x, p[None]]))


@measure("share of circuits", costly=True)
@exact
def circuit_match_with_p(transcoder: Transcoder, target: Layer, x: Inputs, p: Point) -> np.ndarray:
    """:func:`faithnb.circuit_match` on x and p, for layers with a circuit that
    acts at p alone."""
    return circuit_match(transcoder, target, torch.cat([x, p[None]]))


@measure("relative squared error", name="response_error", costly=True)
@measure("relative squared error", name="response_error_at_p", at="p", costly=True)
@exact
def response_error_of_one(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """:func:`faithnb.measures.interventions.change_error` where one coordinate that is not 0 is
    taken away."""
    return change_error(transcoder, target, *without_one(x))


def _some(x: Inputs) -> Inputs:
    if len(x) == 0:
        raise ValueError("p has a single coordinate that is not 0, and so no parts.")
    return x
