"""Verdicts: one word for a claim, from the words for its parts.

A part is one rule in one case, and :func:`faithnb.claims.evidence.graded` says what it is. Then:

=============================== ================================================================
holds                           every part holds
at the headline setting only    every part holds, but in less than half of the settings of the
                                grid that could judge it
weaker                          every part holds or is weaker: right direction, and too small
mixed                           some parts hold, others are weaker or undecided
undecided                       no part holds, and at least one is undecided
contradicted                    at least one part is contradicted
=============================== ================================================================

A part that could not be measured counts as undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faithnb.claims.evidence import Evidence
from faithnb.claims.registry import Claim
from faithnb.claims.rules import Never

HOLDS, HEADLINE_ONLY, WEAKER = "holds", "at the headline setting only", "weaker"
MIXED, UNDECIDED, CONTRADICTED = "mixed", "undecided", "contradicted"
NOT_MEASURED, NOT_TESTABLE = "not measured", "not testable as stated"
VERDICTS = (
    HOLDS, HEADLINE_ONLY, WEAKER, MIXED, UNDECIDED, CONTRADICTED, NOT_TESTABLE, NOT_MEASURED,
)  # fmt: skip
"""Every verdict, in the order in which they are counted."""

FRESH = "held on fresh seeds"
"""How *holds* is worded for this book's own claims: they say what trials had shown."""

NOT_FRESH = "seeds that chose settings or rules"
"""What is said of a verdict on such seeds."""

HALF_OF_GRID = 0.5
"""Share of a grid's settings below which a claim holds at the headline setting only."""

WORST_FIRST = ("contradicted", "undecided", "missing", "weaker", "holds")
"""Outcomes of parts."""

NEVER = str(Never())

CHANGED = "★"
"""Marks a claim whose rules were changed after the seeds that judge them had been looked at."""


@dataclass(frozen=True)
class Look:
    """How a verdict is marked: with a letter that pages' styles know it by, and an icon, so that
    colour alone says nothing."""

    key: str
    icon: str


LOOKS = {
    HOLDS: Look("holds", "✓"),
    HEADLINE_ONLY: Look("headline", "◇"),
    WEAKER: Look("weaker", "↓"),
    MIXED: Look("mixed", "◐"),
    UNDECIDED: Look("undecided", "?"),
    CONTRADICTED: Look("contradicted", "✕"),
    NOT_TESTABLE: Look("untestable", "–"),
    NOT_MEASURED: Look("unmeasured", "·"),
}


def verdict(claim: Claim, evidence: Sequence[Evidence], share_of_grid: float | None = None) -> str:
    """What the evidence says of a claim: one of :data:`faithnb.claims.verdicts.VERDICTS`.

    Args:
        claim: whose kind says whether it can be judged.
        evidence: of its parts, and what is reported beside them.
        share_of_grid: in what share of a grid's settings it holds; ``None`` where none judged it.
    """
    if evidence and not claim.testable:
        return NOT_TESTABLE
    parts = {e.outcome for e in judged(evidence)}
    if parts <= {"missing"}:
        return NOT_MEASURED
    if "contradicted" in parts:
        return CONTRADICTED
    if parts == {"holds"}:
        elsewhere = share_of_grid is None or share_of_grid >= HALF_OF_GRID
        return HOLDS if elsewhere else HEADLINE_ONLY
    if parts <= {"holds", "weaker"}:
        return WEAKER
    return MIXED if "holds" in parts else UNDECIDED


def judged(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The parts of a claim, without what is reported beside them."""
    return [e for e in evidence if e.outcome != "reported"]


def worst(evidence: Iterable[Evidence]) -> Evidence | None:
    """The part that decides the verdict, whose number is shown: the first with the worst outcome,
    or of all cases of its rule with that outcome the one that is furthest from the threshold.

    What is reported stands in where nothing is judged.
    """
    every = list(evidence)
    parts = judged(every)
    if not parts:
        return every[0] if every else None
    first = min(parts, key=lambda e: WORST_FIRST.index(e.outcome))
    alike = [e for e in parts if (e.outcome, e.asked) == (first.outcome, first.asked)]
    return min(alike, key=_reach)


def _reach(part: Evidence) -> float:
    """How far a value came from the null to the threshold: 1 at the threshold."""
    if part.null is None or not isinstance(part.threshold, float) or part.null == part.threshold:
        return 1.0
    return (part.value - part.null) / (part.threshold - part.null)


def said(row: Mapping[str, Any]) -> str:
    """The verdict of a ledger's row as a page words it, with a mark if its rules were changed."""
    word, ours = row["verdict"], not row["id"].startswith("C")
    if word == HOLDS and ours and row["kind"] == "empirical":
        seen = row.get("changed") or NOT_FRESH in row["caveats"]
        word = "held" if seen else FRESH
    return word + (f" {CHANGED}" if row.get("changed") else "")


def counts(row: Mapping[str, Any]) -> str:
    """How many of a row's parts hold at the headline setting, and in how many of a grid's settings
    the claim does, where one judged it; nothing where nothing is judged."""
    if row["verdict"] in (NOT_TESTABLE, NOT_MEASURED):
        return ""
    found = [f"{row['parts_met']} of {row['parts']} part{'s' * (row['parts'] != 1)}"]
    if row["parts_contradicted"]:
        found.append(f"{row['parts_contradicted']} contradicted")
    if row["n_of_grid"]:
        found.append(f"{of_grid(row)} setting{'s' * (row['n_of_grid'] != 1)}")
    return ", ".join(found)


def of_grid(row: Mapping[str, Any]) -> str:
    """In how many of how many settings a row's claim holds."""
    if not row["n_of_grid"]:
        return "–"
    return f"{row['share_of_grid'] * row['n_of_grid']:.0f} of {row['n_of_grid']}"


def in_short(row: Mapping[str, Any]) -> str:
    """A row's verdict for the prose, with both counts."""
    return ", ".join(filter(None, (said(row), counts(row))))


def tally(rows: Iterable[Mapping[str, Any]], whose: str | tuple[str, ...] = "C") -> str:
    """How many empirical claims have each verdict that occurs, in words.

    Args:
        rows: of the ledger.
        whose: first letters of their ids; see :func:`faithnb.claims.ledger.headline`.
    """
    found = [r["verdict"] for r in rows if r["kind"] == "empirical" and r["id"].startswith(whose)]
    return ", ".join(f"{word} ({found.count(word)})" for word in VERDICTS if word in found)


def by_chance(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """How many parts of empirical claims would hold by chance, if each were exactly at its null.

    Returns:
        ``parts``, how many of them it is known for, and how many are ``expected`` to hold; of
        these, those that say *never*, whose null is one in twenty (``never``,
        ``expected_never``); how many do hold (``held``); for how many it is not known
        (``unknown``).
    """
    parts = [
        part for row in rows if row["kind"] == "empirical" for part in row["evidence"]
        if part["outcome"] not in ("missing", "reported")
    ]  # fmt: skip
    known = [part for part in parts if part["chance"] is not None]
    never = [part for part in known if part["asked"] == NEVER]
    return {
        "parts": len(known), "expected": sum(p["chance"] for p in known),
        "never": len(never), "expected_never": sum(p["chance"] for p in never),
        "held": sum(p["outcome"] == "holds" for p in known),
        "unknown": len(parts) - len(known),
    }  # fmt: skip
