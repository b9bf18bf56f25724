"""Conditions that are trained with the same seeds and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr

from faithnb.common.errors import ParameterError
from faithnb.experiment import Experiment
from faithnb.measures.memorization import STATES, lost, memorized
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import Trained, train
from faithnb.training.store import Store


class Example(NamedTuple):
    """One transcoder of a comparison, and which it is."""

    condition: str
    """The name of its condition."""
    place: int
    """Where it is among the seeds; the same place is the same seed in every condition."""
    seed: int
    """Its seed."""
    transcoder: Transcoder
    """An ensemble of one."""
    experiment: Experiment
    """What it was trained on."""


class Comparison(Mapping[str, Trained]):
    """What :func:`compare` trained: by the name of each condition, one transcoder a seed."""

    def __init__(self, trained: Mapping[str, Trained]):
        self._trained = dict(trained)

    def __getitem__(self, name: str) -> Trained:
        return self._trained[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._trained)

    def __len__(self) -> int:
        return len(self._trained)

    def __repr__(self) -> str:
        return f"Comparison({', '.join(map(repr, self))})"

    def __or__(self, other: Mapping[str, Trained]) -> Comparison:
        """The conditions of both; where a name is in both, the other's."""
        return Comparison({**self, **other})

    @cached_property
    def tables(self) -> dict[str, xr.Dataset]:
        """Every metric of each condition over ``inst``, one a seed, as
        :meth:`faithnb.Trained.metrics` gives them."""
        return {name: trained.metrics() for name, trained in self.items()}

    @cached_property
    def table(self) -> xr.Dataset:
        """Every metric of all conditions over (condition, seed).

        Raises:
            ParameterError: if conditions of several comparisons have different seeds.
        """
        seeds = {name: [e.seed for e in trained.experiments] for name, trained in self.items()}
        if len(set(map(tuple, seeds.values()))) > 1:
            raise ParameterError(f"one table needs the same seeds in all conditions, not {seeds}.")
        each = [t.swap_dims(inst="seed").drop_vars("inst") for t in self.tables.values()]
        names = pd.Index(list(self), name="condition")
        return xr.concat(each, names, data_vars="all", coords="minimal", join="exact")

    @property
    def memorized(self) -> xr.DataArray:
        """Whether each is in state ``datapoint`` or ``pair``, over (condition, seed)."""
        return memorized(self.table)

    @property
    def failed(self) -> xr.DataArray:
        """Whether each memorized or lost the task (an FVU of 0.1 or more, or diverged), over
        (condition, seed)."""
        return memorized(self.table) | lost(self.table)

    def example(self, state: str, condition: str | Iterable[str] | None = None) -> Example:
        """The first transcoder in a state: of the first condition that has one, the first seed.

        If none is in that state, it is the one of the last condition that memorizes most, so that
        there is always one to look at.

        Args:
            state: one of :data:`faithnb.measures.memorization.STATES`.
            condition: the name of a condition, or several in the order in which to look; all in
                their order by default.

        Raises:
            ParameterError: if there is no such state or condition.
        """
        names = list(self) if condition is None else condition
        names = [names] if isinstance(names, str) else list(names)
        if state not in STATES:
            raise ParameterError(
                f"state = {state!r} is not allowed: it must be one of {', '.join(STATES)}."
            )
        if not names or set(names) - set(self):
            raise ParameterError(
                f"condition = {condition!r} is not allowed: there are {', '.join(map(repr, self))}."
            )
        for name in names:
            for place in np.flatnonzero(self.tables[name].state == state):
                return self._at(name, int(place))
        return self._at(names[-1], int(self.tables[names[-1]].memorization.values.argmax()))

    def _at(self, name: str, place: int) -> Example:
        trained = self[name]
        of = trained.experiments[place]
        return Example(name, place, of.seed, trained[place], of)


def compare(
    conditions: Mapping[str, Experiment],
    seeds: Iterable[int],
    store: Store | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Comparison:
    """Train every condition with the same seeds.

    Conditions that can share an ensemble are trained in one, which is faster than one after the
    other, because those with the same seed see the same data. The results are the same.

    Args:
        conditions: experiments by name; their own seeds are not used.
        seeds: of each condition, in order.
        store: as for :func:`faithnb.train`.
        device: as for :func:`faithnb.train`.
        progress: as for :func:`faithnb.train`.

    Raises:
        ParameterError: if a condition is no experiment, or a seed is not allowed or given twice.
        ValueError: if there are no conditions or no seeds, or there is no such device.
        KeyboardInterrupt: when interrupted; conditions that were done are in the store.
    """
    if not isinstance(conditions, Mapping) or not isinstance(seeds, Iterable):
        raise ParameterError("compare needs a mapping from names to experiments, and seeds.")
    for name, condition in conditions.items():
        if not isinstance(condition, Experiment):
            raise ParameterError(
                f"conditions[{name!r}] = {condition!r} is not allowed: it must be a "
                "faithnb.Experiment."
            )
    seeds = list(seeds)
    every = [replace(condition, seed=seed) for condition in conditions.values() for seed in seeds]
    if len({e.seed for e in every}) < len(seeds) and conditions:
        raise ParameterError(f"seeds = {seeds!r} is not allowed: each must be there only once.")
    trained = train(every, device=device, progress=progress, store=store)
    parts = {}
    for k, name in enumerate(conditions):
        these = range(k * len(seeds), (k + 1) * len(seeds))
        parts[name] = Trained(
            tuple(every[i] for i in these),
            ((tuple(range(len(seeds))), Transcoder.cat([trained[i] for i in these])),),
            trained.history.sel(inst=list(these)).assign_coords(inst=range(len(seeds))),
            tuple(these.index(i) for i in trained.diverged if i in these),
        )
    return Comparison(parts)
