"""Experiments over a grid of settings, as one labelled dataset."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import Field, fields, replace
from importlib.metadata import version
from itertools import islice, product
from typing import Any

import numpy as np
import torch
import xarray as xr

from faithnb.common.errors import ParameterError
from faithnb.common.progress import progress_bar
from faithnb.experiment import Experiment
from faithnb.parameters import Range, clean, unknown_name
from faithnb.sweeps.workers import OtherWorkers, ThisProcess
from faithnb.training.store import Store, source_hash

MOST_EXPERIMENTS = 1_000_000
"""In one sweep; more would not fit memory."""


def sweep(
    base: Experiment,
    executor: Executor | None = None,
    store: Store | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    weights: bool = False,
    profile: str | None = None,
    **axes: Iterable[Any],
) -> xr.Dataset:
    """Train and measure every combination of the axes' values.

    Cells that share a seed share initialisation and data, so that differences between cells are
    due to the cells. What a store already holds, whatever sweep it came from, is not trained
    again, and everything is kept as soon as it is measured: a sweep that was stopped, however,
    goes on where it was, and the result is the same. So it is whatever the executor.

    Args:
        base: all that the axes do not change.
        executor: who does the work; ``None`` is this process. Any executor of
            ``concurrent.futures``, or :func:`faithnb.sweeps.cluster.connect`'s. A task runs on one
            thread, so give it as many workers as there are cores.
        store: where results are kept; ``None`` keeps nothing.
        device: as for :func:`faithnb.train`, on the workers if there are any; ``"auto"`` is then
            what the first of them has.
        progress: show one bar over the experiments.
        weights: keep the transcoders too; :func:`faithnb.train` finds them in the store. What was
            measured before without keeping them is trained again.
        profile: the size of the run, to be noted in the result.
        **axes: a field of :class:`Experiment` and the values it takes, structural ones too.

    Returns:
        every metric of :func:`faithnb.measures.table.table` over one dimension an axis, in their
        order. A value that is no number or word, like a list of points, is labelled by its text.
        Its ``to_netcdf`` writes it whole.

    Raises:
        ParameterError: if an axis is no field, is empty, names a value twice, a combination is not
            allowed, or another argument is not what it must be; nothing has been trained then.
        ValueError: if there is no such device.
        SweepError: if experiments failed, once the others are done; if the executor takes no work
            or loses its workers, none of them answers for a day, or one runs another version of
            this package. The message says what was done; it is in the store.
        KeyboardInterrupt: when interrupted; the message says what was done.
    """
    if executor is not None and not isinstance(executor, Executor):
        raise ParameterError(
            f"executor = {executor!r} is not allowed: it must be an executor of "
            'concurrent.futures, or faithnb.sweeps.cluster.connect("local").'
        )
    if store is not None and not isinstance(store, Store):
        raise ParameterError(f"store = {store!r} is not allowed: it must be a faithnb.Store.")
    if not isinstance(base, Experiment):
        raise ParameterError(f"base = {base!r} is not allowed: it must be a faithnb.Experiment.")
    values = _checked(axes)
    grid = _Rows(math.prod(map(len, values.values())))
    here: ThisProcess | OtherWorkers | None = None
    try:
        experiments = _cells(base, values)
        here = ThisProcess(device) if executor is None else OtherWorkers(device, executor)
        _fill(grid, experiments, here, store, weights, progress)
        found = grid.on(values)
    except KeyboardInterrupt:
        done = int(grid.done.sum())
        so_far = here.so_far(experiments, done, store) if here else "Nothing was trained."
        raise KeyboardInterrupt(f"the sweep was interrupted. {so_far}") from None
    attrs = {
        "faithnb": version("faithnb"),
        "source": source_hash(),
        "torch": here.torch,
        "device": here.device.type,
        "experiment": base.to_json(),
    }
    return found.assign_attrs(attrs | ({"profile": profile} if profile else {}))


def _cells(base: Experiment, values: Mapping[str, list[Any]]) -> list[Experiment]:
    return [
        replace(base, **dict(zip(values, cell, strict=True))) for cell in product(*values.values())
    ]


def _fill(
    grid: _Rows, experiments: Sequence[Experiment], here: ThisProcess | OtherWorkers,
    store: Store | None, weights: bool, progress: bool,
) -> None:  # fmt: skip
    """Every row: what a store holds, then what is done now, which is kept before it counts."""
    for at, kept in here.kept(experiments, store, weights):
        grid.fill(at, kept)
    missing = grid.missing()
    found = len(experiments) - len(missing)
    with (
        progress_bar(len(experiments), "experiment", progress, initial=found) as bar,
        closing(here.work(experiments, missing, store, weights)) as results,
    ):
        for at, columns, trained in results:
            if store:  # weights first: what is measured counts as done
                for some, packs in trained:
                    store.save(here.keys([experiments[at[k]] for k in some], "trained"), packs)
                store.save(here.keys([experiments[i] for i in at]), columns)
            grid.fill(at, columns)
            bar.update(len(at))


def _checked(axes: dict[str, Iterable[Any]]) -> dict[str, list[Any]]:
    known = {f.name: f for f in fields(Experiment)}
    values = {}
    for name, given in axes.items():
        if name not in known:
            raise unknown_name(name, given, known)
        values[name] = [_normal(known[name], value) for value in _listed(name, given)]
        different = {v if isinstance(v, (int, float)) else repr(v) for v in values[name]}
        if not values[name] or len(different) < len(values[name]):
            raise ParameterError(
                f"{name} = {values[name]!r} is not allowed: an axis needs at least one value, and "
                "each only once."
            )
    if len({len(points) for points in values.get("points", [()])}) > 1:
        raise ParameterError(
            f"points = {values['points']!r} is not allowed: as an axis, every value needs as many "
            "points."
        )
    if not values:
        raise ParameterError("a sweep needs at least one axis, such as repeat_frac=[0, 0.05].")
    if (n := math.prod(map(len, values.values()))) > MOST_EXPERIMENTS:
        raise ParameterError(
            f"these axes make {n} experiments; a sweep can have {MOST_EXPERIMENTS}, at most."
        )
    return values


def _listed(name: str, given: Any) -> list[Any]:
    """The values of an axis; not without end, if they are counted out one by one."""
    try:
        if isinstance(given, str):
            raise TypeError
        values = list(islice(given, MOST_EXPERIMENTS + 1))
    except TypeError:
        raise ParameterError(
            f"{name} = {given!r} is not allowed: an axis needs a list of values, [{given!r}]."
        ) from None
    if len(values) > MOST_EXPERIMENTS:
        raise ParameterError(
            f"{name} = {given!r} is not allowed: a sweep can have {MOST_EXPERIMENTS} experiments, "
            "at most."
        )
    return values


def _normal(field: Field[Any], value: Any) -> Any:
    """Numbers as the experiment has them, so that none becomes another where they are labels;
    everything else as it was given, once it is known to be allowed."""
    value = value.item() if isinstance(value, np.generic) else value
    allowed = field.metadata["allowed"]
    cleaned = clean(field.name, value, allowed)
    return cleaned if isinstance(allowed, Range) or isinstance(value, Iterator) else value


class _Rows:
    """Columns over the experiments, filled in as results come."""

    def __init__(self, n: int):
        self.done = np.zeros(n, dtype=bool)
        self.columns: dict[str, xr.Variable] = {}

    def fill(self, at: Sequence[int], rows: xr.Dataset) -> None:
        for name, v in rows.data_vars.items():
            if name not in self.columns:
                empty = np.zeros((len(self.done), *v.shape[1:]), dtype=v.dtype)
                if v.dtype.kind == "f":
                    empty[:] = np.nan
                self.columns[str(name)] = xr.Variable(v.dims, empty, v.attrs)
            column = self.columns[str(name)]
            if column.dtype.kind == v.dtype.kind and column.dtype.itemsize < v.dtype.itemsize:
                column = self.columns[str(name)] = column.astype(v.dtype)  # or it would be cut
            column.values[list(at)] = v.values
        self.done[list(at)] = True

    def missing(self) -> list[int]:
        return np.flatnonzero(~self.done).tolist()

    def on(self, axes: Mapping[str, list[Any]]) -> xr.Dataset:
        """One dimension an axis."""
        shape = {name: len(v) for name, v in axes.items()}
        return xr.Dataset(
            {
                name: (
                    (*shape, *v.dims[1:]),
                    v.values.reshape(*shape.values(), *v.shape[1:]),
                    v.attrs,
                )
                for name, v in self.columns.items()
            },
            coords={name: [_label(v) for v in given] for name, given in axes.items()},
        )


def _label(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
