"""Transcoders made by hand: with a mask on their gradient, with other weights or another mechanism
for the same function, and with what is to be written at a point."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.checks import checked
from faithnb.model.layer import Circuit, Layer
from faithnb.model.transcoder import Transcoder

STEEPNESS = 10.0
"""Weight on p with which planted features read: it keeps them off wherever x is far from p."""


@checked
def plant(
    transcoder: Transcoder, target: Layer, p: Float[Tensor, "d_in"], zone: float = 0.02
) -> Transcoder:
    """Add features that make the Jacobian at p that of the target, and hardly anything else.

    The Jacobian's error is split by its singular value decomposition, Σ_k s_k u_k v_kᵀ. To write
    s_k u_k by v_k, but only at p, a feature reads v_k + Kp with a very negative bias, the note's
    trick: its z is ``zone`` at p. A second one, which reads Kp, takes back what the first writes
    for p itself. Twins with opposite outputs switch on where z exceeds 2 · ``zone``, so that no
    output changes by more than about 2 s_k · ``zone`` anywhere.

    Args:
        transcoder: an ensemble of one.
        target: whose Jacobian is faked, on the coordinates where p is not 0.
        p: the point.
        zone: half the range of z in which the planted features act; above 0. In the inputs, that
            is about zone / (10 ‖p‖) to either side of p.

    Raises:
        ValueError: if it is no ReLU transcoder, there are several instances, or ``zone`` is not
            above 0.
    """
    if not transcoder.is_relu:
        raise ValueError(
            f"a {type(transcoder).__name__} is not allowed: masks are planted with ReLUs."
        )
    if len(transcoder) != 1:
        raise ValueError(f"{len(transcoder)} transcoders are not allowed: plant into one.")
    if not zone > 0:
        raise ValueError(f"zone = {zone} is not allowed: it must be above 0.")
    p = p.to(transcoder.W_enc)
    support = (p != 0).to(p)
    error = target.jacobian(p) - transcoder.jacobian(p[None])[0, 0].detach()
    u, s, v = torch.linalg.svd(error * support * support[:, None])
    kept = s > 1e-6
    writes, reads = (u * s).T[kept], v[kept]
    writes = torch.cat([writes, -writes.sum(0, keepdim=True)])
    reads = torch.cat([reads, torch.zeros_like(p)[None]]) + STEEPNESS * p
    at_p = reads @ p
    return Transcoder.from_arrays(
        torch.cat([transcoder.W_enc[0], reads.T, reads.T], dim=1),
        torch.cat([transcoder.b_enc[0], zone - at_p, -zone - at_p]),
        torch.cat([transcoder.W_dec[0], writes, -writes]),
        transcoder.b_dec[0],
        None if transcoder.W_skip is None else transcoder.W_skip[0],
    )


@checked
def rescaled(transcoder: Transcoder) -> Transcoder:
    """The same function and mechanism with its features in another order, each scaled."""
    order = torch.randperm(transcoder.d_sae, generator=torch.Generator().manual_seed(0))
    scale = torch.linspace(0.2, 5, transcoder.d_sae)
    return Transcoder.from_arrays(
        (transcoder.W_enc * scale)[..., order],
        (transcoder.b_enc * scale)[:, order],
        (transcoder.W_dec / scale[:, None])[:, order],
    )


@checked
def with_linear_part(d: int) -> Transcoder:
    """``|x|`` by another mechanism: 2 ReLU(x) − x, with −x as ReLU(−x) − ReLU(x), so that there are
    three features a coordinate."""
    eye = torch.eye(d)
    return Transcoder.from_arrays(
        torch.cat([eye, eye, -eye], dim=1), torch.zeros(3 * d), torch.cat([2 * eye, -eye, eye])
    )


@checked
def writing(
    p: Float[Tensor, "d_in"], contribution: Float[Tensor, "d_in"], parts: int = 1
) -> Transcoder:
    """``parts`` equal features that together write ``contribution`` at p, off far from it."""
    one = Circuit("", p / (p @ p) * 2, contribution / parts, 1.0)
    return Transcoder.from_circuits([one] * parts)
