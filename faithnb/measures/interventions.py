"""Predict, intervene, compare: what a transcoder's features say of a changed input, against what
the layer does with it.

No mechanism, derivative or repeated point of the layer needs to be known for it, only its outputs.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize as unit

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs, without_one
from faithnb.measures.activity import contribution_sizes
from faithnb.measures.registry import CONTRIBUTES, ROUNDING, measure, outputs
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@exact
def patched_change(
    transcoder: Transcoder, x: Inputs, changed: Inputs
) -> Float[Tensor, "n_inst B d_out"]:
    """The change of the output that follows from patching the features that act at x (contribution
    above 1e-2) with their values at ``changed``, all others as they were; a linear part acts
    everywhere.

    Args:
        x: inputs, ``[B, d_in]``.
        changed: the same shape.

    Raises:
        InputError: if the shapes differ.
    """
    acts = contribution_sizes(transcoder, x) > CONTRIBUTES
    patched = ((transcoder.encode(changed) - transcoder.encode(x)) * acts) @ transcoder.W_dec
    return transcoder.with_linear(patched, changed - x)


@exact
def patching_error(
    transcoder: Transcoder, target: Layer, x: Inputs, changed: Inputs
) -> Float[Tensor, "n_inst"]:
    """E‖Δ̂ − Δ‖² / E‖Δ‖² over pairs of inputs: Δ = f(x') − f(x) is what the layer does, and Δ̂ what
    :func:`patched_change` predicts.

    Whoever explains the output at x lists the features that act there (contributions above 1e-2)
    and expects the output to change as they do. It is 0 if these are the whole story, also where
    some turn off, and 1 for a transcoder that expects no change. Where a datapoint feature turns
    off and features that were silent take over, the list misses them: it expects all of p to go
    where one coordinate went, an error of 2 for three ones and a feature that is silent off p.

    Args:
        x: inputs, ``[B, d_in]``.
        changed: x', the same shape: each input with something taken away. (What is added would act
            through features that the list at x cannot name.)

    Raises:
        InputError: if the shapes differ.
        ValueError: if the layer's output does not change.
    """
    return _off(patched_change(transcoder, x, changed), target, x, changed)


@exact
def change_error(
    transcoder: Transcoder, target: Layer, x: Inputs, changed: Inputs
) -> Float[Tensor, "n_inst"]:
    """As :func:`patching_error`, but the change of the transcoder's whole output is the prediction:
    what can be said without looking at features.

    Raises:
        InputError: if the shapes differ.
        ValueError: if the layer's output does not change.
    """
    return _off(transcoder(changed) - transcoder(x), target, x, changed)


@measure("relative squared error", name="patching_error", costly=True)
@measure("relative squared error", name="patching_error_at_p", at="p", costly=True)
@exact
def patching_error_of_one(
    transcoder: Transcoder, target: Layer, x: Inputs
) -> Float[Tensor, "n_inst"]:
    """:func:`patching_error` where one coordinate that is not 0 is taken away, each in turn."""
    return patching_error(transcoder, target, *without_one(x))


def _off(
    predicted: Float[Tensor, "n_inst B d_out"], target: Layer, x: Inputs, changed: Inputs
) -> Float[Tensor, "n_inst"]:
    """How far a predicted change is from the layer's, relative to the layer's."""
    before = outputs(target, x)
    effect = outputs(target, changed) - before
    if effect.square().sum() <= ROUNDING**2 * before.square().sum():
        raise ValueError("changed needs to change the layer's output; it is the same as at x.")
    return (predicted - effect).square().sum((-1, -2)) / effect.square().sum()


@exact
def ablation_error(transcoder: Transcoder, target: Layer, x: Inputs) -> Float[Tensor, "n_inst"]:
    """How far ablating a feature is from taking what it reads out of the input.

    For each feature i that acts at x (contribution above 1e-2) ablation predicts −h_i w_dec,i; the
    same intervention on the layer's input removes the part of x along w_enc,i. Squared differences
    are summed over features and inputs and divided by the layer's squared effects. NaN where no
    feature acts.

    Args:
        x: inputs, ``[B, d_in]``.
    """
    h = transcoder.encode(x)
    acts = contribution_sizes(transcoder, x) > CONTRIBUTES
    reads = unit(transcoder.W_enc.mT, dim=-1)
    along = (x @ reads.mT)[..., None] * reads[:, None]
    effect = outputs(target, x[:, None] - along) - outputs(target, x)[:, None]
    wrong = (-h[..., None] * transcoder.W_dec[:, None] - effect).square().sum(-1)
    total = (effect.square().sum(-1) * acts).sum((1, 2))
    return (wrong * acts).sum((1, 2)) / total
