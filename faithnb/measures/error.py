"""How far outputs are from the layer's, on the data and off it."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs, Point, fixed, subsets
from faithnb.measures.registry import ROUNDING, PerInstance, measure, outputs
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@measure("summed squared error")
@measure("summed squared error", name="error_at_p", at="p")
@exact
def mse(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """E ‖ŷ − y‖², summed over coordinates (not divided by d_out)."""
    return (transcoder(x) - outputs(target, x)).square().sum(-1).mean(-1)


@measure("fraction of variance unexplained")
@exact
def fvu(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
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
def relative_error(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """E‖ŷ − y‖² / E‖y‖²: like :func:`fvu`, but 1 for a transcoder that gives 0. For inputs whose
    outputs hardly vary.

    Raises:
        ValueError: if the target's output is 0 on all of x.
    """
    size = outputs(target, x).square().sum(-1).mean()
    if size == 0:
        raise ValueError("relative_error needs inputs on which the target's output is not 0.")
    return mse(transcoder, target, x) / size


@measure("fraction of variance")
@exact
def explained_variance(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """1 − FVU."""
    return 1 - fvu(transcoder, target, x)


@exact
def off_distribution_fvu(
    transcoder: Transcoder,
    target: Layer,
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
        x = 2 * fixed("uniform", n, transcoder.d_in) - 1
    elif kind == "near_point" and p is not None:
        x = p.cpu() + scale * fixed("normal", n, transcoder.d_in)
    else:
        raise ValueError(
            f"kind = {kind!r} is not allowed: use 'dense', or 'near_point' together with p."
        )
    return fvu(transcoder, target, x)


@measure("fraction of variance unexplained")
@exact
def dense_fvu(transcoder: Transcoder, target: Layer) -> PerInstance:
    """:func:`off_distribution_fvu` on dense inputs."""
    return off_distribution_fvu(transcoder, target)


@measure("fraction of variance unexplained")
@exact
def near_point_fvu(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """:func:`off_distribution_fvu` near p."""
    return off_distribution_fvu(transcoder, target, "near_point", p)


@measure("summed squared error")
@exact
def subset_error(
    transcoder: Transcoder, target: Layer, p: Point, per_subset: bool = False
) -> Float[Tensor, "n_inst"] | Float[Tensor, "n_inst n_subsets"]:
    """‖ŷ − y‖² at p with some coordinates missing, averaged over
    :func:`faithnb.data.inputs.subsets`, or each; NaN where p has a single coordinate, and so
    none."""
    x = subsets(p)
    error = (transcoder(x) - outputs(target, x)).square().sum(-1)
    return error if per_subset else error.mean(-1)


@exact
def error_without_one(transcoder: Transcoder, target: Layer, p: Point) -> PerInstance:
    """‖ŷ − y‖² at p with one of its coordinates missing, averaged over which."""
    of_each = subset_error(transcoder, target, p, per_subset=True)
    return of_each[:, -int((p != 0).sum()) :].mean(-1)
