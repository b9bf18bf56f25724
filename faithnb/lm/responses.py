"""Measures of a transcoder of a layer whose mechanism nobody knows: what it does where the input
changes, and which features do it.

They take the layer's outputs and Jacobian alone, and compute in the type of the weights: float64 of
a wide layer takes many times as long.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.data.rng import Stream
from faithnb.measures.registry import CONTRIBUTES
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

RARE = 1e-3
"""A feature is silent elsewhere where it contributes on less than this share of other tokens."""

PROBES = 8
"""Directions that Jacobians are compared along, at each input."""

PerInstance = Float[Tensor, "n_inst"]
Inputs = Float[Tensor, "B d_in"]


@torch.no_grad()
def error(transcoder: Transcoder, layer: Layer, x: Inputs, others: Inputs) -> PerInstance:
    """E‖ŷ − y‖² on x over the variance of the layer's outputs on other inputs: an FVU that is
    comparable between a few inputs and many.

    Args:
        transcoder: an ensemble.
        layer: what it explains.
        x: where the error is taken.
        others: where the variance is taken; the same for the usual FVU.
    """
    y = layer(others)
    variance = (y - y.mean(0)).square().sum(-1).mean()
    return (transcoder(x) - layer(x)).square().sum(-1).mean(-1) / variance


@torch.no_grad()
def response_error(transcoder: Transcoder, layer: Layer, x: Inputs, changed: Inputs) -> PerInstance:
    """Σ‖ΔT − Δf‖² / Σ‖Δf‖² over pairs of inputs: how far the change of the transcoder's output is
    from that of the layer's. 1 for a transcoder that does not respond."""
    effect = layer(changed) - layer(x)
    wrong = transcoder(changed) - transcoder(x) - effect
    return wrong.square().sum((-1, -2)) / effect.square().sum()


@torch.no_grad()
def patching_error(transcoder: Transcoder, layer: Layer, x: Inputs, changed: Inputs) -> PerInstance:
    """As :func:`response_error`, where only the features that contribute at x change: what whoever
    listed these would expect."""
    h, effect = transcoder.encode(x), layer(changed) - layer(x)
    acts = contributions(transcoder, x) > CONTRIBUTES
    moved = ((transcoder.encode(changed) - h) * acts) @ transcoder.W_dec
    wrong = transcoder.with_linear(moved, changed - x) - effect
    return wrong.square().sum((-1, -2)) / effect.square().sum()


@torch.no_grad()
def jacobian_error(
    transcoder: Transcoder, layer: Layer, x: Inputs, probes: int = PROBES
) -> PerInstance:
    """E‖J_T v − J_f v‖² / E‖J_f v‖² over inputs and random directions v, each coordinate −1 or 1:
    ‖J_T − J_f‖² / ‖J_f‖² without writing a Jacobian out."""
    wrong, size = torch.zeros(transcoder.n_inst), torch.zeros(())
    for k in range(probes):
        v = Stream([0], "probe").signs(k, tuple(x.shape), x.dtype)[0]
        of_layer = layer.jvp(x, v)
        wrong += (transcoder.jvp(x, v) - of_layer).square().sum((-1, -2))
        size += of_layer.square().sum()
    return wrong / size


@torch.no_grad()
def contributions(transcoder: Transcoder, x: Inputs) -> Float[Tensor, "n_inst B d_sae"]:
    """``|h_i| ‖w_dec,i‖``, how much each feature writes."""
    return transcoder.encode(x).abs() * transcoder.decoder_norms()[:, None]


@torch.no_grad()
def active(transcoder: Transcoder, x: Inputs) -> PerInstance:
    """How many features contribute at an input, in the mean."""
    return (contributions(transcoder, x) > CONTRIBUTES).float().sum(-1).mean(-1)


@torch.no_grad()
def own_features(
    transcoder: Transcoder, x: Inputs, others: Inputs, rare: float = RARE
) -> Bool[Tensor, "n_inst d_sae"]:
    """Which features contribute somewhere in x, and on less than a share ``rare`` of others."""
    here = (contributions(transcoder, x) > CONTRIBUTES).any(1)
    return here & ((contributions(transcoder, others) > CONTRIBUTES).float().mean(1) < rare)


@torch.no_grad()
def own_share(transcoder: Transcoder, x: Inputs, others: Inputs) -> PerInstance:
    """Share of what is written at x by features that are silent elsewhere,
    :func:`own_features`."""
    size = contributions(transcoder, x)
    own = own_features(transcoder, x, others)
    return (size * own[:, None]).sum((1, 2)) / size.sum((1, 2))


@torch.no_grad()
def own_share_of_neurons(
    written: Float[Tensor, "B d_hidden"], elsewhere: Float[Tensor, "n d_hidden"]
) -> float:
    """:func:`own_share` of a layer's own neurons, from how much each writes at x and elsewhere."""
    own = (elsewhere > CONTRIBUTES).float().mean(0) < RARE
    return ((written * own).sum() / written.sum()).item()
