"""Inner products of Jacobians from the weights alone; no Jacobian is written out.

J_T is the sum of s_i d_i e_iᵀ over the features with their slopes s_i, and of the linear part, J_M
that of its units with theirs, so their products are sums of inner products of weights.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.model.layer import Layer, basis
from faithnb.model.transcoder import Transcoder


def diagonal_products(transcoder: Transcoder) -> Float[Tensor, "n_inst d_sae d_in"]:
    """e_ij d_ij: what feature i, when on, adds to the diagonal entry (j, j) of the Jacobian."""
    return transcoder.reads.mT * transcoder.writes


def gram(transcoder: Transcoder) -> Float[Tensor, "n_inst d_sae d_sae"]:
    """(e_i · e_j)(d_i · d_j): the inner product of what features i and j, when on, add to the
    Jacobian; G_d ∘ G_e with the Gram matrices G_d = W_dec W_decᵀ and G_e = W_encᵀ W_enc."""
    return (transcoder.reads.mT @ transcoder.reads) * (transcoder.writes @ transcoder.writes.mT)


def overlaps(transcoder: Transcoder, target: Layer) -> Float[Tensor, "n_inst d_sae d_hidden"]:
    """(e_i · read_k)(d_i · write_k): the inner product of what feature i and the target's unit k,
    when on, add to the Jacobian."""
    if target.units is None:
        return diagonal_products(transcoder)
    read, write = (w.to(transcoder.W_enc) for w in target.units)
    return (transcoder.reads.mT @ read.T) * (transcoder.writes @ write.T)


def squared_norm(target: Layer, slope: Tensor) -> Tensor:
    """‖J_M‖_F² from the slopes of the target's units."""
    if target.units is None:
        return slope.square().sum(-1)
    read, write = (w.to(slope) for w in target.units)
    return ((slope @ ((read @ read.T) * (write @ write.T))) * slope).sum(-1)


def inner_products(
    transcoder: Transcoder,
    target: Layer,
    s: Float[Tensor, "n_inst B d_sae"],
    slope: Float[Tensor, "*inst B d_hidden"],
) -> tuple[Tensor, Tensor, Tensor]:
    """⟨J_T, J_T⟩, ⟨J_T, J_M⟩ and ⟨J_M, J_M⟩ at each input, from the slopes of the features and of
    the target's units."""
    own = ((s @ gram(transcoder)) * s).sum(-1)
    mixed = ((s @ overlaps(transcoder, target)) * slope).sum(-1)
    if transcoder.W_skip is not None:
        skip = transcoder.W_skip
        along = ((skip.mT @ transcoder.reads).mT * transcoder.writes).sum(-1)
        own = own + 2 * (s @ along[..., None])[..., 0] + skip.square().sum((1, 2))[:, None]
        mixed = mixed + (slope @ overlaps_of_skip(skip, target)[..., None])[..., 0]
    return own, mixed, squared_norm(target, slope)


def inner_products_by_columns(
    transcoder: Transcoder,
    target: Layer,
    s: Float[Tensor, "n_inst B d_sae"],
    x: Float[Tensor, "B d_in"],
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`inner_products` for a layer that does not say its units: column by column of the
    two Jacobians."""
    own, mixed, size = torch.zeros_like(s[..., 0]), torch.zeros_like(s[..., 0]), x.new_zeros(len(x))
    for e in basis(target.d_in, x):
        along = e.expand_as(x)
        of_T, of_M = transcoder.push(along, s), target.jvp(x, along)
        own = own + of_T.square().sum(-1)
        mixed = mixed + (of_T * of_M).sum(-1)
        size = size + of_M.square().sum(-1)
    return own, mixed, size


def overlaps_of_skip(
    skip: Float[Tensor, "n_inst d_in d_out"], target: Layer
) -> Float[Tensor, "n_inst d_hidden"]:
    """read_k · W_skip write_k, the inner product of the linear part with what unit k adds."""
    if target.units is None:
        return skip.diagonal(dim1=-2, dim2=-1)
    read, write = (w.to(skip) for w in target.units)
    return ((read @ skip) * write).sum(-1)


def diagonal(transcoder: Transcoder, s: Float[Tensor, "n_inst B d_sae"]) -> Tensor:
    """The diagonal of J_T from the slopes of the features."""
    found = s @ diagonal_products(transcoder)
    if transcoder.W_skip is None:
        return found
    return found + transcoder.W_skip.diagonal(dim1=-2, dim2=-1)[:, None]


def target_diagonal(target: Layer, slope: Tensor) -> Tensor:
    """The diagonal of J_M from the slopes of the target's units."""
    if target.units is None:
        return slope
    read, write = (w.to(slope) for w in target.units)
    return slope @ (read * write)
