"""Experiments over a grid of settings, as one labelled dataset."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm.auto import tqdm

from faithnb.experiment import Experiment, ParameterError, unknown_name
from faithnb.store import Store
from faithnb.training import Trained, device_named, groups, train
from faithnb.transcoder import Transcoder


def sweep(
    base: Experiment,
    store: Store | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
    **axes: Iterable[Any],
) -> xr.Dataset:
    """Train and measure every combination of the axes' values.

    Cells that share a seed share initialisation and data, so that differences between cells are
    due to the cells. What a store already holds is not trained again; each group of experiments
    is kept as soon as it is measured, so an interrupted sweep goes on where it stopped.

    Args:
        base: all that the axes do not change.
        store: where results are kept; ``None`` keeps nothing.
        device: as for :func:`faithnb.train`.
        progress: show one bar over the experiments.
        **axes: a field of :class:`Experiment` and the values it takes, structural ones too.

    Returns:
        every metric of :func:`faithnb.metrics.table` over one dimension an axis, in their order. A
        value that is no number or word, like a list of points, is labelled by its text.

    Raises:
        ParameterError: if an axis is no field, is empty, names a value twice, or a combination is
            not allowed; nothing has been trained then.
    """
    values = _checked(axes)
    experiments = [
        replace(base, **dict(zip(values, cell, strict=True))) for cell in product(*values.values())
    ]
    where = device_named(device)
    found: list[xr.Dataset] = []
    order: list[int] = []
    with tqdm(total=len(experiments), unit="experiment", disable=not progress) as bar:
        todo = list(groups(experiments, where))
        random.shuffle(todo)  # so that two runs of one sweep share the work rather than repeat it
        for group in todo:
            found.append(_measured([experiments[i] for i in group], store, where))
            order += group
            bar.update(len(group))
    flat = xr.concat(found, dim="inst", join="outer").isel(inst=np.argsort(order))
    return _on_grid(flat, base, values)


def train_arms(
    arms: Mapping[str, Experiment],
    seeds: Iterable[int],
    store: Store | None = None,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> dict[str, Trained]:
    """Train every arm of a comparison with the same seeds, by name.

    Arms that can share an ensemble are trained in one, which is faster than arm by arm, because
    those with the same seed see the same data. The results are the same.

    Args:
        arms: experiments by name; their own seeds are not used.
        seeds: of each arm, in order.
        store: as for :func:`faithnb.train`.
        device: as for :func:`faithnb.train`.
        progress: as for :func:`faithnb.train`.
    """
    seeds = list(seeds)
    every = [replace(arm, seed=seed) for arm in arms.values() for seed in seeds]
    trained = train(every, device=device, progress=progress, store=store)
    parts = {}
    for k, name in enumerate(arms):
        these = range(k * len(seeds), (k + 1) * len(seeds))
        parts[name] = Trained(
            tuple(every[i] for i in these),
            ((tuple(range(len(seeds))), Transcoder.cat([trained[i] for i in these])),),
            trained.history.sel(inst=list(these)).assign_coords(inst=range(len(seeds))),
            tuple(these.index(i) for i in trained.diverged if i in these),
        )
    return parts


def _checked(axes: dict[str, Iterable[Any]]) -> dict[str, list[Any]]:
    known = {f.name: f for f in fields(Experiment)}
    values = {}
    for name, given in axes.items():
        if name not in known:
            raise unknown_name(name, given, known)
        values[name] = [v.item() if isinstance(v, np.generic) else v for v in given]
        if not values[name] or len({repr(v) for v in values[name]}) < len(values[name]):
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
    return values


def _measured(
    experiments: Sequence[Experiment], store: Store | None, device: torch.device
) -> xr.Dataset:
    if store is None:
        return _columns(experiments, device, store)
    key = store.key(experiments, device)
    kept = store.load(key)
    if kept is None or kept.sizes.get("inst") != len(experiments):
        kept = _columns(experiments, device, store)
        store.save(key, kept)
    return kept


def _columns(
    experiments: Sequence[Experiment], device: torch.device, store: Store | None
) -> xr.Dataset:
    table = train(experiments, device=device, progress=False, store=store).metrics()
    return table.drop_vars(list(table.coords))


def _on_grid(flat: xr.Dataset, base: Experiment, values: dict[str, list[Any]]) -> xr.Dataset:
    shape = {name: len(v) for name, v in values.items()}
    grid = xr.Dataset(
        {
            name: (
                (*shape, *v.dims[1:]),
                v.values.reshape(*shape.values(), *v.shape[1:]),
                v.attrs,
            )
            for name, v in flat.data_vars.items()
        },
        coords={name: [_label(v) for v in given] for name, given in values.items()},
    )
    provenance = {
        "faithnb": version("faithnb"),
        "torch": torch.__version__,
        "experiment": base.to_json(),
    }
    return grid.assign_attrs(provenance)


def _label(value: Any) -> Any:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
