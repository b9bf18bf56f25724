"""What compares conditions seed by seed: a row a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from faithnb.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LOOKS,
    ORANGE,
    STATE_COLOURS,
    WIDEST,
    new_figure,
    styled,
)
from faithnb.measures import MEMORIZED, STATES
from faithnb.measures.stats import rate_interval

Groups: TypeAlias = Mapping[str, Sequence[Any]] | xr.DataArray
"""Values by the name of a condition, or a column of :attr:`faithnb.Comparison.table`."""

FOUND = ((ORANGE, "|"), (GREEN, "x"), (BLUE, "."))
"""Looks of what a draw finds, what climbing adds, and what is proved."""


def _groups(values: Groups) -> dict[str, Sequence[Any]]:
    if isinstance(values, xr.DataArray):
        names = values.condition.values
        return {str(k): values.sel(condition=k).values.ravel().tolist() for k in names}
    return dict(values)


@styled
def states_by_condition(states: Groups) -> Figure:
    """How often each state occurs in each condition, with a 95 % interval on "memorized".

    Diverged transcoders, whose state is "", are left out.
    """
    states = {name: [s for s in found if s] for name, found in _groups(states).items()}
    fig = new_figure(6.8, 0.9 + 0.55 * len(states))
    ax = fig.subplots()
    for row, found in enumerate(states.values()):
        start, n = 0.0, len(found)
        for name in ("datapoint", "pair", "other", "generalising"):
            share = sum(s == name for s in found) / n
            ax.barh(row, share, left=start, color=STATE_COLOURS[name], height=0.62,
                    label=name if row == 0 else None)  # fmt: skip
            start += share
        k = sum(s in MEMORIZED for s in found)
        low, high = rate_interval(k, n)
        ax.errorbar(k / n, row, xerr=[[k / n - low], [high - k / n]], color=INK, capsize=4,
                    linewidth=1.6, marker="o", markersize=4)  # fmt: skip
    ax.set_yticks(range(len(states)), [f"{k}\nn = {len(s)}" for k, s in states.items()])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="share of seeds (point and bar: memorized, 95 % Wilson interval)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


IN_A_LINE = 56
"""Characters that a label has at most in a line: more leave the picture beside long names."""


@styled
def strips(values: Groups, label: str, states: Groups | None = None, log: bool = False) -> Figure:
    """One value a transcoder, a row a condition; coloured by state if ``states`` are given."""
    groups, of = _groups(values), {} if states is None else _groups(states)
    fig = new_figure(6.8, 1.1 + 0.42 * len(groups))
    ax = fig.subplots()
    rng = np.random.default_rng(0)
    for row, (name, of_name) in enumerate(groups.items()):
        found = np.asarray(of_name, dtype=float)
        spread = row + rng.uniform(-0.16, 0.16, len(found))
        colours = [STATE_COLOURS.get(s, GREY) for s in of[name]] if of else BLUE
        ax.scatter(found, spread, c=colours, s=20, alpha=0.75, linewidth=0)
        if np.isfinite(found).any():
            ax.plot([np.nanmedian(found)] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.6)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.invert_yaxis()
    ax.set_xlabel("\n".join(wrap(f"{label} (line: median)", IN_A_LINE)))
    if log and any(np.any(np.asarray(found) > 0) for found in groups.values()):
        ax.set_xscale("log")
    if of:
        shown = {s for found in of.values() for s in found if s}
        for name in (s for s in STATES if s in shown):
            ax.scatter([], [], c=STATE_COLOURS[name], s=24, label=name)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@styled
def ratios(
    series: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]], label: str
) -> Figure:
    """Ratios with their intervals on a logarithmic axis, a row a measure, a colour a series; 1 is
    marked. What is NaN is left out."""
    names = list(next(iter(series.values())))
    fig = new_figure(6.8, 1.3 + 0.42 * len(names))
    ax = fig.subplots()
    for k, ((name, values), (colour, mark)) in enumerate(zip(series.items(), LOOKS, strict=False)):
        rows = np.arange(len(names)) + 0.3 * (k - (len(series) - 1) / 2)
        at, ends = (np.array([values[n][i] for n in names]) for i in (0, 1))
        ax.hlines(rows, *ends.T, color=colour, linewidth=1.6)
        ax.plot(at, rows, mark, color=colour, markersize=6, label=name)
    ax.axvline(1, color=INK, linewidth=0.8, linestyle="--")
    ax.set(xscale="log", xlabel=label, yticks=range(len(names)), yticklabels=names,
           ylim=(len(names) - 0.5, -0.5))  # fmt: skip
    low, high = ax.get_xlim()
    low, high = min(low, 0.45), max(high, 2.2)
    ticks = [t for t in (0.01, 0.03, 0.1, 0.2, 0.5, 1, 2, 5, 10) if low <= t <= high]
    ax.set_xlim(low, high)
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(series))
    return fig


@styled
def dumbbells(panels: Mapping[str, Mapping[str, pd.DataFrame]], label: str) -> Figure:
    """What was found and what is proved, a row a condition, a line a transcoder from the least to
    the most.

    Args:
        panels: by title, then by condition: a row a transcoder, and up to three columns such as
            ``drawn``, ``climbed`` and ``proved``, each with its colour and mark, under its name.
        label: of what they are.
    """
    names = list(next(iter(panels.values())))
    fig = new_figure(WIDEST, 1.2 + 0.5 * len(names))
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, tables) in zip(axes, panels.items(), strict=True):
        for row, table in enumerate(tables.values()):
            columns, n = {str(k): v.values for k, v in table.items()}, len(table)
            rows = row + (np.arange(n) - (n - 1) / 2) * 0.7 / max(n, 2)
            every = np.stack(list(columns.values()))
            ax.hlines(rows, every.min(0), every.max(0), color=GREY, linewidth=0.8)
            for (name, values), (colour, mark) in zip(columns.items(), FOUND, strict=False):
                size = {"marker": mark, "s": 18, "zorder": 3, "label": None if row else name}
                ax.scatter(values, rows, color=colour, linewidth=1, **size)
        ax.set(title=title, xlabel=label)
        ax.set_xlim(left=0)
        ax.grid(axis="x", color="#E6E6E6")
        for row in range(1, len(names)):
            ax.axhline(row - 0.5, color="#E6E6E6", linewidth=0.8)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig
