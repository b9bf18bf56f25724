"""Every measure of many transcoders, as one table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.checks import checked
from faithnb.common.errors import InputError, ParameterError
from faithnb.data.inputs import Inputs, Point
from faithnb.experiment import Experiment
from faithnb.measures import (  # noqa: F401 (they register their columns)
    activity,
    circuits,
    conjunctions,
    error,
    interventions,
    jacobian,
    off_data,
)
from faithnb.measures.memorization import STATES, memorized
from faithnb.measures.registry import MEASURES, Measure, View, remembering
from faithnb.measures.stats import rate_interval
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder
from faithnb.model.turning import upright


def columns(asked: Collection[str] | None = None, of_point: bool = True) -> list[Measure]:
    """The columns of a table.

    Args:
        asked: their names; by default all but the costly ones.
        of_point: whether there is a point to measure at.

    Raises:
        ParameterError: if there is no such measure.
    """
    if isinstance(asked, str):
        asked = [asked]
    if asked is None:
        chosen = [m for m in MEASURES.values() if not m.costly]
    else:
        if unknown := [name for name in asked if name not in MEASURES]:
            raise ParameterError(
                f"measures = {list(asked)!r} is not allowed: there is no measure {unknown[0]!r}. "
                f"Known are {', '.join(MEASURES)}."
            )
        chosen = [MEASURES[name] for name in asked]
    return [m for m in chosen if of_point or not m.of_point]


def _empty(m: Measure, shape: tuple[int, ...]) -> np.ndarray:
    longest = max(12, *map(len, m.words)) if m.words else 0
    return np.full(shape, "", dtype=f"<U{longest}") if m.words else np.full(shape, np.nan)


def _fill(values: np.ndarray, at: Any, m: Measure, view: View) -> None:
    """Where a measure is not defined, nothing is filled in."""
    try:
        with torch.no_grad():
            found = m.of(view)
    except ValueError:
        return
    found = found.cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if found.shape != (n := view.transcoder.n_inst,):
        raise TypeError(
            f"the measure {m.name} gave an array of shape {list(found.shape)}; it must give one "
            f"value an instance, [{n}]."
        )
    values[at] = found


@settled()
def table(
    experiments: Sequence[Experiment],
    ensembles: Sequence[tuple[Sequence[int], Transcoder]],
    diverged: Sequence[int] = (),
    chunk: int = 4,
) -> xr.Dataset:
    """Measures of trained transcoders over ``inst``, in the order of ``experiments``.

    Base measures are taken on ``Experiment.evaluation_inputs``, before any rotation; Jacobians are
    compared on the entries that the target defines (``kink = "masked"``), whatever convention
    trained them. Point measures are taken at the repeated points, with a further dim ``point`` if
    there are several. The fields in which the experiments differ become coordinates over ``inst``.
    A measure that is not defined for an experiment is NaN there, and so is all of a diverged one,
    whose state is "".
    """
    n_points = max(len(e.points) for e in experiments)
    point_dims = ("point",) if n_points > 1 else ()
    shape = (len(experiments), *((n_points,) if point_dims else ()))
    chosen = columns(of_point=n_points > 0)
    values = {m.name: _empty(m, shape if m.of_point else shape[:1]) for m in chosen}

    for indices, ensemble in ensembles:
        local = {i: k for k, i in enumerate(indices) if i not in diverged}
        for group in measured_alike(experiments, list(local), chunk):
            e = experiments[group[0]]
            turned = ensemble[[local[i] for i in group]]
            some = remembering(upright(turned, e.turn, e.target_layers))
            e = replace(e, turn=0)
            target = e.make_target(kink="masked")
            x = e.evaluation_inputs().to(some.W_enc)
            view = View(some, target, x)
            for m in chosen:
                if not m.of_point:
                    _fill(values[m.name], group, m, view)
            for k, p in enumerate(e.make_points().to(x)):
                view = View(some, target, x, p)
                for m in chosen:
                    if m.of_point:
                        _fill(values[m.name], (group, k) if point_dims else group, m, view)

    return _dataset(chosen, values, ("inst", *point_dims)).assign_coords(
        {"inst": range(len(experiments))} | varying_fields(experiments)
    )


def _dataset(
    chosen: Sequence[Measure], values: Mapping[str, np.ndarray], dims: Sequence[str]
) -> xr.Dataset:
    return xr.Dataset(
        {m.name: (dims[: values[m.name].ndim], values[m.name], {"units": m.unit}) for m in chosen}
    )


@checked
def measure(
    transcoder: Transcoder,
    layer: Any,
    x: Inputs,
    p: Point | None = None,
    measures: Collection[str] | None = None,
) -> xr.Dataset:
    """Measures of anybody's transcoder beside the layer that it stands in for, over ``inst``.

    Args:
        transcoder: from :meth:`faithnb.Transcoder.load` or ``from_arrays``, or trained here.
        layer: what it explains: a :class:`faithnb.model.layer.Layer`, or any torch module.
        x: inputs of the kind that the layer sees, ``[B, d_in]``.
        p: a point, ``[d_in]``; without it nothing is measured at one.
        measures: names of columns; all there are by default.

    Returns:
        a column a measure, with its unit; NaN where it is not defined, as where the layer's
        circuits are not known.

    Raises:
        InputError: if an argument is not what it must be.
        ParameterError: if there is no such measure.
    """
    asked = MEASURES if measures is None else measures
    chosen = columns(asked, p is not None)
    some = remembering(transcoder)
    at = None if p is None else p.to(some.W_enc)
    if not isinstance(layer, Layer):
        layer = Layer.of(layer, some.d_in)
    if layer.d_out != some.d_out:
        raise InputError(
            f"layer has d_out = {layer.d_out}, the transcoder d_out = {some.d_out}: they must be "
            "equal."
        )
    return measured(View(some, layer, x.to(some.W_enc), at), chosen)


def measured(view: View, chosen: Sequence[Measure]) -> xr.Dataset:
    """These columns of a view, over ``inst``."""
    n = view.transcoder.n_inst
    values = {m.name: _empty(m, (n,)) for m in chosen}
    for m in chosen:
        _fill(values[m.name], slice(None), m, view)
    return _dataset(chosen, values, ("inst",)).assign_coords(inst=range(n))


def refuse_other_columns(
    experiments: Sequence[Experiment], at: Sequence[int], rows: xr.Dataset
) -> None:
    """Whether kept rows are what :func:`table` gives of those experiments.

    Raises:
        ValueError: naming the column that is missing, too much, or of another shape or kind.
    """
    n_points = len(experiments[at[0]].points)
    of_base: dict[str, int] = {"inst": len(at)}
    of_point = of_base | ({"point": n_points} if n_points > 1 else {})
    chosen = columns(of_point=n_points > 0)
    refuse_unlike(
        {m.name: (of_point if m.of_point else of_base, "U" if m.words else "f8") for m in chosen},
        rows,
    )
    for m in chosen:
        if m.words and not {*map(str, np.unique(rows[m.name]))} <= {"", *m.words}:
            raise ValueError(f"{m.name} holds other words than {', '.join(m.words)}")


def refuse_unlike(wanted: Mapping[str, tuple[Mapping[str, int], str]], rows: xr.Dataset) -> None:
    """Whether a dataset has these columns alone: their sizes by dim, and what their type's name
    begins with.

    Raises:
        ValueError: naming the first that differs.
    """
    for name in [*wanted, *rows.data_vars]:
        if name not in wanted or name not in rows:
            raise ValueError(f"{name} is {'missing' if name in wanted else 'not known'}")
        sizes, kind = wanted[str(name)]
        found = rows[name]
        if dict(found.sizes) != sizes or not found.dtype.str.lstrip("<>|=").startswith(kind):
            raise ValueError(f"{name} has sizes {dict(found.sizes)} and type {found.dtype}")


def summary(tables: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One row a condition: the states' counts, the rate of memorized seeds with its 95 % Wilson
    interval, and medians over seeds. Diverged seeds are left out.

    Raises:
        ValueError: if the experiments repeat no point, or several.
    """
    rows = {}
    for name, measured in tables.items():
        if "state" not in measured or "point" in measured.dims:
            raise ValueError(
                f"{name}: a summary needs experiments with exactly one repeated point."
            )
        measured = measured.isel(inst=np.flatnonzero(measured.state != ""))
        states = measured.state.values
        k, n = int(memorized(measured).sum()), len(states)
        low, high = rate_interval(k, n)
        rows[name] = {
            "seeds": n,
            **{state: int((states == state).sum()) for state in STATES},
            "memorised": f"{k / n:.2f} [{low:.2f}, {high:.2f}]",
            "median FVU": f"{measured.fvu.median():.4f}",
            "median L0": f"{measured.l0.median():.2f}",
            "median active at p": f"{measured.active_at_p.median():.0f}",
            "median ‖offdiag J‖ at p": f"{measured.off_diagonal_norm.median():.2f}",
        }
    return pd.DataFrame(rows).T


def measured_alike(
    experiments: Sequence[Experiment], indices: Sequence[int], size: int
) -> list[list[int]]:
    """Groups of experiments that are measured on the same inputs, at most ``size`` each."""
    groups: dict[Any, list[int]] = {}
    for i in indices:
        e = experiments[i]
        alike = e.target, e.d_in, e.data, e.density, e.blur, e.points, e.turn
        groups.setdefault(alike, []).append(i)
    return [g[k : k + size] for g in groups.values() for k in range(0, len(g), size)]


def varying_fields(experiments: Sequence[Experiment]) -> dict[str, tuple[str, list[Any]]]:
    """The fields in which experiments differ, as coordinates over ``inst``."""
    names = ["seed"] + [name for name in Experiment.__dataclass_fields__ if name != "seed"]
    values = {name: [getattr(e, name) for e in experiments] for name in names}
    return {
        name: ("inst", column if name != "points" else list(map(str, column)))
        for name, column in values.items()
        if name == "seed" or len(set(column)) > 1
    }
