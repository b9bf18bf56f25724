"""What compares conditions, seeds and sweeps: one function a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure

from faithnb.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LOADING,
    LOOKS,
    LOST,
    ORANGE,
    RED,
    SHARE,
    STATE_COLOURS,
    TERM_COLOURS,
    WIDEST,
    form_looks,
    from_zero,
    heat,
    label_left,
    log_y,
    new_figure,
    panels,
    styled,
)
from faithnb.measures import STATES


@styled
def history(history: xr.Dataset) -> Figure:
    """The terms of the loss over training, mean over instances with their range."""
    fig = new_figure(6.4, 3.0)
    ax = fig.subplots()
    for name, colour in TERM_COLOURS.items():
        term = history[name]
        if (term > 0).any():
            ax.plot(history.step, term.mean("inst"), color=colour, label=name)
            ax.fill_between(history.step, term.min("inst"), term.max("inst"), color=colour,
                            alpha=0.2, linewidth=0)  # fmt: skip
    ax.set(xlabel="training step", ylabel="term of the loss", yscale="log")
    ax.legend(ncols=2)
    return fig


@styled
def frontier(table: xr.Dataset, by: str, y: str, ylabel: str, labels: Mapping[str, str]) -> Figure:
    """A measure against FVU, one series a value of ``by``, one point a transcoder."""
    fig = new_figure(5.6, 3.2)
    ax = fig.subplots()
    for (value, label), colour in zip(labels.items(), (BLUE, ORANGE, GREEN, RED), strict=False):
        some = table.where(table[by] == value, drop=True)
        means = some.groupby("sparsity_coefficient").mean("inst")
        ax.scatter(some.fvu, some[y], color=colour, alpha=0.35, s=18, linewidth=0)
        ax.plot(means.fvu, means[y], color=colour, marker="o", markersize=6, label=label)
    ax.set(xscale="log", xlabel="FVU (0 is perfect)", ylabel=ylabel)
    ax.legend()
    return fig


@styled
def widths(ratio: Sequence[float], match: Any, features_per_circuit: Any) -> Figure:
    """How much of the true solution is found, and how often, over the width of the transcoder."""
    fig = new_figure(WIDEST, 2.8)
    left, right = fig.subplots(1, 2)
    for ax, values, label in (
        (left, match, "circuit match"),
        (right, features_per_circuit, "features per circuit"),
    ):
        values = np.asarray(values)
        for r, seeds in zip(ratio, values, strict=True):
            ax.scatter([r] * len(seeds), seeds, color=BLUE, alpha=0.35, s=18, linewidth=0)
        ax.plot(ratio, values.mean(1), color=BLUE, marker="o", markersize=6)
        ax.set(xlabel="width, features / (2 · d_in)", ylabel=label)
        ax.set_xticks(list(ratio), [f"{r:g}" for r in ratio])
    left.set_ylim(-0.03, 1.05)
    return fig


@styled
def durations(microseconds: Mapping[str, Mapping[str, float]]) -> Figure:
    """How long a step takes in each way, on a logarithmic axis: groups of ways, a colour each."""
    names = [name for group in microseconds.values() for name in group]
    fig = new_figure(WIDEST, 0.9 + 0.3 * len(names))
    ax = fig.subplots()
    height = 0
    for (group, values), colour in zip(microseconds.items(), (GREY, BLUE, ORANGE), strict=False):
        places = np.arange(height, height + len(values))
        ax.plot(list(values.values()), places, "o", color=colour, markersize=7, label=group)
        for place, value in zip(places, values.values(), strict=True):
            ax.annotate(f"{value:,.0f}", (value, place), (8, 0), textcoords="offset points",
                        va="center", fontsize=8.5, color="#444444")  # fmt: skip
        height += len(values)
    ax.set(xscale="log", xlabel="time of one step of one transcoder (µs)",
           yticks=range(len(names)), yticklabels=names, ylim=(height - 0.5, -0.5))  # fmt: skip
    ax.grid(axis="x", color="#E6E6E6")
    ax.tick_params(axis="y", length=0)
    ax.margins(x=0.12)
    fig.legend(loc="outside upper left", ncols=len(microseconds), fontsize=9)
    return fig


UP = {"sparsity_coefficient": "sparsity coefficient $λ$", "variation_scale": "spread of magnitudes"}
"""Labels of a map's vertical axis."""


@styled
def phase_maps(
    maps: Mapping[str, xr.DataArray],
    threshold: tuple[float, float, float] | None = None,
    up: str = "sparsity_coefficient",
    lost: bool = False,
    *,
    label: str,
) -> Figure:
    """Values in [0, 1] over ``repeat_frac`` × ``up``, a panel each.

    Axes are evenly spaced in the values given; the first may be 0. ``threshold`` is
    ``(a, b_r, b_λ)`` of a + b_r log r + b_λ log λ = 0, drawn as a line. Panels over different
    values have axes of their own. ``label`` says what the colours of all panels are, in full;
    shares that ``lost`` the task have colours of their own.
    """
    alike = len({values.shape for values in maps.values()}) == 1
    fig, axes = panels(len(maps), 3.0, 3.2, 0.9, sharex=alike, sharey=alike)
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        values = values.transpose(up, "repeat_frac")
        mesh = heat(ax, values, LOST if lost else SHARE, 0, 1)
        ax.invert_yaxis()
        ax.set_title(title, fontsize=10)
        if len(maps) != 4 or not alike or ax in axes[2:]:
            ax.set_xlabel("repeat fraction $r$")
        for name, axis in (("repeat_frac", ax.xaxis), (up, ax.yaxis)):
            ticks = range(0, values.sizes[name], -(-values.sizes[name] // 5))
            axis.set_ticks([k + 0.5 for k in ticks], [f"{values[name][k]:.2g}" for k in ticks])
        if threshold and np.isfinite(threshold).all():
            a, b_r, b_lam = threshold
            first = values.repeat_frac[values.repeat_frac > 0][0].item()
            r = np.geomspace(first, values.repeat_frac[-1].item(), 50)
            lam = np.exp(-(a + b_r * np.log(r)) / b_lam)
            places = (_place(at, v) for at, v in ((values.repeat_frac, r),
                                                  (values.sparsity_coefficient, lam)))  # fmt: skip
            ax.plot(*places, color=BLUE, linewidth=1.6, linestyle="--")
            ax.set(xlim=(0, values.sizes["repeat_frac"]), ylim=(0, len(values)))
    label_left(axes, UP[up])
    fig.colorbar(mesh, ax=axes, fraction=0.03, label=label)
    return fig


def _place(axis: xr.DataArray, value: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Where values lie among the cells of a logarithmic axis whose first cell is apart."""
    at = np.log(axis.values[1:])
    step = (at[-1] - at[0]) / max(len(at) - 1, 1)
    return 1.5 + (np.log(value) - at[0]) / (step or 1.0)


@styled
def collapse(memorised: Mapping[str, xr.DataArray]) -> Figure:
    """Share of seeds that memorize against r·λ, coloured by λ: one curve if only it counts."""
    fig, axes = panels(len(memorised), 2.6, 3.0, 1.4, sharey=True)
    for ax, (title, share) in zip(axes, memorised.items(), strict=True):
        share = share.sel(
            repeat_frac=share.repeat_frac > 0,
            sparsity_coefficient=share.sparsity_coefficient > 0,
        )
        lam = share.sparsity_coefficient
        colours = LOADING(np.linspace(0.25, 1, lam.size))
        for colour, row in zip(colours, share.transpose("sparsity_coefficient", ...), strict=True):
            at = row.repeat_frac * row.sparsity_coefficient
            ax.plot(at, row, "o-", color=colour, markersize=4, linewidth=1,
                    label=f"λ = {row.sparsity_coefficient:.2g}")  # fmt: skip
        ax.set(xscale="log", xlabel="product $r\\,λ$", ylim=(-0.04, 1.04), title=title)
    label_left(axes, "share of seeds that memorize")
    axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@styled
def survival(
    shares_of: Mapping[str, Mapping[str, Sequence[xr.DataArray]]], xlabel: str, ylabel: str
) -> Figure:
    """Shares over a relative setting, in panels, a colour a condition; a faint line each dataset
    of a condition, a bold one through their mean where all have been measured.

    Each array has one dimension, the relative setting; 1 is marked.
    """
    fig, axes = panels(len(shares_of), 2.9, 3.1, 0.9, sharey=True)
    for ax, (title, conditions) in zip(axes, shares_of.items(), strict=True):
        for (name, shares), colour, mark in zip(
            conditions.items(), (RED, GREY, BLUE, ORANGE), "os^D", strict=False
        ):
            for share in shares:
                ax.plot(share[share.dims[0]], share, color=colour, alpha=0.25, linewidth=1)
            mean = xr.concat(shares, "each", join="inner").mean("each")
            ax.plot(mean[mean.dims[0]], mean, marker=mark, color=colour, linewidth=1.8,
                    markersize=4.5, label=name)  # fmt: skip
        ax.axvline(1, color=INK, linewidth=0.8, linestyle="--")
        ax.set(xscale="log", xlabel=xlabel, title=title, ylim=(-0.04, 1.04))
        low, high = ax.get_xlim()
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5) if low <= t <= high]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
    label_left(axes, ylabel)
    columns = 4 if len(shares_of) > 1 else 2
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return fig


@styled
def curves(
    grids: Mapping[str, xr.Dataset], over: str, labels: Mapping[str, str], xlabel: str
) -> Figure:
    """Measures over one setting, a panel a measure, a colour a series.

    The line goes through the means over ``seed``, faint dots are seeds. ``labels`` maps data
    variables to axis labels; a label that ends in "(log)" makes the axis logarithmic. At most
    seven series.
    """
    if len(grids) > 7:
        raise ValueError(f"{len(grids)} series are not allowed: at most 7 can be told apart.")
    of_form = form_looks()
    forms = all(series in of_form for series in grids)
    looks = [of_form[series] for series in grids] if forms else LOOKS
    fig, axes = panels(len(labels), 2.6, 2.9)
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        for (series, grid), (colour, mark) in zip(grids.items(), looks, strict=False):
            values = grid[name].transpose(over, "seed").astype(float)
            at = from_zero(values[over].values)
            if len(np.unique(values)) > 2:  # of yes and no, dots would say nothing
                ax.plot(at, values, ".", color=colour, alpha=0.3, markersize=4)
            else:
                ax.set_ylim(-0.04, 1.04)
            ax.plot(at, values.mean("seed"), marker=mark, color=colour, markersize=4.5,
                    linewidth=1.5, label=series)  # fmt: skip
        ax.set_xscale("log")
        some = grid[over].values[:: -max(1, len(grid[over]) // 5)][::-1]  # with the last
        shown = from_zero(grid[over].values)[np.isin(grid[over].values, some)]
        ax.set_xticks(shown, [f"{v:g}" for v in some], fontsize=8)
        ax.minorticks_off()
        ax.set_xlabel(xlabel)
        ax.set_title(label.removesuffix(" (log)"), fontsize=9.5)
        if label.endswith("(log)"):
            log_y(ax)
    columns = min(len(grids), 4) if len(labels) > 1 else 2
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return fig


@styled
def against_l0(grids: Mapping[str, xr.Dataset], over: str, labels: Mapping[str, str]) -> Figure:
    """Measures against L0 while one setting changes, a panel a measure, a colour a series.

    Means over ``seed``, joined along ``over``; a mark is open where half of the seeds or more fail,
    as the variable ``fails`` says. Labels and looks as in :func:`curves`.
    """
    fig, axes = panels(len(labels), 3.2, 3.2)
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        for series, grid in grids.items():
            colour, mark = form_looks()[series]
            means = grid[["l0", name, "fails"]].astype(float).mean("seed").sortby(over)
            filled = "o" if mark == "x" else mark  # a cross cannot be open
            ax.plot(means.l0, means[name], color=colour, linewidth=1.3, marker=filled,
                    markersize=4, label=series)  # fmt: skip
            faces = [colour if share < 0.5 else "white" for share in means.fails.values]
            ax.scatter(means.l0, means[name], c=faces, edgecolors=colour, marker=filled, s=34,
                       zorder=3)  # fmt: skip
        ax.set_xlabel("L0")
        ax.set_title(label.removesuffix(" (log)"), fontsize=9.5)
        if label.endswith("(log)"):
            log_y(ax)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


@styled
def two_axes(
    l0: Sequence[float],
    unfaithfulness: Sequence[float],
    states: Sequence[str],
    fvu: Sequence[float],
) -> Figure:
    """Every transcoder by simplicity and faithfulness, coloured by what it does at p.

    Only those that do the task (FVU below 0.1) are full; the others are faint.
    """
    fig = new_figure(6.6, 3.9)
    ax = fig.subplots()
    does, of = np.asarray(fvu) < 0.1, np.asarray(states)
    for name in STATES:
        for able, alpha in ((False, 0.15), (True, 0.65)):
            some = (of == name) & (does == able)
            at = np.asarray(l0)[some], np.asarray(unfaithfulness)[some]
            ax.scatter(*at, color=STATE_COLOURS[name], alpha=alpha, s=16,
                       linewidth=0, label=name if able else None)  # fmt: skip
    ax.set(xlabel="L0, contributing features (left: simpler)",
           ylabel="Jacobian error around p (below: more faithful)")  # fmt: skip
    if len(of):
        ax.set(xscale="log", yscale="log")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@styled
def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> Figure:
    """Curves over a logarithmic axis."""
    fig = new_figure(5.8, 3.1)
    ax = fig.subplots()
    for (name, values), colour, mark in zip(
        series.items(), (BLUE, RED, ORANGE, GREEN), "osD^", strict=False
    ):
        ax.plot(x, values, marker=mark, color=colour, markersize=5, label=name)
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return fig
