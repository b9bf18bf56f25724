"""Figures of which parts of a language model matter: maps of effects, and estimates of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from faithnb.figures.style import (
    BLUE,
    GREY,
    INK,
    LOOKS,
    ORANGE,
    SIGNED,
    WIDEST,
    heat,
    label_left,
    new_figure,
    panels,
    styled,
)


@styled
def effect_maps(
    maps: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    layers: Sequence[int],
    label: str = "effect",
) -> Figure:
    """Effects over layer and position, or layer and head, coloured alike: side by side, or one
    below the other where that would be wider than a page.

    Args:
        maps: values ``[layers, columns]`` by title.
        columns: names of the columns, by title.
        layers: numbers of the rows.
        label: of the colours.
    """
    sizes = [np.asarray(values).shape[1] for values in maps.values()]
    width, height = 1.6 + 0.24 * sum(sizes) + 0.4 * len(maps), max(2.4, 1.5 + 0.13 * len(layers))
    if width <= WIDEST:
        fig = new_figure(width, height)
        axes = fig.subplots(1, len(maps), squeeze=False, width_ratios=sizes, sharey=True).ravel()
    else:
        fig = new_figure(WIDEST, height * len(maps))
        axes = fig.subplots(len(maps), 1, squeeze=False, sharey=True).ravel()
    high = max(float(np.nanmax(np.abs(np.asarray(values)))) for values in maps.values())
    for ax, (title, values) in zip(axes, maps.items(), strict=True):
        mesh = heat(ax, values, SIGNED, -high, high)
        ax.set_xticks(np.arange(len(columns[title])) + 0.5, columns[title], fontsize=8, rotation=90)
        ax.set_title(title)
    axes[0].set_ylim(len(layers), 0)
    every = max(1, round(len(layers) / 10))
    axes[0].set_yticks(np.arange(len(layers))[::every] + 0.5, [str(k) for k in layers][::every])
    label_left(axes, "layer")
    fig.colorbar(mesh, ax=axes, label=label, fraction=0.04, pad=0.02)
    return fig


@styled
def estimates(kinds: Mapping[str, tuple[Any, Any]], xlabel: str, ylabel: str) -> Figure:
    """Estimates over what they estimate, a panel a kind, with the diagonal: the later a layer, the
    darker.

    Args:
        kinds: values and estimates ``[layers, …]`` by title.
        xlabel: what the values are.
        ylabel: what the estimates are.
    """
    fig, axes = panels(len(kinds), 2.6, 2.9)
    for ax, (title, sides) in zip(axes, kinds.items(), strict=True):
        true, found = (np.asarray(side, dtype=float) for side in sides)
        depth = np.broadcast_to(
            np.linspace(0, 1, len(true)).reshape(-1, *[1] * (true.ndim - 1)), true.shape
        )
        ax.scatter(true, found, c=depth, cmap="viridis_r", s=16, alpha=0.8, linewidth=0)
        ends = [min(true.min(), found.min()), max(true.max(), found.max())]
        ax.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--")
        ax.set(title=title, xlabel=xlabel)
    label_left(axes, ylabel)
    return fig


@styled
def residual_stream(read: Sequence[float], added: Any) -> Figure:
    """What the residual stream predicts before each layer and after the last, and what attention
    and MLP of each layer add to that directly.

    Args:
        read: logit differences, one more than layers.
        added: what attention and MLP add, ``[layers, 2]``.
    """
    added = np.asarray(added, dtype=float)
    fig = new_figure(WIDEST, 3.0)
    left, right = fig.subplots(1, 2)
    left.plot(range(len(read)), read, color=INK, marker="o", markersize=3)
    left.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    left.set(xlabel="layers passed", ylabel="logit difference", title="read from the stream")
    places = np.arange(len(added))
    for values, shift, colour, name in zip(
        added.T, (-0.2, 0.2), (BLUE, ORANGE), ("attention", "MLP"), strict=True
    ):
        right.bar(places + shift, values, 0.4, color=colour, label=name)
    right.axhline(0, color=INK, linewidth=0.8)
    right.set(xlabel="layer", ylabel="added directly", title="added by each layer")
    right.legend()
    return fig


@styled
def series(
    x: Sequence[float], lines: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> Figure:
    """Curves over an axis that is not logarithmic."""
    fig = new_figure(6.0, 3.6)
    ax = fig.subplots()
    for (name, values), (colour, mark) in zip(lines.items(), LOOKS, strict=False):
        ax.plot(x, values, marker=mark, color=colour, markersize=5, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return fig
