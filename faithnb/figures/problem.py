"""Figures of the problem: the layer, its data, the penalty, what the measure does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from faithnb.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    SIGNED,
    heat,
    new_figure,
    styled,
)


@styled
def two_relus() -> Figure:
    """``|x|`` as the sum of two ReLUs."""
    fig = new_figure(6.4, 2.6)
    left, right = fig.subplots(1, 2, sharey=True)
    x = np.linspace(-1, 1, 201)
    left.plot(x, np.maximum(x, 0), color=BLUE, label="ReLU(x)")
    left.plot(x, np.maximum(-x, 0), color=GREEN, linestyle="--", label="ReLU(−x)")
    left.set(title="two neurons …", xlabel="$x_i$", ylabel="output")
    left.legend(loc="upper center")
    right.plot(x, np.abs(x), color=INK)
    right.set(title="… add up to |x|", xlabel="$x_i$")
    return fig


@styled
def data(x: Float[Tensor, "B d_in"], p: Float[Tensor, "d_in"], repeated: Sequence[int]) -> Figure:
    """Some inputs as rows, the repeated point among them."""
    rows = x.clone()
    rows[list(repeated)] = p
    fig = new_figure(6.4, 3.4)
    ax = fig.subplots()
    mesh = heat(ax, rows, SIGNED, -1, 1)
    fig.colorbar(mesh, ax=ax, label="value", fraction=0.04)
    ax.set(xlabel="coordinate", ylabel="sample", title="inputs; the arrows mark p")
    ax.set_xticks(np.arange(len(p)) + 0.5, [str(i + 1) for i in range(len(p))])
    ax.set_yticks([])
    for row in repeated:
        ax.annotate("p", (0, row + 0.5), (-0.9, row + 0.5), va="center", color=RED,
                    fontweight="bold", arrowprops={"arrowstyle": "->", "color": RED},
                    annotation_clip=False)  # fmt: skip
    return fig


@styled
def penalties(tanh_scale: float = 1.0) -> Figure:
    """What one feature's contribution costs under each penalty."""
    fig = new_figure(4.6, 2.8)
    ax = fig.subplots()
    c = np.linspace(0, 2, 200)
    ax.plot(c, c, color=ORANGE, label="L1")
    ax.plot(c, np.tanh(tanh_scale * c), color=BLUE, label=f"tanh, s = {tanh_scale:g}")
    ax.plot(c, (c > 0.01).astype(float), color=GREY, linestyle=":", label="L0")
    ax.set(xlabel="contribution $h_i\\,\\|w_i\\|$", ylabel="penalty", ylim=(-0.05, 1.6))
    ax.legend(loc="upper left")
    return fig


@styled
def blind_spots() -> Figure:
    """The memorization of a feature that writes (1, a, a) at p, over a, and of others."""
    fig = new_figure(5.6, 3.0)
    ax = fig.subplots()
    a = np.linspace(0, 1, 101)
    c = np.stack([np.ones_like(a), a, a], axis=1)
    m = np.maximum(c.sum(1) / 3**0.5 - c.max(1), 0)
    ax.plot(a, m, color=BLUE, label="(1, a, a)")
    ax.plot(a, (3**0.5 - 1) * a, color=RED, linestyle="--", label="(a, a, a)")
    pair = np.stack([np.ones_like(a), a, 0 * a], axis=1)
    ax.plot(a, np.maximum(pair.sum(1) / 3**0.5 - 1, 0), color=ORANGE, linestyle=":",
            label="(1, a, 0)")  # fmt: skip
    ax.axvline((3**0.5 - 1) / 2, color=GREY, linewidth=0.8)
    ax.set(xlabel="a", ylabel="memorization of the feature")
    ax.legend(title="contribution at p", fontsize=9)
    return fig
