"""The strip of the first page: the layer, a transcoder with repeats, one that was also matched."""

from __future__ import annotations

import html
from collections.abc import Sequence

from faithnb.widgets.in_page import InPage
from faithnb.widgets.portraits import Portrait, bar, cells


def strip(
    layer: Portrait,
    repeats: Sequence[Portrait],
    matched: Sequence[Portrait],
    fractions: Sequence[float],
    start: int,
    caption: str,
) -> InPage:
    """Three panels of one height and scale, and a slider over the repeat fraction.

    Args:
        layer: the layer's own circuits.
        repeats: without matching, a repeat fraction each.
        matched: with matching, at the same.
        fractions: the repeat fractions.
        start: which of them stands there without scripts.
        caption: below all.

    Raises:
        ValueError: if the numbers of portraits and fractions differ.
    """
    states = list(zip(fractions, repeats, matched, strict=True))
    pictures = [(_picture(one), _picture(other)) for _, one, other in states]
    titles = ("The layer’s truth", "With repeats", "With repeats and matching")
    shown = (_picture(layer), *pictures[start])
    panels = "".join(
        f'<div class="fn-panel"><p class="fn-title">{title}</p>'
        f'<div class="fn-picture-{k}">{picture}</div></div>'
        for k, (title, picture) in enumerate(zip(titles, shown, strict=True))
    )
    data = {
        "label": "how much of the data is p",
        "names": [f"{100 * r:.3g} %" for r in fractions],
        "said": [_said(*of) for of in states],
        "start": start,
        "places": {
            ".fn-picture-1": [one for one, _ in pictures],
            ".fn-picture-2": [other for _, other in pictures],
        },
    }
    stands = (
        f'<figure class="fn-strip"><div class="fn-panels">{panels}</div>'
        f'<div class="fn-control"></div><figcaption>{html.escape(caption)}</figcaption></figure>'
    )
    return InPage(stands, "slides.js", data)


def _picture(portrait: Portrait) -> str:
    return cells(portrait) + bar(portrait)


def _said(fraction: float, repeats: Portrait, matched: Portrait) -> str:
    of = "No input repeats" if fraction == 0 else f"{100 * fraction:.3g} % of the data is p"
    return (
        f"{of}: {_state(repeats)} without matching, {_state(matched)} with it "
        f"(memorization {100 * repeats.share:.0f} % and {100 * matched.share:.0f} %)."
    )


STATES = {
    "datapoint": "a datapoint feature",
    "pair": "a feature for two coordinates",
    "generalising": "a feature a coordinate",
    "other": "a mixture",
}


def _state(portrait: Portrait) -> str:
    return STATES.get(portrait.state, portrait.state)
