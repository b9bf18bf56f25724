"""What training gives: transcoders with their experiments, and the same as rows of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.measures.error import mse
from faithnb.measures.table import measured_alike, refuse_unlike, table
from faithnb.model.transcoder import ARCHITECTURES, Transcoder
from faithnb.model.weights import AXES
from faithnb.training.init import settings
from faithnb.training.objectives import TERMS

N_RECORDS = 100
"""How many steps of a training are kept in its history, at most; the first and last are."""

WIDE = 2**16
"""Weights of an encoder from which a transcoder counts as wide."""

DIVERGED_AT = 100.0
"""A last loss above this multiple of the first one (or of d_in, the most that |x|² can be on base
data, if that is larger) counts as divergence."""


@dataclass(frozen=True)
class Trained:
    """Trained transcoders with the experiments they came from, in the order these were given."""

    experiments: tuple[Experiment, ...]
    """What was trained."""
    ensembles: tuple[tuple[tuple[int, ...], Transcoder], ...]
    """The transcoders as they were trained, pairs of indices into ``experiments`` and ensemble."""
    history: xr.Dataset
    """Each term of the loss and their sum, ``loss``, over (inst, step), before each update, and
    ``alive``, the share of features that are on somewhere in the batch."""
    diverged: tuple[int, ...] = ()
    """Indices of experiments whose loss or error left all bounds; their weights mean nothing."""

    def __len__(self) -> int:
        return len(self.experiments)

    @cached_property
    def transcoder(self) -> Transcoder:
        """All transcoders as one ensemble.

        Raises:
            ValueError: if their shapes differ; then use ``trained.ensembles`` or ``trained[i]``.
        """
        shapes = {(t.d_in, t.d_sae, t.d_out, t.W_enc.dtype) for _, t in self.ensembles}
        if len(shapes) > 1:
            raise ValueError(
                "these transcoders have different shapes or types and cannot be one ensemble; "
                "use trained.ensembles, or trained[i] for one of them."
            )
        order = np.argsort([i for indices, _ in self.ensembles for i in indices])
        return Transcoder.cat([t for _, t in self.ensembles])[order]

    def __getitem__(self, i: int) -> Transcoder:
        """The transcoder of experiment i, an ensemble of one."""
        i = range(len(self))[i]
        for indices, transcoder in self.ensembles:
            if i in indices:
                return transcoder[indices.index(i)]
        raise IndexError(i)

    def metrics(self) -> xr.Dataset:
        """Every metric of every transcoder over ``inst``, see
        :func:`faithnb.measures.table.table`."""
        return table(self.experiments, self.ensembles, self.diverged)


def assembled(
    experiments: Sequence[Experiment],
    parts: Sequence[tuple[Sequence[int], Transcoder, xr.Dataset]],
) -> Trained:
    """The whole from its parts: indices into ``experiments``, transcoders, histories."""
    ensembles, histories, diverged = [], [], []
    for indices, transcoder, history in parts:
        ensembles.append((tuple(indices), transcoder))
        histories.append(history.assign_coords(inst=list(indices)))
        bad = _diverged([experiments[i] for i in indices], transcoder, history)
        diverged += [i for i, is_bad in zip(indices, bad, strict=True) if is_bad]
    history = xr.concat(histories, dim="inst", join="outer").sortby("inst")
    return Trained(tuple(experiments), tuple(ensembles), history, tuple(sorted(diverged)))


def packed(transcoder: Transcoder, history: xr.Dataset) -> xr.Dataset:
    """Weights and history as one dataset, for the store."""
    weights = {
        name: (("inst", *transcoder.axes[name]), weight.numpy())
        for name, weight in transcoder.weights().items()
    }
    steps = ("step", history.step.values)
    return history.drop_vars(["step", "inst"], errors="ignore").assign(
        weights | {"recorded": steps}
    )


def refuse_other_weights(
    experiments: Sequence[Experiment], at: Sequence[int], rows: xr.Dataset
) -> None:
    """Whether kept rows are what :func:`packed` gives of those experiments.

    Raises:
        ValueError: naming what is missing, too much, or of another shape or kind.
    """
    e = experiments[at[0]]
    sizes = {"inst": len(at), "d_in": e.d_in, "d_sae": e.d_sae, "d_out": e.d_out}
    sizes |= ARCHITECTURES[e.architecture].own_sizes(e.d_sae, **settings(e))
    weight = "f4" if e.dtype == "float32" else "f8"
    steps = {"step": len(recorded_steps(e))}
    wanted = {
        name: ({axis: sizes[axis] for axis in ("inst", *axes)}, weight)
        for name, axes in _axes(e).items()
    }
    wanted |= {name: ({"inst": len(at), **steps}, "f4") for name in (*TERMS, "loss", "alive")}
    refuse_unlike(wanted | {"recorded": (steps, "i")}, rows)


def unpacked(template: Experiment, kept: xr.Dataset) -> tuple[Transcoder, xr.Dataset]:
    """What :func:`packed` packed of experiments like the template."""
    weights = {name: torch.from_numpy(kept[name].values) for name in _axes(template)}
    transcoder = ARCHITECTURES[template.architecture](**weights, **settings(template))
    history = kept.drop_vars([*weights, "recorded"]).assign_coords(step=kept.recorded.values)
    return transcoder, history


def _axes(template: Experiment) -> dict[str, tuple[str, ...]]:
    """The weights of a template's transcoders, and their axes after that of the instances."""
    own = ARCHITECTURES[template.architecture].own_axes
    return {k: axes for k, axes in AXES.items() if template.skip or k != "W_skip"} | dict(own)


def recorded_steps(experiment: Experiment) -> np.ndarray:
    """The steps that a history keeps: of wide transcoders, whose terms cost as much as a step, one
    in ten at most."""
    steps, wide = experiment.steps, experiment.d_in * experiment.d_sae > WIDE
    n = min(N_RECORDS, max(2, steps // 10)) if wide else N_RECORDS
    return np.unique(np.linspace(0, steps - 1, n).astype(int))


def _diverged(
    experiments: Sequence[Experiment], transcoder: Transcoder, history: xr.Dataset
) -> list[bool]:
    """Whose weights or loss are not finite, or whose loss, or error at last, is far above the loss
    at first. A loss is recorded before its update, and says nothing of the last one."""
    loss = history.loss.values.astype(float)
    weights = torch.cat([w.reshape(len(w), -1) for w in transcoder.parameters()], dim=1)
    finite = torch.isfinite(weights).all(dim=1).cpu().numpy() & np.isfinite(loss).all(axis=1)
    target = experiments[0].make_target()
    errors = np.empty(len(experiments))
    for some in measured_alike(experiments, range(len(experiments)), 4):
        errors[some] = mse(transcoder[some], target, _seen(experiments[some[0]])).numpy()
    ended = np.maximum(loss[:, -1], errors)
    bound = DIVERGED_AT * np.maximum(loss[:, 0], transcoder.d_in)
    return list(~finite | ~(ended <= bound))


def _seen(experiment: Experiment, n: int = 1024) -> Tensor:
    """Inputs of the kind that an experiment trains on, and its points."""
    e = experiment
    x = e.evaluation_inputs(n)
    return torch.cat([x, e.make_points()])
