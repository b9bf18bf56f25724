"""What becomes of transcoders over a scan: memorized, lost the task, or neither."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from faithnb.figures.style import ORANGE, label_left, panels, styled
from faithnb.measures.memorization import lost, memorized
from faithnb.tables import counted

OUTCOMES = {"neither": "#A9D0E8", "memorize p": ORANGE, "lost the task": "#8A3A66"}
"""What a transcoder of a scan ends as, from the bottom of a cell up, with its colour."""

FILLED = 0.9
"""Of a cell's width and height."""


def outcomes(scan: xr.Dataset) -> xr.DataArray:
    """The shares of seeds by what they end as, which sum to 1 in every cell.

    A transcoder that lost the task is counted as that, whatever it does at p.

    Args:
        scan: of a sweep over ``seed`` and other axes.

    Returns:
        over ``outcome``, in the order of :data:`OUTCOMES`, and the other axes.
    """
    gone = lost(scan)
    held = memorized(scan) & ~gone
    shares = [~(gone | held), held, gone]
    return xr.concat([s.mean("seed") for s in shares], dim="outcome").assign_coords(
        outcome=list(OUTCOMES)
    )


@styled
def outcome_maps(scans: Mapping[str, xr.Dataset]) -> Figure:
    """Every cell of scans over ``repeat_frac`` × ``sparsity_coefficient``, a panel a scan, as a bar
    of its seeds' :func:`outcomes`.

    Args:
        scans: of sweeps, by title.
    """
    fig, axes = panels(len(scans), 2.2, 2.5, 0.6)
    for ax, (title, scan) in zip(axes, scans.items(), strict=True):
        shares = outcomes(scan).transpose("outcome", "sparsity_coefficient", "repeat_frac")
        row, column = (axis.ravel() for axis in np.indices(shares.shape[1:]))
        bottom = row + (1 - FILLED) / 2
        for share, colour in zip(shares.values, OUTCOMES.values(), strict=True):
            height = FILLED * share.ravel()
            ax.bar(column + 0.5, height, FILLED, bottom, color=colour, linewidth=0)
            bottom = bottom + height
        for name, axis, most in (
            ("repeat_frac", ax.xaxis, 3),
            ("sparsity_coefficient", ax.yaxis, 5),
        ):
            values = shares[name].values
            ticks = range(0, len(values), -(-len(values) // most))
            axis.set_ticks([k + 0.5 for k in ticks], [f"{values[k]:.2g}" for k in ticks])
        ax.set(xlim=(0, shares.shape[2]), ylim=(0, shares.shape[1]))
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("repeat fraction $r$")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    label_left(axes, "sparsity coefficient $λ$")
    named = [Patch(color=colour, label=name) for name, colour in OUTCOMES.items()]
    fig.legend(handles=named, loc="outside upper left", ncols=3, fontsize=9)
    return fig


def outcome_links(scans: Mapping[str, xr.Dataset], atlas: Mapping[str, int]) -> str:
    """The cells of :func:`outcome_maps` as a table for a page, folded: how many of a cell's seeds
    neither memorize nor lost the task, each a link to the cell in the atlas. A picture on a page
    can hold no links.

    Args:
        scans: of sweeps, by title.
        atlas: the place of those that the atlas holds among its scans, from 1.
    """
    rows = {}
    for title, place in atlas.items():
        fine = ~(lost(scans[title]) | memorized(scans[title]))
        for penalty in fine.sparsity_coefficient.values[::-1]:
            of_row = fine.sel(sparsity_coefficient=penalty)
            rows[title, f"λ = {penalty:.2g}"] = {
                f"r = {r:.2g}": f'<a href="atlas.html?r={r:.3g}&amp;lambda={penalty:.3g}'
                f'&amp;scan={place}">{counted(of_row.sel(repeat_frac=r))}</a>'
                for r in fine.repeat_frac.values
            }
    table = pd.DataFrame(rows).T.to_html(escape=False, border=0)
    return f"<details><summary>These cells as links to the atlas</summary>{table}</details>"
