"""How figures look: the same colours for the same thing everywhere, one style, SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import wraps
from itertools import cycle
from typing import Any, TypeVar

import matplotlib as mpl
import matplotlib.style
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from faithnb.common.ambient import settled
from faithnb.matching import variants
from faithnb.measures import STATES

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


def form_looks() -> dict[str, tuple[str, str]]:
    """The same for the same variant of matching everywhere, from the first again after the last."""
    return dict(zip(variants(), cycle(LOOKS), strict=False), none=(INK, "x"))


SIGNED = LinearSegmentedColormap.from_list("signed", ["#8C3A00", RED, "#FBFBFB", BLUE, "#00344F"])
LOADING = LinearSegmentedColormap.from_list("loading", ["#FBFBFB", "#7DB8DA", BLUE, "#00344F"])
LOST = LinearSegmentedColormap.from_list("lost", ["#FBFBFB", "#E5BCD2", PINK, "#8A3A66", "#3F1230"])
"""For the share of transcoders that lost the task, which is not a share that memorizes."""
SHARE = LinearSegmentedColormap.from_list("share", ["#FBFBFB", "#F6D58E", ORANGE, RED, "#6B2B00"])
RESIDUAL = LinearSegmentedColormap.from_list("residual", ["#FBFBFB", GREY, INK])

WIDEST = 6.9
"""In inches, of 96 pixels: a page's text is 688 pixels wide, so no figure is made smaller there."""

SMALLEST = 8
"""In points: a telephone shows figures at 85 % (``book.css``), so that this is 9 pixels high."""

RASTER, MANY = 200, 300
"""Dots an inch of a map's cells, which are one image where there are more of them than this."""

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


def one_style() -> AbstractContextManager[None]:
    """Matplotlib's defaults with the one style, whatever a reader's ``matplotlibrc`` says."""
    return mpl.style.context(STYLE, after_reset=True)


class Picture(Figure):
    """A figure that shows itself as SVG in any front end, whatever matplotlib's backend is."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        with io.StringIO() as svg, one_style():
            self.savefig(svg, format="svg", metadata={"Date": None}, dpi=RASTER)
            return {"image/svg+xml": svg.getvalue()}


F = TypeVar("F", bound=Callable[..., Figure])


def styled(draw: F) -> F:
    """Draw in the one style."""

    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with one_style(), settled():
            return draw(*args, **kwargs)

    return wrapper  # type: ignore[return-value]


def new_figure(width: float, height: float) -> Picture:
    return Picture(figsize=(width, height), layout="constrained")


def panels(
    n: int, width: float, height: float, beside: float = 0.5, **subplots: Any
) -> tuple[Picture, list[Axes]]:
    """A figure of n panels in rows: four stand two by two, and no row has more than three.

    Args:
        n: how many.
        width: of one, in inches, where the page is wide enough.
        height: of a row, in inches.
        beside: room for what stands at their side.
        **subplots: what :meth:`~matplotlib.figure.Figure.subplots` is given.
    """
    columns = 2 if n == 4 else min(n, 3)
    rows = -(-n // columns)
    fig = new_figure(min(WIDEST, max(5.2, beside + width * columns)), height * rows)
    axes = fig.subplots(rows, columns, squeeze=False, **subplots).ravel()
    for ax in axes[n:]:
        ax.set_axis_off()
    return fig, list(axes[:n])


def label_left(axes: Iterable[Axes], label: str) -> None:
    """Label the vertical axes of the panels that begin a row."""
    for ax in axes:
        if ax.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            ax.set_ylabel(label)


def heat(ax: Axes, values: Any, cmap: Any, low: float, high: float) -> Any:
    """A matrix as a grid of cells, first row on top; NaN stays blank."""
    values = np.asarray(values, dtype=float)
    mesh = ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=cmap, vmin=low, vmax=high,
        edgecolors="white", linewidth=0.4, rasterized=values.size > MANY,
    )  # fmt: skip
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return mesh


def signed_numbers(ax: Axes, values: Any, largest: float = 1.2) -> Any:
    """A small signed matrix with its numbers in the cells, coloured up to ±``largest``."""
    values = np.asarray(values)
    for (i, j), value in np.ndenumerate(values):
        label = f"{value:.2f}".replace("-0.00", "0.00")
        ink = "white" if abs(value) > 0.46 * largest else INK
        ax.text(j + 0.5, i + 0.5, label, ha="center", va="center", fontsize=8, color=ink)
    return heat(ax, values, SIGNED, -largest, largest)


def log_y(ax: Axes) -> None:
    """A logarithmic axis with labels at 1 and 3 of each decade, so that a short one has some."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.yaxis.set_minor_formatter(NullFormatter())


def from_zero(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Places on a logarithmic axis, with 0 a step to the left of the rest."""
    positive = values[values > 0]
    step = positive[1] / positive[0] if len(positive) > 1 else 3
    return np.where(values > 0, values, positive[0] / step)
