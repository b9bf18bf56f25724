"""Figures of one transcoder: what it is made of, reads, writes and has as its Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from faithnb.figures.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LOADING,
    ORANGE,
    RED,
    RESIDUAL,
    WIDEST,
    heat,
    label_left,
    new_figure,
    panels,
    signed_numbers,
    styled,
)
from faithnb.measures import (
    ALIGNED,
    CONTRIBUTES,
    contributing_jacobian,
    contribution_sizes,
    memorization,
)
from faithnb.measures.circuits import CircuitMap
from faithnb.model.transcoder import Transcoder


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
    fig = new_figure(WIDEST, 2.2 + 0.16 * n_circuits)
    above, ax, below = fig.subplots(3, 1, sharex=True, height_ratios=[3.5, n_circuits, 1.3])
    above.bar(np.arange(len(order)) + 0.5, cmap.size[inst][order], color=GREY, width=0.8)
    above.set_ylabel("size", rotation=0, ha="right", va="center", fontsize=8)
    above.tick_params(labelsize=8, length=2)
    mesh = heat(ax, cmap.loading[inst][:, order], LOADING, 0, 1)
    rest = heat(below, cmap.residual[inst][None, order], RESIDUAL, 0, 1)
    ax.set_yticks(np.arange(n_circuits) + 0.5, cmap.names, fontsize=8)
    ax.set_ylabel("circuit")
    if n_circuits > cmap.n_true:
        ax.axhline(cmap.n_true, color=RED, linewidth=1)
        for label in ax.get_yticklabels()[cmap.n_true :]:
            label.set_color(RED)
    below.set_yticks([0.5], ["residual"], fontsize=8)
    below.set(
        xticks=[], xlabel=f"{len(order)} live features ({n_dead} of {len(order) + n_dead} dead)"
    )
    fig.colorbar(mesh, ax=ax, label="loading", fraction=0.03, pad=0.01, aspect=30)
    fig.colorbar(rest, ax=below, fraction=0.03, pad=0.01, ticks=[0, 1]).ax.tick_params(labelsize=8)
    above.set_title(title)
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
    fig = new_figure(WIDEST, 2.9)
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


def selected_features(
    transcoder: Transcoder, p: Float[Tensor, "d_in"], inst: int = 0
) -> dict[str, int]:
    """The features worth looking at: the one that memorizes p most, and those that write its
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
def feature_weights(
    transcoder: Transcoder, features: Mapping[str, int], inst: int = 0, n_coordinates: int = 8
) -> Figure:
    """Encoder and decoder weights and the bias of some features, on the first coordinates."""
    fig, axes = panels(len(features), 2.0, 2.6, sharey=True)
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
    label_left(axes, "weight")
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
    fig = new_figure(WIDEST, 2.8)
    ray, random = fig.subplots(1, 2, width_ratios=[1.2, 1])
    one = transcoder[inst]
    t = torch.linspace(-0.5, 1.5, 201)

    def along_p(at: Tensor) -> np.ndarray:
        h = one.encode(at)[0, :, feature]
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
def along_ray(
    transcoders: Mapping[str, Transcoder], p: Float[Tensor, "d_in"], up_to: float = 1.25
) -> Figure:
    """What each feature contributes at u·p, over u; coloured by what it writes."""
    fig, axes = panels(len(transcoders), 2.6, 2.8, sharey=True)
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
    label_left(axes, "contribution $h_i\\,‖w_i‖$")
    for kind, colour in kinds.items():
        axes[0].plot([], [], color=colour, label=kind)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return fig


@styled
def jacobians(matrices: Mapping[str, Float[np.ndarray, "k k"]], measure: str = "∂y / ∂x") -> Figure:
    """Jacobians on the coordinates of p, or other changes of outputs (rows) with inputs (columns),
    side by side, all on one colour scale."""
    k = len(next(iter(matrices.values())))
    largest = max(1.2, *(np.abs(J).max() for J in matrices.values()))
    fig, axes = panels(len(matrices), 2.15, 2.4, 0.7)
    for ax, (title, J) in zip(axes, matrices.items(), strict=True):
        mesh = signed_numbers(ax, J, largest)
        ax.set_title(title, fontsize=9.5)
        ax.set_xticks(np.arange(k) + 0.5, [f"$x_{{{j + 1}}}$" for j in range(k)])
        ax.set_yticks(np.arange(k) + 0.5, [f"$y_{{{j + 1}}}$" for j in range(k)])
        ax.set_aspect("equal")
    fig.colorbar(mesh, ax=axes, label=measure, fraction=0.03)
    return fig


@styled
def contributions(found: Mapping[str, Float[np.ndarray, "n k"]], most: int = 4) -> Figure:
    """What features write on k coordinates, side by side on one colour scale: a row a feature, the
    ``most`` largest first, then the others together, and the sum."""
    tables = {}
    for title, written in found.items():
        order = np.linalg.norm(written, axis=1).argsort()[::-1]
        rest = written[order[most:]].sum(0)
        tables[title] = np.stack([*written[order[:most]], rest, written.sum(0)])
    largest = max(1.2, *(np.abs(table).max() for table in tables.values()))
    fig, axes = panels(len(tables), 1.75, 2.8, 1.3, sharey=True)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        mesh = signed_numbers(ax, table, largest)
        ax.axhline(len(table) - 1, color=INK, linewidth=1)
        ax.set_title(title, fontsize=9.5)
        ax.set_xticks(
            np.arange(table.shape[1]) + 0.5, [f"$y_{{{j + 1}}}$" for j in range(table.shape[1])]
        )
    names = [*(f"feature {k + 1}" for k in range(len(table) - 2)), "the others", "sum"]
    axes[0].set_yticks(np.arange(len(names)) + 0.5, names)
    axes[0].set_ylim(len(names), 0)
    fig.colorbar(mesh, ax=axes, label="written", fraction=0.03)
    return fig


@styled
def portrait(
    transcoder: Transcoder, p: Float[Tensor, "d_in"], title: str, colour: str = INK
) -> Figure:
    """How a transcoder computes f(p): what each feature that contributes there writes, and the
    Jacobian of these features.

    Features that contribute at most 1e-2 at p are left out of both. A memorizing transcoder holds
    some exactly on their kink there, where it is a matter of rounding whether they count.
    """
    one, support = transcoder[0], p.nonzero()[:, 0]
    k = len(support)
    h = one.encode(p[None])[0, 0]
    active = (h.abs() * one.decoder_norms()[0] > CONTRIBUTES).nonzero()[:, 0]
    written = (h[active, None] * one.W_dec[0, active])[:, support]
    order = written.argmax(-1).argsort(stable=True)
    written = written[order]
    jacobian = contributing_jacobian(one, p)[0][support][:, support]

    n = max(1, len(active))
    fig = new_figure(2.75, 1.2 + 0.42 * (n + k))
    top, bottom = fig.subplots(2, 1, height_ratios=[n, k])
    top.set_title(title, color=colour)
    top.set_ylabel("features\nactive at p" if n > 1 else "feature\nactive")
    bottom.set_ylabel("Jacobian at p")
    coordinates = np.arange(k) + 0.5
    for ax, values in ((top, written), (bottom, jacobian)):
        signed_numbers(ax, values)
        ax.set_yticks([])
    outputs, inputs = ([f"${name}_{{{j + 1}}}$" for j in support.tolist()] for name in "yx")
    top.set_xticks(coordinates, outputs)
    bottom.set_xticks(coordinates, inputs)
    bottom.set_yticks(coordinates, outputs)
    return fig


@styled
def spectra(singular: Mapping[str, Float[np.ndarray, "n k"]]) -> Figure:
    """Singular values of Jacobians by rank: median over inputs, with the middle half as a band."""
    fig = new_figure(6.4, 3.2)
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
