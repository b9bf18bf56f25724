"""How transcoders compute f(p), drawn as HTML: cells with numbers, arrows, and a bar."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from faithnb.measures import (
    ALIGNED,
    CONTRIBUTES,
    contributing_jacobian,
    contribution_sizes,
    fvu,
    memorization_share,
    state,
)
from faithnb.measures.memorization import TASK_LOST
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder


@dataclass(frozen=True)
class Portrait:
    """What a transcoder does at p, on the k coordinates where p is not 0."""

    at: tuple[int, ...]
    """These coordinates, counted from 1."""
    writes: Float[np.ndarray, "n k"]
    """What each contributing feature writes."""
    whole: tuple[bool, ...]
    """Which of them write along all of p, with a cosine above 0.9."""
    jacobian: Float[np.ndarray, "k k"]
    """Of the contributing features, outputs down."""
    share: float
    """Memorization, in whole datapoint features."""
    state: str
    """A state of :func:`~faithnb.measures.memorization.state`, or ``"lost the task"``."""
    fvu: float
    """On base data."""

    def slots(self) -> Float[np.ndarray, "k1 k"]:
        """What is written by the features of each coordinate, the one that they write most, and
        last by those that write all of p."""
        rows = np.zeros((len(self.at) + 1, len(self.at)))
        for writes, whole in zip(self.writes, self.whole, strict=True):
            rows[-1 if whole else int(np.abs(writes).argmax())] += writes
        return rows


LOST = "lost the task"


def portraits(
    transcoder: Transcoder, layer: Layer, p: Float[Tensor, "d_in"], x: Float[Tensor, "B d_in"]
) -> list[Portrait]:
    """A portrait of each instance.

    Args:
        transcoder: whose.
        layer: what it was trained on.
        p: the repeated point.
        x: base data, for the FVU.
    """
    at = p.nonzero()[:, 0]
    shares, states = memorization_share(transcoder, p), state(transcoder, layer, p)
    errors = fvu(transcoder, layer, x)
    found = []
    for k in range(transcoder.n_inst):
        one = transcoder[k]
        active = (contribution_sizes(one, p[None])[0, 0] > CONTRIBUTES).nonzero()[:, 0]
        writes = one.encode(p[None])[0, 0][active, None] * one.W_dec[0, active]
        along = writes @ p / (writes.norm(dim=1) * p.norm())
        lost_it = float(errors[k]) >= TASK_LOST
        found.append(Portrait(
            at=tuple(j + 1 for j in at.tolist()),
            writes=writes[:, at].double().numpy(),
            whole=tuple((along > ALIGNED).tolist()),
            jacobian=contributing_jacobian(one, p)[0][at][:, at].double().numpy(),
            share=float(shares[k]), state=LOST if lost_it else states[k], fvu=float(errors[k]),
        ))  # fmt: skip
    return found


def cells(portrait: Portrait) -> str:
    """What features write at p, a row a coordinate and one for all of p, and the Jacobian."""
    slots = portrait.slots()
    outputs, inputs = _named("y", portrait.at), _named("x", portrait.at)
    rows = [*outputs, "all of p"]
    said = "; ".join(
        f"{name} {', '.join(map(number, row))}"
        for name, row in zip(rows, slots, strict=True) if row.any()
    )  # fmt: skip
    slopes = "; ".join(", ".join(map(number, row)) for row in portrait.jacobian)
    return (
        '<p class="fn-small">written by features of</p>'
        + _grid(f"Written at p by features of: {said or 'none'}.", slots, rows, outputs)
        + '<p class="fn-small">Jacobian</p>'
        + _grid(f"Jacobian at p, row by row: {slopes}.", portrait.jacobian, outputs, inputs)
    )


def _named(letter: str, at: Sequence[int]) -> list[str]:
    return [letter + str(k).translate(SUBSCRIPTS) for k in at]


def _grid(
    label: str, values: Float[np.ndarray, "n k"], rows: Sequence[str], columns: Sequence[str]
) -> str:
    """A matrix with its names, the columns' below; the row of p is marked."""
    lines = "".join(
        f'<div class="fn-row{" fn-of-p" if name == "all of p" else ""}"><span>{name}</span>'
        f"{''.join(map(_cell, line))}</div>"
        for name, line in zip(rows, values, strict=True)
    )
    foot = "".join(f"<span>{name}</span>" for name in columns)
    return (
        f'<div class="fn-grid" role="img" aria-label="{html.escape(label)}">{lines}'
        f'<div class="fn-row"><span></span>{foot}</div></div>'
    )


STRONG = {"plus": 0.8, "minus": 0.86}
"""From which size on white is easier to read than black, on the colour of a cell."""


def _cell(value: float) -> str:
    shown, size = number(value), round(min(1.0, abs(value)), 2)
    if shown == "0.00":
        return "<b>·</b>"
    sign = "minus" if value < 0 else "plus"
    strong = " fn-strong" if size >= STRONG[sign] else ""
    return f'<b class="fn-{sign}{strong}" style="--v:{size:.2f}">{shown}</b>'


def number(value: float) -> str:
    """To two digits, with a true minus."""
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
ENDS = np.array([(74.0, 0.0), (0.0, -74.0), (-42.0, 36.0)])
"""Where the axes of three coordinates end in a picture, seen from the side."""


def arrows(portrait: Portrait) -> str:
    """What each contributing feature writes on p's first three coordinates, as arrows in their
    space: along an axis if it is a coordinate's, along the dashed line if it is p's."""
    ends = ENDS[: len(portrait.at)]
    shapes = [
        _line(end * 1.15, "fn-axis") + _text(end * 1.32, name)
        for end, name in zip(ends, _named("y", portrait.at), strict=False)
    ]
    shapes += [_line(ends.sum(0) * 1.2, "fn-axis fn-dashed"), _text(ends.sum(0) * 1.45, "p")]
    for writes, whole in zip(portrait.writes, portrait.whole, strict=True):
        end, kind = writes[: len(ends)] @ ends, " fn-whole" if whole else ""
        shapes.append(_line(end, f"fn-arrow{kind}"))
        shapes.append(f'<circle class="fn-tip{kind}" r="4.5" cx="{end[0]:.0f}" cy="{end[1]:.0f}"/>')
    label = (
        f"Features that contribute at p: {len(portrait.writes)}; "
        f"of them write along all of p: {sum(portrait.whole)}."
    )
    return (
        f'<svg class="fn-arrows" viewBox="-74 -112 186 168" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )


def _line(end: Float[np.ndarray, "2"], kind: str) -> str:
    return f'<path class="{kind}" d="M0 0L{end[0]:.0f} {end[1]:.0f}"/>'


def _text(at: Float[np.ndarray, "2"], words: str) -> str:
    return f'<text x="{at[0]:.0f}" y="{at[1] + 4:.0f}">{words}</text>'


def bar(portrait: Portrait, name: str = "memorization") -> str:
    """How much of a whole datapoint feature there is."""
    percent = 100 * portrait.share
    return (
        f'<div class="fn-share"><span>{name}</span>'
        f'<span class="fn-rail" aria-hidden="true"><i style="width:{min(100, percent):.0f}%"></i>'
        f"</span><span>{percent:.0f} %</span></div>"
    )
