"""How the transcoder's derivatives are against the layer's."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs, Point, ball
from faithnb.measures.activity import contribution_sizes
from faithnb.measures.registry import (
    CONTRIBUTES,
    PerInstance,
    measure,
    remembered,
    require_square,
)
from faithnb.model.foreign import Foreign
from faithnb.model.jacobians import (
    diagonal,
    inner_products,
    inner_products_by_columns,
    target_diagonal,
)
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@exact
@remembered
def jacobian_products(
    transcoder: Transcoder, target: Layer, x: Inputs
) -> tuple[Float[Tensor, "n_inst B"], Float[Tensor, "n_inst B"], Float[Tensor, "B"]]:
    """⟨J_T, J_T⟩, ⟨J_T, J_M⟩ and ⟨J_M, J_M⟩ at each input, in float64, without the entries that the
    target leaves undefined.

    No Jacobian is written out, see :mod:`faithnb.model.jacobians`, unless it is another's module.
    """
    if not isinstance(target, Layer):
        target = Layer.of(target, transcoder.d_in)
    if isinstance(transcoder, Foreign):
        return products_of(transcoder.jacobian(x), target.jacobian(x), target.ignored(x))
    s = transcoder.slopes(x)
    if not target.has_units():
        return inner_products_by_columns(transcoder, target, s, x)
    slope, ignored = target.slope(x), target.ignored(x)
    own, mixed, size = inner_products(transcoder, target, s, slope)
    if ignored.any():
        of_T = diagonal(transcoder, s) * ignored
        of_M = target_diagonal(target, slope) * ignored
        own = own - of_T.square().sum(-1)
        mixed = mixed - (of_T * of_M).sum(-1)
        size = size - of_M.square().sum(-1)
    return own, mixed, size


def products_of(
    of_T: Float[Tensor, "n_inst B d_out d_in"],
    of_M: Float[Tensor, "B d_out d_in"],
    ignored: Bool[Tensor, "B k"],
) -> tuple[Float[Tensor, "n_inst B"], Float[Tensor, "n_inst B"], Float[Tensor, "B"]]:
    """:func:`jacobian_products` from the Jacobians themselves."""
    if ignored.any():
        kept = ~torch.diag_embed(ignored)
        of_T, of_M = of_T * kept, of_M * kept
    return (
        of_T.square().sum((-1, -2)), (of_T * of_M).sum((-1, -2)), of_M.square().sum((-1, -2))
    )  # fmt: skip


@measure("relative squared error")
@measure("relative squared error", name="jacobian_error_at_p", at="ball")
@exact
def jacobian_error(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """E‖J_T − J_M‖_F² / E‖J_M‖_F²: 0 where the derivatives agree, 1 for a constant transcoder.

    Raises:
        ValueError: if the target's Jacobian is 0, or undefined, on all of x.
    """
    own, mixed, size = jacobian_products(transcoder, target, x)
    _need_a_slope("jacobian_error", size)
    return ((own - 2 * mixed + size).sum(-1) / size.sum()).clamp(min=0)


@measure("cosine")
@exact
def jacobian_cosine(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
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
        ValueError: if p is 0, or outputs are no coordinates of the inputs.
    """
    require_square(transcoder)
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
    slopes = transcoder.slopes(p[None])[:, 0]
    slopes = slopes * on.repeat(1, slopes.shape[-1] // on.shape[-1])
    found = ((transcoder.reads * slopes[:, None]) @ transcoder.writes).mT
    return found if transcoder.W_skip is None else found + transcoder.W_skip.mT


def error_of_point_alone(jacobian: Float[Tensor, "d d"], p: Point) -> float:
    """Share of ‖J‖_F² that is left when J is replaced by the multiple of p pᵀ nearest to it: the
    least Jacobian error of a single feature that reads and writes p."""
    of_p = (p @ jacobian @ p) / (p @ p) ** 2 * torch.outer(p, p)
    return ((jacobian - of_p).square().sum() / jacobian.square().sum()).item()


def singular_values(jacobians: Float[Tensor, "B d_out d_in"]) -> Float[np.ndarray, "B k"]:
    """Of the Jacobian at each input, the largest first."""
    return torch.linalg.svdvals(jacobians).numpy()


def tail_share(singular: Float[np.ndarray, "B k"], kept: int = 1) -> Float[np.ndarray, "B"]:
    """Share of ‖J‖_F² at each input that all but the ``kept`` largest singular values make up."""
    return (singular[:, kept:] ** 2).sum(1) / (singular**2).sum(1)


def active_share(jacobians: Float[Tensor, "B d_out d_in"], x: Inputs) -> Float[Tensor, "B"]:
    """Share of ‖J‖_F² at each input in the columns of the coordinates that are not 0 there."""
    active = (x != 0).to(jacobians)[:, None]
    return (jacobians * active).square().sum((1, 2)) / jacobians.square().sum((1, 2))


@measure("Frobenius norm")
@exact
def off_diagonal_norm(transcoder: Transcoder, p: Point) -> PerInstance:
    """‖offdiag J‖_F of :func:`jacobian_at_point`; 0 for ``|x|``."""
    J = jacobian_at_point(transcoder, p)
    return (J - torch.diag_embed(J.diagonal(dim1=-2, dim2=-1))).norm(dim=(-2, -1))


@measure("share of squared norm")
@exact
def off_diagonal_share(transcoder: Transcoder, p: Point) -> PerInstance:
    """‖offdiag J‖_F² / ‖J‖_F² of :func:`jacobian_at_point`: 0 for ``|x|``, 2/3 for a sole datapoint
    feature at three ones; NaN where the Jacobian is 0."""
    J = jacobian_at_point(transcoder, p)
    return off_diagonal_norm(transcoder, p).square() / J.square().sum((-2, -1))


@measure("share of squared contributions")
@measure("share of squared contributions", name="masking_index_at_p", at="ball")
@exact
def masking_index(transcoder: Transcoder, x: Inputs, small: float = 0.05) -> PerInstance:
    """Share of the squared Jacobian contributions, Σ ‖w_enc,i‖² ‖w_dec,i‖² over the features that
    are on, carried by features that a step of ``small`` in the input can turn off: those that
    contribute less than ``small`` times ‖w_enc,i‖ ‖w_dec,i‖.

    It is high where derivatives are made by features that hardly act for their weights: gradient
    masking. Neither splitting a feature nor rescaling it changes its share. The true circuits of
    y = abs(x) have ``small`` itself, on inputs uniform on (−1, 1). NaN where nothing is on.

    Raises:
        ValueError: if the features are no ReLUs: what turns them off is not known then.
    """
    if not transcoder.is_relu:
        raise ValueError(
            f"masking_index is defined for ReLUs alone, not for {type(transcoder).__name__}."
        )
    size = contribution_sizes(transcoder, x)
    gain = (transcoder.W_enc.norm(dim=1) * transcoder.decoder_norms())[:, None]
    carried = (size > 0) * gain.square()
    return (carried * (size < small * gain)).sum((1, 2)) / carried.sum((1, 2))
