"""The worst error of a module on the box of the point, with a proof."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.benchmark.columns import MOST_COORDINATES
from faithnb.certify.box import box_of
from faithnb.certify.questions import error_on
from faithnb.certify.solving import Effort
from faithnb.common.errors import InputError
from faithnb.model.foreign import Foreign
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

MOST_BOXES = 100_000
"""That splitting bounds, so that the same weights get the same bound on every machine. Boxes of
three coordinates take a thousand; what is open in the end has a bound that is valid."""


def certified(
    module: Transcoder | Foreign, layer: Layer, points: Float[Tensor, "n_points d_in"]
) -> tuple[float, str]:
    """A number that no output's error exceeds where each coordinate of a point is in [−1, 1] and
    all others are 0: the largest over the points.

    Args:
        module: as measures take it.
        layer: the task's.
        points: its points, each with a box of its own.

    Returns:
        the number and no word; or NaN, and why in a sentence.
    """
    if isinstance(module, Foreign):
        return math.nan, "Worst errors are certified of transcoders of this package, by weights."
    if not len(points):
        return math.nan, "The task has no point."
    try:
        return max(_on_box_of(module, layer, p) for p in points), ""
    except InputError as error:
        return math.nan, str(error)


def _on_box_of(module: Transcoder, layer: Layer, p: Tensor) -> float:
    some = torch.nonzero(p)[:, 0].tolist()
    if len(some) > MOST_COORDINATES:
        raise InputError(
            f"The point has {len(some)} coordinates; boxes of up to {MOST_COORDINATES} are bounded."
        )
    box = box_of(len(p), some, -1.0, 1.0, None)
    effort = Effort(math.inf, 1, most_boxes=MOST_BOXES, by_programs=False, kept=False)
    return error_on(module, layer, box, effort).bound
