"""Figures of when features act: gates around a point, and what a linear part leaves to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from faithnb.data.inputs import subsets
from faithnb.figures.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    WIDEST,
    label_left,
    new_figure,
    panels,
    signed_numbers,
    styled,
)
from faithnb.measures import CONTRIBUTES, contribution_sizes
from faithnb.model.transcoder import Transcoder


@styled
def margins(
    transcoders: Mapping[str, Transcoder], p: Float[Tensor, "d_in"], most: int = 8
) -> Figure:
    """By how much features exceed their thresholds at p, where one of its coordinates is missing
    and where one is alone, and what they write on these coordinates: a row a feature.

    Features that contribute at one of these inputs are shown, the ``most`` largest. Those that no
    coordinate alone turns on come first. A feature without a threshold has it at 0.
    """
    support = p.nonzero()[:, 0]
    k = len(support)
    missing, alone = subsets(p)[-k:].flip(0), torch.diag_embed(p)[support]
    x = torch.cat([p[None], missing, alone])
    tables = {title: _around(t, x, k, most) for title, t in transcoders.items()}
    rows = [len(margin) for margin, _ in tables.values()]
    fig = new_figure(WIDEST, 0.9 * len(rows) + 0.33 * sum(rows))
    grid = fig.add_gridspec(
        len(rows), 2, width_ratios=[2 * k + 1, k], height_ratios=[n + 1.5 for n in rows]
    )
    for row, (title, (margin, written)) in enumerate(tables.items()):
        left, right = (fig.add_subplot(grid[row, column]) for column in range(2))
        signed_numbers(left, margin)
        for text, value in zip(left.texts, margin.ravel(), strict=True):
            text.set_fontweight("bold" if value > 0 else "normal")
        signed_numbers(right, written)
        names = [f"{{{j + 1}}}" for j in support.tolist()]
        labels = ["$p$", *(f"no $x_{j}$" for j in names), *(f"$x_{j}$ alone" for j in names)]
        left.set_xticks(np.arange(2 * k + 1) + 0.5, labels, fontsize=8)
        right.set_xticks(np.arange(k) + 0.5, [f"$y_{j}$" for j in names], fontsize=8)
        for place in (1, k + 1):
            left.axvline(place, color=INK, linewidth=1)
        left.set_title(f"{title}\nreads, less its threshold", fontsize=9.5)
        right.set_title("writes, per unit", fontsize=9.5)
        left.set_ylabel("features")
        for ax in (left, right):
            ax.set_yticks([])
    return fig


def _around(
    t: Transcoder, x: Float[Tensor, "n d_in"], k: int, most: int
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "m k"]]:
    """Margins of some features at these inputs, of which the last k have one coordinate, and what
    the features write on those."""
    sizes = contribution_sizes(t, x)[0]
    chosen = sizes.amax(0).argsort(descending=True)[:most]
    chosen = chosen[sizes[:, chosen].amax(0) > CONTRIBUTES]
    needs_more = sizes[-k:, chosen].amax(0) <= CONTRIBUTES
    chosen = chosen[(sizes[0, chosen] + 10 * needs_more).argsort(descending=True)]
    margin = t.hidden_pre(x)[0] - getattr(t, "threshold", torch.zeros_like(t.b_enc))[0]
    support = x[-k:].argmax(1) if (x[-k:] > 0).any() else x[-k:].abs().argmax(1)
    return margin[:, chosen].T.double().numpy(), t.W_dec[0, chosen][:, support].double().numpy()


@styled
def along_coordinate(transcoders: Mapping[str, Transcoder], j: int = 0) -> Figure:
    """Output j over coordinate j, all others 0: the layer's ``|x_j|`` as what the linear part
    writes and what the features and the bias write. A panel a transcoder."""
    fig, axes = panels(len(transcoders), 2.6, 2.8, sharey=True)
    u = torch.linspace(-1, 1, 201)
    for ax, (title, t) in zip(axes, transcoders.items(), strict=True):
        x = torch.zeros(len(u), t.d_in)
        x[:, j] = u
        of_features = t.decode(t.encode(x))[0, :, j]
        ax.plot(u, t(x)[0, :, j], color=INK, linewidth=3, alpha=0.35, label="output")
        ax.plot(u, of_features, color=BLUE, label="features")
        ax.plot(u, t(x)[0, :, j] - of_features, color=ORANGE, linestyle="--", label="linear part")
        ax.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(xlabel=f"$x_{{{j + 1}}}$", title=title)
    label_left(axes, f"written on $y_{{{j + 1}}}$")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig
