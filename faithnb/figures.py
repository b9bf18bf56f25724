"""The figures: one function each, one style for all."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from faithnb.circuits import CircuitMap
from faithnb.experiment import forms_of_matching
from faithnb.intervals import rate_interval
from faithnb.metrics import (
    ALIGNED,
    CONTRIBUTES,
    STATES,
    contributing_jacobian,
    contribution_sizes,
    memorization,
)
from faithnb.transcoder import Transcoder

BLUE, ORANGE, RED, GREEN, GREY, INK, SKY, PINK = (
    "#0072B2", "#E69F00", "#D55E00", "#009E73", "#8C8C8C", "#222222", "#56B4E9", "#CC79A7",
)  # fmt: skip
"""Okabe and Ito's colours, told apart by colour-blind readers too."""

STATE_COLOURS = dict(zip(STATES, (BLUE, ORANGE, RED, GREY), strict=True))
"""The same colour for the same state everywhere."""

TERM_COLOURS = {"loss": INK, "reconstruction": BLUE, "sparsity": ORANGE, "jacobian": GREEN,
                "contribution": GREY}  # fmt: skip
"""And for the terms of the loss."""

LOOKS = tuple(zip((BLUE, ORANGE, GREEN, RED, GREY, SKY, PINK), "osD^vP*", strict=True))
"""Colours and marks of series, one after the other."""

FORM_LOOKS = dict(zip(forms_of_matching(), LOOKS, strict=True), none=(INK, "x"))
"""The same for the same form of matching everywhere."""

SIGNED = LinearSegmentedColormap.from_list("signed", ["#8C3A00", RED, "#FBFBFB", BLUE, "#00344F"])
LOADING = LinearSegmentedColormap.from_list("loading", ["#FBFBFB", "#7DB8DA", BLUE, "#00344F"])
SHARE = LinearSegmentedColormap.from_list("share", ["#FBFBFB", "#F6D58E", ORANGE, RED, "#6B2B00"])
RESIDUAL = LinearSegmentedColormap.from_list("residual", ["#FBFBFB", GREY, INK])

STYLE: Any = {
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "svg.hashsalt": "faithnb",
}


class Picture(Figure):
    """A figure that shows itself as SVG in any front end, whatever matplotlib's backend is."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        with io.StringIO() as svg, mpl.rc_context(STYLE):
            self.savefig(svg, format="svg", metadata={"Date": None})
            return {"image/svg+xml": svg.getvalue()}


F = TypeVar("F", bound=Callable[..., Figure])


def styled(draw: F) -> F:
    """Draw in the one style."""

    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def _figure(width: float, height: float) -> Picture:
    return Picture(figsize=(width, height), layout="constrained")


def _heat(ax: Axes, values: Any, cmap: Any, low: float, high: float) -> Any:
    """A matrix as a grid of cells, first row on top; NaN stays blank."""
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(np.asarray(values, dtype=float)),
        cmap=cmap, vmin=low, vmax=high, edgecolors="white", linewidth=0.4,
    )  # fmt: skip
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return mesh


def _signed_numbers(ax: Axes, values: Any, largest: float = 1.2) -> Any:
    """A small signed matrix with its numbers in the cells, coloured up to ±``largest``."""
    values = np.asarray(values)
    for (i, j), value in np.ndenumerate(values):
        label = f"{value:.2f}".replace("-0.00", "0.00")
        ink = "white" if abs(value) > 0.46 * largest else INK
        ax.text(j + 0.5, i + 0.5, label, ha="center", va="center", fontsize=8, color=ink)
    return _heat(ax, values, SIGNED, -largest, largest)


@styled
def two_relus() -> Figure:
    """``|x|`` as the sum of two ReLUs."""
    fig = _figure(6.4, 2.6)
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
    fig = _figure(6.4, 3.4)
    ax = fig.subplots()
    mesh = _heat(ax, rows, SIGNED, -1, 1)
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
    fig = _figure(4.6, 2.8)
    ax = fig.subplots()
    c = np.linspace(0, 2, 200)
    ax.plot(c, c, color=ORANGE, label="L1")
    ax.plot(c, np.tanh(tanh_scale * c), color=BLUE, label=f"tanh, s = {tanh_scale:g}")
    ax.plot(c, (c > 0.01).astype(float), color=GREY, linestyle=":", label="L0")
    ax.set(xlabel="contribution $h_i\\,\\|w_i\\|$", ylabel="penalty", ylim=(-0.05, 1.6))
    ax.legend(loc="upper left")
    return fig


@styled
def circuit_map(cmap: CircuitMap, inst: int = 0, title: str = "") -> Figure:
    """Features (columns) in terms of circuits (rows), the residual below.

    The note's map: a cell is the loading, the share of a feature's contribution that points along
    the circuit. Bars give the size of the contribution. Features are ordered by the circuit that
    loads most, those that hardly contribute come last, dead ones are left out.
    """
    order = cmap.order(inst)
    order = order[cmap.alive[inst][order]]
    n_circuits, n_dead = len(cmap.names), (~cmap.alive[inst]).sum()
    fig = _figure(8.2, 2.2 + 0.16 * n_circuits)
    above, ax, below = fig.subplots(3, 1, sharex=True, height_ratios=[3.5, n_circuits, 1.3])
    above.bar(np.arange(len(order)) + 0.5, cmap.size[inst][order], color=GREY, width=0.8)
    above.set_ylabel("size", rotation=0, ha="right", va="center", fontsize=7)
    above.tick_params(labelsize=6, length=2)
    mesh = _heat(ax, cmap.loading[inst][:, order], LOADING, 0, 1)
    rest = _heat(below, cmap.residual[inst][None, order], RESIDUAL, 0, 1)
    ax.set_yticks(np.arange(n_circuits) + 0.5, cmap.names, fontsize=7)
    ax.set_ylabel("circuit")
    if n_circuits > cmap.n_true:
        ax.axhline(cmap.n_true, color=RED, linewidth=1)
        for label in ax.get_yticklabels()[cmap.n_true :]:
            label.set_color(RED)
    below.set_yticks([0.5], ["residual"], fontsize=7)
    below.set(
        xticks=[], xlabel=f"{len(order)} live features ({n_dead} of {len(order) + n_dead} dead)"
    )
    fig.colorbar(mesh, ax=ax, label="loading", fraction=0.03, pad=0.01, aspect=30)
    fig.colorbar(rest, ax=below, fraction=0.03, pad=0.01, ticks=[0, 1]).ax.tick_params(labelsize=7)
    above.set_title(title)
    return fig


@styled
def feature_weights(
    transcoder: Transcoder, features: Mapping[str, int], inst: int = 0, n_coordinates: int = 8
) -> Figure:
    """Encoder and decoder weights and the bias of some features, on the first coordinates."""
    fig = _figure(2.0 * max(len(features), 2) + 0.6, 2.9)
    axes = np.atleast_1d(fig.subplots(1, len(features), sharey=True))
    n_coordinates = min(n_coordinates, transcoder.d_in, transcoder.d_out)
    at = np.arange(n_coordinates)
    for ax, (label, i) in zip(axes, features.items(), strict=True):
        read = transcoder.W_enc[inst, :n_coordinates, i].cpu().numpy()
        write = transcoder.W_dec[inst, i, :n_coordinates].cpu().numpy()
        ax.bar(at - 0.2, read, 0.38, color=BLUE, label="reads (encoder)")
        ax.bar(at + 0.2, write, 0.38, color=ORANGE, label="writes (decoder)")
        ax.axhline(0, color="#666666", linewidth=0.8)
        ax.set_xticks(at, [str(k + 1) for k in at])
        ax.set(xlabel="coordinate", title=f"{label}\nbias {transcoder.b_enc[inst, i]:+.2f}")
    axes[0].set_ylabel("weight")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig


@styled
def feature_activity(
    transcoder: Transcoder,
    feature: int,
    p: Float[Tensor, "d_in"],
    x: Float[Tensor, "B d_in"],
    inst: int = 0,
) -> Figure:
    """One feature's contribution along the ray t·p and on random data."""
    fig = _figure(7.6, 2.8)
    ray, random = fig.subplots(1, 2, width_ratios=[1.2, 1])
    one = transcoder[inst]
    t = torch.linspace(-0.5, 1.5, 201)

    def along_p(at: Tensor) -> np.ndarray:
        h = torch.relu(at @ one.W_enc[0, :, feature] + one.b_enc[0, feature])
        return (h * (one.W_dec[0, feature] @ p) / (p @ p)).numpy()

    ray.plot(t.numpy(), along_p(t[:, None] * p), color=RED, label="this feature")
    ray.plot(
        t.numpy(), t.abs().numpy(), color=INK, linewidth=1, linestyle="--", label="what |x| needs"
    )
    ray.axvline(1, color=GREY, linewidth=0.8)
    ray.set(xlabel="t, along the ray t · p", ylabel="contribution along p")
    ray.set_title("on the ray through p")
    ray.legend(loc="upper center")
    values = along_p(x)
    random.hist(values, bins=np.linspace(0, max(1.05, float(values.max())), 43), color=RED)
    random.set_yscale("log")
    random.set(xlabel="contribution along p", ylabel=f"of {len(x):,} samples")
    silent = (contribution_sizes(one, x)[0, :, feature] <= CONTRIBUTES).float().mean()
    random.set_title(f"on random data: silent on {silent:.1%}")
    return fig


@styled
def states_by_arm(states: Mapping[str, Sequence[str]]) -> Figure:
    """How often each state occurs in each arm, with a 95 % interval on "memorised".

    Diverged transcoders, whose state is "", are left out.
    """
    states = {arm: [s for s in found if s] for arm, found in states.items()}
    fig = _figure(6.8, 0.9 + 0.55 * len(states))
    ax = fig.subplots()
    for row, found in enumerate(states.values()):
        start, n = 0.0, len(found)
        for name in ("datapoint", "pair", "other", "generalising"):
            share = sum(s == name for s in found) / n
            ax.barh(row, share, left=start, color=STATE_COLOURS[name], height=0.62,
                    label=name if row == 0 else None)  # fmt: skip
            start += share
        k = sum(s in ("datapoint", "pair") for s in found)
        low, high = rate_interval(k, n)
        ax.errorbar(k / n, row, xerr=[[k / n - low], [high - k / n]], color=INK, capsize=4,
                    linewidth=1.6, marker="o", markersize=4)  # fmt: skip
    ax.set_yticks(range(len(states)), [f"{arm}\nn = {len(s)}" for arm, s in states.items()])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel="share of seeds (point and bar: memorised, 95 % Wilson interval)")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@styled
def history(history: xr.Dataset) -> Figure:
    """The terms of the loss over training, mean over instances with their range."""
    fig = _figure(6.4, 3.0)
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
    fig = _figure(5.6, 3.2)
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
    fig = _figure(7.2, 2.8)
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
def portrait(
    transcoder: Transcoder, p: Float[Tensor, "d_in"], title: str, colour: str = INK
) -> Figure:
    """How a transcoder computes f(p): what each feature that contributes there writes, and the
    Jacobian of these features.

    Features that contribute at most 1e-2 at p are left out of both. A memorising transcoder holds
    some exactly on their kink there, where it is a matter of rounding whether they count.
    """
    one, support = transcoder[0], p.nonzero()[:, 0]
    k = len(support)
    h = one.encode(p[None])[0, 0]
    active = (h * one.decoder_norms()[0] > CONTRIBUTES).nonzero()[:, 0]
    written = (h[active, None] * one.W_dec[0, active])[:, support]
    order = written.argmax(-1).argsort(stable=True)
    written = written[order]
    jacobian = contributing_jacobian(one, p)[0][support][:, support]

    n = max(1, len(active))
    fig = _figure(2.75, 1.2 + 0.42 * (n + k))
    top, bottom = fig.subplots(2, 1, height_ratios=[n, k])
    top.set_title(title, color=colour)
    top.set_ylabel("features\nactive at p" if n > 1 else "feature\nactive")
    bottom.set_ylabel("Jacobian at p")
    coordinates = np.arange(k) + 0.5
    for ax, values in ((top, written), (bottom, jacobian)):
        _signed_numbers(ax, values)
        ax.set_yticks([])
    outputs, inputs = ([f"${name}_{{{j + 1}}}$" for j in support.tolist()] for name in "yx")
    top.set_xticks(coordinates, outputs)
    bottom.set_xticks(coordinates, inputs)
    bottom.set_yticks(coordinates, outputs)
    return fig


def selected_features(
    transcoder: Transcoder, p: Float[Tensor, "d_in"], inst: int = 0
) -> dict[str, int]:
    """The features worth looking at: the one that memorises p most, and those that write its
    coordinates most purely; if there is none of these, the one that contributes most at p."""
    one = transcoder[inst]
    m = memorization(one, p, per_feature=True)[0]
    chosen = {"datapoint feature": int(m.argmax())} if m.max() > 0.1 else {}
    for j in p.nonzero()[:, 0].tolist():
        unit = torch.nn.functional.normalize(one.W_dec[0], dim=-1)[:, j]
        reads = one.W_enc[0, j] * one.decoder_norms()[0]
        score = torch.where(unit > 0.9, reads, 0.0)
        if score.max() > 0:
            chosen[f"writes $y_{{{j + 1}}}$"] = int(score.argmax())
    most = int(contribution_sizes(one, p[None]).argmax())
    return chosen or {"contributes most at p": most}


@styled
def durations(microseconds: Mapping[str, Mapping[str, float]]) -> Figure:
    """How long a step takes in each way, on a logarithmic axis: groups of ways, a colour each."""
    names = [name for group in microseconds.values() for name in group]
    fig = _figure(7.0, 0.9 + 0.3 * len(names))
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
    panels: Mapping[str, xr.DataArray],
    threshold: tuple[float, float, float] | None = None,
    up: str = "sparsity_coefficient",
) -> Figure:
    """Values in [0, 1] over ``repeat_frac`` × ``up``, a panel each.

    Axes are evenly spaced in the values given; the first may be 0. ``threshold`` is
    ``(a, b_r, b_λ)`` of a + b_r log r + b_λ log λ = 0, drawn as a line. Panels over different
    values have axes of their own.
    """
    fig = _figure(0.9 + 3.1 * len(panels), 3.4)
    alike = len({values.shape for values in panels.values()}) == 1
    axes = fig.subplots(1, len(panels), sharex=alike, sharey=alike, squeeze=False)[0]
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        values = values.transpose(up, "repeat_frac")
        mesh = _heat(ax, values, SHARE, 0, 1)
        ax.invert_yaxis()
        ax.set_title(title, fontsize=10)
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
    axes[0].set_ylabel(UP[up])
    fig.colorbar(mesh, ax=axes, fraction=0.03, label="share, or mean")
    return fig


def _place(axis: xr.DataArray, value: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Where values lie among the cells of a logarithmic axis whose first cell is apart."""
    at = np.log(axis.values[1:])
    step = (at[-1] - at[0]) / max(len(at) - 1, 1)
    return 1.5 + (np.log(value) - at[0]) / (step or 1.0)


@styled
def along_ray(
    transcoders: Mapping[str, Transcoder], p: Float[Tensor, "d_in"], up_to: float = 1.25
) -> Figure:
    """What each feature contributes at u·p, over u; coloured by what it writes."""
    fig = _figure(0.6 + 2.6 * len(transcoders), 2.9)
    axes = fig.subplots(1, len(transcoders), sharey=True, squeeze=False)[0]
    u = torch.linspace(0, up_to, 101)
    kinds = {"writes all of $p$": RED, "writes one coordinate": BLUE, "writes anything else": GREY}
    for ax, (title, transcoder) in zip(axes, transcoders.items(), strict=True):
        size = contribution_sizes(transcoder, u[:, None] * p)[0].cpu()
        writes = torch.nn.functional.normalize(transcoder.W_dec[0].cpu(), dim=-1)
        whole = writes @ (p / p.norm()) > ALIGNED
        single = writes.abs().amax(-1) > ALIGNED
        for i in (size.amax(0) > CONTRIBUTES).nonzero()[:, 0]:
            kind = list(kinds)[0 if whole[i] else 1 if single[i] else 2]
            ax.plot(u, size[:, i], color=kinds[kind], linewidth=1.6)
        ax.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(xlabel="$u$, input $u\\,p$", title=title)
    axes[0].set_ylabel("contribution $h_i\\,‖w_i‖$")
    for kind, colour in kinds.items():
        axes[0].plot([], [], color=colour, label=kind)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


@styled
def blind_spots() -> Figure:
    """The memorization of a feature that writes (1, a, a) at p, over a, and of others."""
    fig = _figure(5.6, 3.0)
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


@styled
def collapse(memorised: Mapping[str, xr.DataArray]) -> Figure:
    """Share of seeds that memorise against r·λ, coloured by λ: one curve if only it counts."""
    fig = _figure(1.0 + 3.4 * len(memorised), 3.2)
    axes = fig.subplots(1, len(memorised), sharey=True, squeeze=False)[0]
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
    axes[0].set_ylabel("share of seeds that memorise")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@styled
def survival(
    panels: Mapping[str, Mapping[str, Sequence[xr.DataArray]]], xlabel: str, ylabel: str
) -> Figure:
    """Shares over a relative setting, a panel a condition, a colour an arm; a faint line each
    dataset of an arm, a bold one through their mean where all have been measured.

    Each array has one dimension, the relative setting; 1 is marked.
    """
    fig = _figure(max(5.4, 0.9 + 2.9 * len(panels)), 3.2)
    axes = fig.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, arms) in zip(axes, panels.items(), strict=True):
        for (name, shares), colour, mark in zip(
            arms.items(), (RED, GREY, BLUE, ORANGE), "os^D", strict=False
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
    axes[0].set_ylabel(ylabel)
    columns = 4 if len(panels) > 1 else 2
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return fig


@styled
def jacobians(panels: Mapping[str, Float[np.ndarray, "k k"]], measure: str = "∂y / ∂x") -> Figure:
    """Jacobians on the coordinates of p, or other changes of outputs (rows) with inputs (columns),
    side by side, all on one colour scale; more than four in two rows."""
    k, n = len(next(iter(panels.values()))), len(panels)
    rows = 1 if n <= 4 else 2
    largest = max(1.2, *(np.abs(J).max() for J in panels.values()))
    fig = _figure(0.7 + 2.15 * -(-n // rows), 2.5 * rows)
    axes = fig.subplots(rows, -(-n // rows), squeeze=False)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    for ax, (title, J) in zip(axes.flat, panels.items(), strict=False):
        mesh = _signed_numbers(ax, J, largest)
        ax.set_title(title, fontsize=9.5)
        ax.set_xticks(np.arange(k) + 0.5, [f"$x_{{{j + 1}}}$" for j in range(k)])
        ax.set_yticks(np.arange(k) + 0.5, [f"$y_{{{j + 1}}}$" for j in range(k)])
        ax.set_aspect("equal")
    fig.colorbar(mesh, ax=axes, label=measure, fraction=0.03)
    return fig


@styled
def curves(
    grids: Mapping[str, xr.Dataset], over: str, panels: Mapping[str, str], xlabel: str
) -> Figure:
    """Measures over one setting, a panel a measure, a colour a series.

    The line goes through the means over ``seed``, faint dots are seeds. ``panels`` maps data
    variables to axis labels; a label that ends in "(log)" makes the axis logarithmic. At most
    seven series.
    """
    if len(grids) > 7:
        raise ValueError(f"{len(grids)} series are not allowed: at most 7 can be told apart.")
    forms = all(series in FORM_LOOKS for series in grids)
    looks = [FORM_LOOKS[series] for series in grids] if forms else LOOKS
    fig = _figure(max(5.2, 0.5 + 2.6 * len(panels)), 3.1)
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (name, label) in zip(axes, panels.items(), strict=True):
        for (series, grid), (colour, mark) in zip(grids.items(), looks, strict=False):
            values = grid[name].transpose(over, "seed").astype(float)
            at = _from_zero(values[over].values)
            if len(np.unique(values)) > 2:  # of yes and no, dots would say nothing
                ax.plot(at, values, ".", color=colour, alpha=0.3, markersize=4)
            else:
                ax.set_ylim(-0.04, 1.04)
            ax.plot(at, values.mean("seed"), marker=mark, color=colour, markersize=4.5,
                    linewidth=1.5, label=series)  # fmt: skip
        ax.set_xscale("log")
        some = grid[over].values[:: -max(1, len(grid[over]) // 5)][::-1]  # with the last
        shown = _from_zero(grid[over].values)[np.isin(grid[over].values, some)]
        ax.set_xticks(shown, [f"{v:g}" for v in some], fontsize=8)
        ax.minorticks_off()
        ax.set_xlabel(xlabel)
        ax.set_title(label.removesuffix(" (log)"), fontsize=9.5)
        if label.endswith("(log)"):
            _log_y(ax)
    columns = min(len(grids), 4) if len(panels) > 1 else 2
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    return fig


@styled
def against_l0(grids: Mapping[str, xr.Dataset], over: str, panels: Mapping[str, str]) -> Figure:
    """Measures against L0 while one setting changes, a panel a measure, a colour a series.

    Means over ``seed``, joined along ``over``; a mark is open where half of the seeds or more fail,
    as the variable ``fails`` says. Labels and looks as in :func:`curves`.
    """
    fig = _figure(max(5.2, 0.5 + 3.4 * len(panels)), 3.4)
    axes = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (name, label) in zip(axes, panels.items(), strict=True):
        for series, grid in grids.items():
            colour, mark = FORM_LOOKS[series]
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
            _log_y(ax)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return fig


def _log_y(ax: Axes) -> None:
    """A logarithmic axis with labels at 1 and 3 of each decade, so that a short one has some."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _from_zero(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Places on a logarithmic axis, with 0 a step to the left of the rest."""
    positive = values[values > 0]
    step = positive[1] / positive[0] if len(positive) > 1 else 3
    return np.where(values > 0, values, positive[0] / step)


@styled
def spectra(singular: Mapping[str, Float[np.ndarray, "n k"]]) -> Figure:
    """Singular values of Jacobians by rank: median over inputs, with the middle half as a band."""
    fig = _figure(6.4, 3.2)
    ax = fig.subplots()
    series = zip(singular.items(), (INK, BLUE, GREEN, ORANGE, RED), "osD^v", strict=False)
    for (label, values), colour, mark in series:
        rank = np.arange(1, values.shape[1] + 1)
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        ax.plot(rank, middle, marker=mark, color=colour, markersize=4, linewidth=1.5, label=label)
        ax.fill_between(rank, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.set(xlabel="rank", ylabel="singular value", ylim=(-0.03, None))
    ax.legend(fontsize=9)
    return fig


@styled
def circuit_code(
    transcoder: Transcoder,
    target: Any,
    feature: int,
    x: Float[Tensor, "B d_in"],
    p: Float[Tensor, "d_in"],
    inst: int = 0,
) -> Figure:
    """How one column of the map comes about: a feature's contribution over a sample, and the
    circuits that add up to it."""
    one = transcoder[inst]
    found = CircuitMap.of(one, target, x, [p])
    gain, size = found.gain[0, :, feature], found.loading[0, :, feature]
    at = int(one.W_dec[0, feature].abs().argmax())
    given = torch.cat([x, p[None]])
    real = (one.encode(given)[0, :, feature] * one.W_dec[0, feature, at]).numpy()
    near = given @ one.W_enc[0, :, feature]
    order = torch.linspace(0, len(given) - 1, 800).long()  # more dots would only be weight
    fig = _figure(8.2, 2.9)
    left, right = fig.subplots(1, 2, width_ratios=[1.25, 1])
    left.plot(near[order], real[order], ".", color=GREY, markersize=3, label="this feature")
    for k, colour in zip(np.argsort(-size)[:2], (BLUE, RED), strict=True):
        if size[k] > 0 and k < found.n_true:
            part = gain[k] * target.circuits()[k].contribution(given)[:, at].numpy()
            left.plot(near[order], part[order], ".", color=colour, markersize=3,
                      label=f"{gain[k]:.2f} × {found.names[k]}")  # fmt: skip
    left.set(xlabel="what the feature reads, $w_{enc} \\cdot x$",
             ylabel=f"contribution to $y_{{{at + 1}}}$")  # fmt: skip
    left.set_title("over the sample")
    left.legend(fontsize=8, markerscale=3)
    used = [k for k in np.argsort(-size) if size[k] > 0.005][:5]
    names = [found.names[k] for k in used] + ["residual"]
    bars = [*size[used], found.residual[0, feature]]
    right.barh(names, bars, color=[BLUE] * len(used) + [GREY], height=0.6)
    for row, value in enumerate(bars):
        right.annotate(f"{value:.2f}", (value, row), (4, 0), textcoords="offset points",
                       va="center", fontsize=8)  # fmt: skip
    right.invert_yaxis()
    right.set(xlim=(0, 1.15), xlabel="loading")
    right.set_title("its column of the map")
    return fig


@styled
def strips(
    groups: Mapping[str, Sequence[float]],
    label: str,
    states: Mapping[str, Sequence[str]] | None = None,
    log: bool = False,
) -> Figure:
    """One value a transcoder, a row an arm; coloured by state if ``states`` are given."""
    fig = _figure(6.8, 1.1 + 0.42 * len(groups))
    ax = fig.subplots()
    rng = np.random.default_rng(0)
    for row, (name, values) in enumerate(groups.items()):
        found = np.asarray(values, dtype=float)
        spread = row + rng.uniform(-0.16, 0.16, len(found))
        of = states[name] if states else []
        colours = [STATE_COLOURS.get(s, GREY) for s in of] if states else BLUE
        ax.scatter(found, spread, c=colours, s=20, alpha=0.75, linewidth=0)
        if np.isfinite(found).any():
            ax.plot([np.nanmedian(found)] * 2, [row - 0.3, row + 0.3], color=INK, linewidth=1.6)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.invert_yaxis()
    ax.set_xlabel(label + " (line: median)")
    if log and any(np.any(np.asarray(values) > 0) for values in groups.values()):
        ax.set_xscale("log")
    if states:
        shown = {s for found in states.values() for s in found if s}
        for name in (s for s in STATES if s in shown):
            ax.scatter([], [], c=STATE_COLOURS[name], s=24, label=name)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
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
    fig = _figure(6.6, 3.9)
    ax = fig.subplots()
    does, of = np.asarray(fvu) < 0.1, np.asarray(states)
    for name in STATES:
        for able, alpha in ((False, 0.15), (True, 0.65)):
            some = (of == name) & (does == able)
            at = np.asarray(l0)[some], np.asarray(unfaithfulness)[some]
            ax.scatter(*at, color=STATE_COLOURS[name], alpha=alpha, s=16,
                       linewidth=0, label=name if able else None)  # fmt: skip
    ax.set(xlabel="L0, contributing features (left: simpler)",
           ylabel="Jacobian error at p (below: more faithful)")  # fmt: skip
    if len(of):
        ax.set(xscale="log", yscale="log")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return fig


@styled
def lines(
    x: Sequence[float], series: Mapping[str, Sequence[float]], xlabel: str, ylabel: str
) -> Figure:
    """Curves over a logarithmic axis."""
    fig = _figure(5.8, 3.1)
    ax = fig.subplots()
    for (name, values), colour, mark in zip(
        series.items(), (BLUE, RED, ORANGE, GREEN), "osD^", strict=False
    ):
        ax.plot(x, values, marker=mark, color=colour, markersize=5, label=name)
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return fig
