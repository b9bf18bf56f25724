"""Inner products of Jacobians from the weights alone; no Jacobian is written out.

J_T is the sum of d_i e_iᵀ over the features that are on, J_M that of its units, so their products
are sums of inner products of weights.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from faithnb.model.layers import Target
from faithnb.model.transcoder import Transcoder


def diagonal_products(transcoder: Transcoder) -> Float[Tensor, "n_inst d_sae d_in"]:
    """e_ij d_ij: what feature i, when on, adds to the diagonal entry (j, j) of the Jacobian."""
    return transcoder.W_enc.mT * transcoder.W_dec


def gram(transcoder: Transcoder) -> Float[Tensor, "n_inst d_sae d_sae"]:
    """(e_i · e_j)(d_i · d_j): the inner product of what features i and j, when on, add to the
    Jacobian; G_d ∘ G_e with the Gram matrices G_d = W_dec W_decᵀ and G_e = W_encᵀ W_enc."""
    return (transcoder.W_enc.mT @ transcoder.W_enc) * (transcoder.W_dec @ transcoder.W_dec.mT)


def overlaps(transcoder: Transcoder, target: Target) -> Float[Tensor, "n_inst d_sae d_hidden"]:
    """(e_i · read_k)(d_i · write_k): the inner product of what feature i and the target's unit k,
    when on, add to the Jacobian."""
    if target.units is None:
        return diagonal_products(transcoder)
    read, write = (w.to(transcoder.W_enc) for w in target.units)
    return (transcoder.W_enc.mT @ read.T) * (transcoder.W_dec @ write.T)


def squared_norm(target: Target, slope: Tensor) -> Tensor:
    """‖J_M‖_F² from the slopes of the target's units."""
    if target.units is None:
        return slope.square().sum(-1)
    read, write = (w.to(slope) for w in target.units)
    return ((slope @ ((read @ read.T) * (write @ write.T))) * slope).sum(-1)


def target_diagonal(target: Target, slope: Tensor) -> Tensor:
    """The diagonal of J_M from the slopes of the target's units."""
    if target.units is None:
        return slope
    read, write = (w.to(slope) for w in target.units)
    return slope @ (read * write)
