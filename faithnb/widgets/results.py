"""What the first page shows of the chapters: results as cards, and the note's claims as squares."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faithnb.claims.verdicts import in_short
from faithnb.measures.memorization import DATAPOINT, MEMORIZED
from faithnb.widgets.in_page import InPage

LOOKS = {
    "holds": ("#00734f", "✓"),
    "at the headline setting only": ("#6a51a3", "◇"),
    "weaker": ("#1f6fa3", "↓"),
    "mixed": ("#965600", "◐"),
    "contradicted": ("#b3261e", "✕"),
}  # fmt: skip
"""Colour and sign of a verdict."""
NO_LOOK = "#666666", "?"
"""Of one that decides nothing."""

MATCHINGS = ("without matching", "with matching", "smoothed matching")
"""The scans of the fourth chapter."""

Records = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Bar:
    """One number of a card's chart."""

    label: str
    share: float
    """How long it is, from 0 to 1."""
    shown: str
    """The number in words."""
    kind: str = ""
    """``"calm"`` for what is as the layer does it, ``"gone"`` for a task that is lost."""


@dataclass(frozen=True)
class Result:
    """A card: what was found, with its chart."""

    title: str
    claim: str
    """Whose verdict stands on it, and whose chapter it leads to."""
    sentence: str
    bars: tuple[Bar, ...]


def first_results(records: Records) -> list[Result]:
    """The five of the first page, from what the chapters handed over.

    One whose chapter has not run says so, and has no chart.
    """
    titles = {
        it_forms: ("A feature for a repeated input", "C7"),
        where: ("A threshold that can be computed", "B10"),
        without_a_repeat: ("Without a repeat", "B1"),
        matching: ("Matching the Jacobian", "C19"),
        noticing: ("How to notice", "B14"),
    }
    found = []
    for tell, (title, claim) in titles.items():
        try:
            sentence, bars = tell(records)
        except (KeyError, StopIteration):
            sentence, bars = "This was not measured in this build.", ()
        found.append(Result(title, claim, sentence, tuple(bars)))
    return found


Told = tuple[str, Sequence[Bar]]


def it_forms(records: Records) -> Told:
    """How many transcoders memorize p, by how often it comes."""
    runs = records["runs"]["01_absolute_value"]
    rising = sorted((k for k in runs if k.endswith("% repeats")), key=lambda k: float(k.split()[0]))
    matched = [k for k in runs if k.endswith(", matched")]
    bars = [_count(k, [s in MEMORIZED for s in runs[k]["state"]])
            for k in ("no repeats", *rising, *matched)]  # fmt: skip
    none, *some = bars[: 1 + len(rising)]
    most = some[-1]
    return (
        f"Without repeats {none.shown} transcoders memorize p; with {most.label}, {most.shown}.",
        bars,
    )


def where(records: Records) -> Told:
    """How many keep a datapoint feature on either side of the computed threshold."""
    above, n = _evidence(records, "B10", "memorized, 1.5 × equilibrium")
    below, _ = _evidence(records, "B10", "given up, 0.67 × equilibrium")
    bars = [Bar(f"{name} × the threshold", share, f"{share * n:.0f} of {n}")
            for name, share in (("0.67", 1 - below), ("1.5", above))]  # fmt: skip
    return (
        "Where memorizing begins to pay follows from the loss, with nothing fitted: of transcoders "
        f"that begin with p memorized, {bars[0].shown} keep it below, and {bars[1].shown} above.",
        bars,
    )


def without_a_repeat(records: Records) -> Told:
    """How many have a feature for coordinates that act together."""
    runs = records["runs"]["07_coactivation"]
    names = {"07: exact repeat": "the same input", "07: ray": "one strength varies",
             "07: magnitudes": "each strength varies"}  # fmt: skip
    full = DATAPOINT * (3**0.5 - 1)
    bars = [_count(name, [(m or 0.0) >= full for m in runs[k]["memorization"]])
            for k, name in names.items()]  # fmt: skip
    alone, n = _evidence(records, "B1", "pattern feature, one at a time")
    bars.append(Bar("one at a time", alone, f"{alone * n:.0f} of {n}", "calm"))
    return (
        "Three coordinates that act together, each in a strength of its own, get a common feature "
        f"in {bars[2].shown} transcoders; one at a time, in {bars[3].shown}.",
        bars,
    )


def matching(records: Records) -> Told:
    """In how much of the scan the task is lost, by how Jacobians are matched."""
    lost = records["lost"]["04_jacobian_matching"]
    bars = [Bar(name, lost[name], f"{100 * lost[name]:.0f} %", "gone") for name in MATCHINGS]
    without, plain, smoothed = (bar.shown for bar in bars)
    return (
        f"The plain reading of matching makes {plain} of the scan’s transcoders lose the task; "
        f"without matching {without} do, and smoothed {smoothed}.",
        bars,
    )


def noticing(records: Records) -> Told:
    """How often two numbers put a transcoder of another mechanism above one of the layer's."""
    told = "Cliff's δ, patching error, another over the layer's mechanism, |x|"
    delta, _ = _evidence(records, "B14", told)
    lead, _ = _evidence(records, "B17", "AUROC, patching minus FVU, |x|")
    patching = (delta + 1) / 2
    values = {"patching error": patching, "FVU": patching - lead}
    bars = [Bar(k, v, f"{v:.2f}") for k, v in values.items()]
    return (
        "Patch one input, predict the output from the features that were active: this error ranks "
        f"transcoders of another mechanism above the others with an AUROC of {bars[0].shown}, FVU "
        f"with {bars[1].shown}.",
        bars,
    )


def _count(label: str, hits: Sequence[bool]) -> Bar:
    return Bar(label, sum(hits) / len(hits), f"{sum(hits)} of {len(hits)}")


def _evidence(records: Records, claim: str, what: str) -> tuple[float, int]:
    """The value of a part of a claim, and of how many."""
    parts = next(found[claim]["evidence"] for found in records["claims"].values() if claim in found)
    part = next(e for e in parts if e["what"] == what or e["what"].startswith(f"{what} ("))
    if part["value"] is None or not math.isfinite(part["value"]):
        raise KeyError(what)
    return part["value"], part["n"]


def as_cards(results: Iterable[Result], rows: Sequence[Mapping[str, Any]]) -> InPage:
    """The results, each with the verdict of its claim and a link to its chapter.

    Args:
        results: from :func:`first_results`.
        rows: of the ledger.
    """
    by_id = {row["id"]: row for row in rows}
    return InPage(
        f'<div class="fn-results">{"".join(_card(r, by_id[r.claim]) for r in results)}</div>'
    )


def _card(result: Result, row: Mapping[str, Any]) -> str:
    bars = "".join(
        f'<span>{html.escape(b.label)}</span><span class="fn-rail {b.kind and "fn-" + b.kind}" '
        f'aria-hidden="true"><i style="width:{100 * min(1.0, max(0.0, b.share)):.0f}%"></i></span>'
        f"<span>{html.escape(b.shown)}</span>"
        for b in result.bars
    )
    return (
        f'<div class="fn-result"><p class="fn-title"><a href="{_address(row)}">'
        f"{html.escape(result.title)}</a></p><p>{html.escape(result.sentence)}</p>"
        f'<div class="fn-bars">{bars}</div>'
        f'<p class="fn-chip">{_mark(row["verdict"])}{row["id"]}: {html.escape(in_short(row))}</p>'
        "</div>"
    )


def _mark(verdict: str) -> str:
    colour, sign = LOOKS.get(verdict, NO_LOOK)
    return f'<i aria-hidden="true" style="--c:{colour}">{sign}</i>'


def _address(row: Mapping[str, Any]) -> str:
    """A claim's chapter; the ledger if it was not measured."""
    page = (row["chapter"] or "notebooks/claims").split("/")[-1]
    return f"{page}.html"


def scoreboard(rows: Sequence[Mapping[str, Any]]) -> InPage:
    """The note's empirical claims as squares, coloured by verdict, each a link to its chapter.

    Args:
        rows: of the ledger.
    """
    shown = _of_the_note(rows)
    squares = "".join(map(_square, shown))
    key = "".join(
        f"<span>{_mark(word)}{html.escape(word)}: {n}</span>" for word, n in _counts(shown).items()
    )
    return InPage(f'<ul class="fn-board">{squares}</ul><p class="fn-key">{key}</p>')


def _square(row: Mapping[str, Any]) -> str:
    colour, sign = LOOKS.get(row["verdict"], NO_LOOK)
    words = html.escape(f"{row['id']}, {in_short(row)}: {row['statement']}")
    return (
        f'<li><a style="--c:{colour}" href="{_address(row)}" title="{words}" aria-label="{words}">'
        f"<span>{sign}</span>{row['id']}</a></li>"
    )


def verdicts_in_words(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many of the note's empirical claims have each verdict, for the prose."""
    return ", ".join(f"{word} ({n})" for word, n in _counts(_of_the_note(rows)).items())


def lost_in_words(records: Records) -> dict[str, str]:
    """In how much of the scan the task is lost, for the prose: without matching, ``lost_none``,
    with ``lost_plain`` and with ``lost_smoothed``."""
    lost = records.get("lost", {}).get("04_jacobian_matching", {})
    return {
        f"lost_{key}": f"{100 * lost[name]:.0f} %" if name in lost else "an unmeasured share"
        for key, name in zip(("none", "plain", "smoothed"), MATCHINGS, strict=True)
    }


def _of_the_note(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["kind"] == "empirical" and row["id"].startswith("C")]


def _counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many have each verdict that occurs, in the order of :data:`LOOKS`."""
    verdicts = [row["verdict"] for row in rows]
    return {word: verdicts.count(word) for word in dict.fromkeys((*LOOKS, *verdicts))
            if word in verdicts}  # fmt: skip
