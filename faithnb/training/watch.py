"""A training watched on its way: what gates and slopes do while the loss is followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.checks import exact
from faithnb.experiment import Experiment
from faithnb.measures import CONTRIBUTES, contribution_sizes, fvu
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import device_named
from faithnb.training.loop import Loop


@exact
def open_at_zero(transcoder: Transcoder) -> Float[Tensor, "n_inst"]:
    """How many features are on where x is 0, and so also where their coordinates are.

    0 for the circuits ReLU(±x_j), whatever their scale.
    """
    return transcoder.gate(transcoder.W_enc.new_zeros(1, transcoder.d_in)).sum((1, 2)).double()


@exact
def slope(transcoder: Transcoder, at: float = 0.5) -> Float[Tensor, "n_inst"]:
    """Mean size of ∂y_j/∂x_j at ± ``at`` along each axis; 1 for ``y = |x|``."""
    axes = at * torch.eye(transcoder.d_in, dtype=torch.float64).to(transcoder.W_enc)
    found = transcoder.jacobian(torch.cat([axes, -axes]))
    own = found.unflatten(1, (2, -1)).diagonal(dim1=-2, dim2=-1).diagonal(dim1=-2, dim2=-1)
    return own.abs().mean((1, 2))


@exact
def bias(transcoder: Transcoder, x: Float[Tensor, "B d_in"]) -> Float[Tensor, "n_inst"]:
    """Mean of b_i‖d_i‖ over the features that contribute anywhere on x: their biases, in units of
    the output. 0 for the circuits ReLU(±x_j); NaN if no feature contributes."""
    used = (contribution_sizes(transcoder, x) > CONTRIBUTES).any(1)
    sizes = transcoder.b_enc * transcoder.decoder_norms()
    return (used * sizes).sum(-1) / used.sum(-1)


def _steps(loop: Loop, at: Sequence[int]) -> Iterator[Transcoder]:
    """The ensemble after each of these steps, which increase; 0 is before the first."""
    for step in range(at[-1] + 1):
        if step:
            loop.draw()
            loop.update()
        if step in at:
            yield loop.transcoder[:].cpu()


@settled()
def snapshots(
    experiments: Sequence[Experiment], at: Sequence[int], device: str | torch.device = "auto"
) -> list[Transcoder]:
    """Train and keep the weights on the way.

    Args:
        experiments: what to train side by side; they may differ in what one ensemble allows, such
            as seed, penalty weight and repeat fraction.
        at: steps after which to keep them, increasing, from 0, which is the initialisation, to
            ``steps``.
        device: as in :func:`faithnb.train`.

    Returns:
        an ensemble a step, with an instance an experiment.

    Raises:
        ValueError: if a step is not one of the training, or there is none.
    """
    _refuse_steps(at, 0, experiments[0].steps)
    found = []
    for now in _steps(Loop(experiments, device_named(device)), at):
        found.append(now.with_weights({name: w.clone() for name, w in now.weights().items()}))
    return found


def _refuse_steps(at: Sequence[int], first: int, last: int) -> None:
    if list(at) != sorted(set(at)) or not at or not first <= at[0] <= at[-1] <= last:
        raise ValueError(f"at = {list(at)} is not allowed: steps increase, from {first} to {last}.")


@settled()
def watch(
    base: Experiment, seeds: Sequence[int], at: Sequence[int], device: str | torch.device = "auto"
) -> xr.Dataset:
    """Train and look: measures on base data over (``step``, ``seed``).

    Args:
        base: what to train, once for each seed.
        seeds: in place of ``base.seed``.
        at: steps after which to look, increasing, from 1 to ``base.steps``.
        device: as in :func:`faithnb.train`.

    Returns:
        ``fvu``, ``open_at_zero``, ``bias`` and ``slope``.

    Raises:
        ValueError: if a step to look at is not one of the training, or there is none.
    """
    _refuse_steps(at, 1, base.steps)
    loop = Loop([replace(base, seed=seed) for seed in seeds], device_named(device))
    x = base.evaluation_inputs()
    found = []
    for now in _steps(loop, at):
        looks = {"fvu": fvu(now, loop.target, x), "open_at_zero": open_at_zero(now),
                 "bias": bias(now, x), "slope": slope(now)}  # fmt: skip
        found.append(xr.Dataset({name: ("seed", v.double().numpy()) for name, v in looks.items()}))
    return xr.concat(found, dim="step").assign_coords(step=list(at), seed=list(seeds))
