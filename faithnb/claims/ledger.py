"""The ledger: how each claim was judged, and what came out.

A chapter measures and hands its data to the rules of a claim (:func:`judge`). The verdict follows
from the evidence that the rules make of them; nobody types one in.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faithnb.claims.evidence import Evidence, number
from faithnb.claims.registry import CLAIMS, Claim, Given
from faithnb.claims.rules import Reported
from faithnb.notebook import JUDGED_FROM, Run, hand_over, read_records, show

ENOUGH = 5
"""Seeds below which a verdict carries the words "too few seeds"."""

NOT_MEASURED, NOT_TESTABLE = "not measured", "not testable as stated"
VERDICTS = ("reproduced", "partly", "not reproduced", NOT_TESTABLE, NOT_MEASURED)


def verdict(claim: Claim, evidence: Sequence[Evidence]) -> str:
    """What the evidence says: all of it, some of it, or none meets the claim's rules.

    Where something could not be measured, a claim is reproduced in part at best.
    """
    if not evidence:
        return NOT_MEASURED
    if not claim.testable:
        return NOT_TESTABLE
    outcomes = [e.outcome for e in evidence if e.outcome != "reported"]
    if not outcomes:
        return NOT_MEASURED
    if set(outcomes) == {"yes"}:
        return "reproduced"
    measured = [o for o in outcomes if o != "missing"]
    if not measured:
        return NOT_MEASURED
    return "not reproduced" if set(measured) == {"no"} else "partly"


def caveats(evidence: Sequence[Evidence], first_seed: int) -> list[str]:
    """What a reader must know of a verdict: too few seeds, parts without evidence, or seeds that
    chose the settings."""
    judged = [e for e in evidence if e.outcome not in ("reported", "missing") and e.interval]
    found = ["too few seeds"] if any(e.n < ENOUGH for e in judged) else []
    if any(e.outcome == "missing" for e in evidence):
        found.append("a part could not be measured")
    return found + (["seeds that chose settings or rules"] if first_seed < JUDGED_FROM else [])


def judge(run: Run, claim_id: str, given: Given, reported: Given | None = None) -> None:
    """Judge a claim, show the verdict where it is measured, and hand it over to the ledger.

    Args:
        run: whose seeds judge it.
        claim_id: such as ``"C7"``.
        given: data by the name of the claim's rule, as :mod:`faithnb.claims.registry` says.
        reported: values over seeds, by what they are, that are reported beside and not judged.

    Raises:
        ValueError: if there is no such claim, or its rules and the data do not fit.
    """
    if claim_id not in CLAIMS:
        raise ValueError(f"there is no claim {claim_id!r}; there are {', '.join(CLAIMS)}.")
    claim = CLAIMS[claim_id]
    beside = [Reported().evidence(what, values) for what, values in (reported or {}).items()]
    evidence = (*claim.evidence(given), *beside)
    found = Verdict(claim, evidence, tuple(caveats(evidence, run.first_seed)))
    hand_over("claims", {claim_id: {
        "kind": claim.kind, "statement": claim.statement, "rule": claim.rule,
        "evidence": [asdict(e) for e in evidence], "caveats": list(found.caveats)}})  # fmt: skip
    show(found)


@dataclass(frozen=True)
class Verdict:
    """A claim with its evidence; in a notebook it shows itself."""

    claim: Claim
    evidence: tuple[Evidence, ...]
    caveats: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [verdict(self.claim, self.evidence), *self.caveats]
        return ", ".join(words)

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(str(e))}</li>" for e in self.evidence)
        return (
            f'<div class="verdict"><p><strong>{html.escape(self.claim.id)}: '
            f"{html.escape(str(self))}.</strong> "
            f"{html.escape(self.claim.statement)}</p><ul>{items}</ul></div>"
        )


def where_not(settings: Sequence[Mapping[str, Any]], holds: Sequence[float]) -> list[str]:
    """In words, the settings where something does not hold: a value under which it never does is
    said once, the others one by one.

    Args:
        settings: a grid, each a value for every name.
        holds: 1, 0, or NaN where there was nothing to judge.
    """
    failing = [of for of, held in zip(settings, holds, strict=True) if held == 0]
    judged = [of for of, held in zip(settings, holds, strict=True) if held == held]
    if failing == judged:
        return [f"every setting with something to judge ({len(judged)})"] if failing else []

    def never(name: str, value: Any) -> bool:
        with_it = [of for of in judged if of[name] == value]
        return len(with_it) > 1 and all(of in failing for of in with_it)

    values = list(dict.fromkeys((name, of[name]) for of in failing for name in of))
    whole = [(name, value) for name, value in values if never(name, value)]
    rest = [of for of in failing if not any(of[name] == value for name, value in whole)]
    single = [", ".join(f"{name} = {value:g}" for name, value in of.items()) for of in rest]
    return [*(f"{name} = {value:g}" for name, value in whole), *single]


def as_rows(
    recorded: Mapping[str, Mapping[str, Any]],
    chapters: Mapping[str, str] | None = None,
    grid: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """A row for every claim, as ``claims.json`` has them.

    A claim that was added where it was judged, and is not among :data:`CLAIMS` here, stands at the
    end.

    Args:
        recorded: what :func:`judge` handed over, by claim.
        chapters: where each claim was recorded.
        grid: by claim, the share of the pre-declared grid of settings where it holds, ``share``,
            of how many with something to judge, ``n``, and where it does not, ``fails``.
    """
    added = [
        Claim(name, found["kind"], found["statement"], {})
        for name, found in recorded.items() if name not in CLAIMS
    ]  # fmt: skip
    rows = []
    for claim in (*CLAIMS.values(), *added):
        found = recorded.get(claim.id, {"evidence": [], "caveats": []})
        evidence = [_from_json(e) for e in found["evidence"]]
        first = next((e for e in evidence if e.outcome != "reported"), next(iter(evidence), None))
        rows.append({
            "id": claim.id, "kind": claim.kind, "statement": claim.statement,
            "rule": found.get("rule", claim.rule),
            "chapter": (chapters or {}).get(claim.id),
            "verdict": verdict(claim, evidence), "caveats": list(found["caveats"]),
            "statistic": first.what if first else None,
            "value": _finite(first.value) if first else None,
            "interval": list(map(_finite, first.interval)) if first and first.interval else None,
            "n": first.n if first else 0,
            "share_of_grid": (grid or {}).get(claim.id, {}).get("share"),
            "n_of_grid": (grid or {}).get(claim.id, {}).get("n", 0),
            "fails_at": list((grid or {}).get(claim.id, {}).get("fails", [])),
            "parts": len(judged := [e for e in evidence if e.outcome != "reported"]),
            "parts_met": sum(e.outcome == "yes" for e in judged),
            "evidence": list(map(str, evidence)),
        })  # fmt: skip
    return rows


def read_ledger(folder: Path | None = None) -> list[dict[str, Any]]:
    """The ledger of what has been handed over."""
    records = read_records(folder)
    recorded: dict[str, Any] = {}
    chapters: dict[str, str] = {}
    for chapter, found in records.get("claims", {}).items():
        recorded |= found
        chapters |= dict.fromkeys(found, f"notebooks/{chapter}")
    grid = {k: v for found in records.get("grid", {}).values() for k, v in found.items()}
    return as_rows(recorded, chapters, grid)


def headline(
    rows: Iterable[Mapping[str, Any]], whose: str | tuple[str, ...] = "C"
) -> dict[str, int]:
    """How many empirical claims there are, and how many have each verdict.

    Args:
        rows: of the ledger.
        whose: "C" counts the note's claims, ``("B", "A", "L")`` this book's own.
    """
    empirical = [r for r in rows if r["kind"] == "empirical" and r["id"].startswith(whose)]
    return {"empirical": len(empirical)} | {
        v: sum(row["verdict"] == v for row in empirical) for v in VERDICTS
    }


def of_grid(row: Mapping[str, Any]) -> str:
    """In how many of how many settings a row's claim holds."""
    if not row["n_of_grid"]:
        return "–"
    return f"{row['share_of_grid'] * row['n_of_grid']:.0f} of {row['n_of_grid']}"


def as_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger as a table for the page."""
    marks = dict(zip(VERDICTS, ("●", "◐", "○", "–", "?"), strict=True))
    body = []
    for row in rows:
        met = [f"{row['parts_met']} of {row['parts']} parts"] if row["verdict"] == "partly" else []
        said = "; ".join([row["verdict"], *met, *row["caveats"]])
        share = of_grid(row)
        evidence = "".join(f"<li>{html.escape(e)}</li>" for e in row["evidence"])
        fails = "; ".join(map(html.escape, row["fails_at"]))
        elsewhere = f"<p>On the grid it does not hold at: {fails}.</p>" if fails else ""
        where = html.escape((row["chapter"] or "").split("/")[-1].split("_")[0])
        body.append(
            f"<tr><td>{html.escape(row['id'])}</td><td>{html.escape(row['kind'])}<br>{where}</td>"
            f"<td>{html.escape(row['statement'])}<details><summary>rule and evidence</summary>"
            f"<p>{html.escape(row['rule'])}</p><ul>{evidence}</ul>{elsewhere}</details></td>"
            f"<td><strong>{marks[row['verdict']]} {html.escape(said)}</strong></td>"
            f"<td>{_headline_value(row)}</td><td>{row['n']}</td><td>{share}</td></tr>"
        )
    head = "".join(
        f"<th>{name}</th>"
        for name in ("claim", "kind, page", "statement", "verdict", "value", "n", "grid")
    )
    return (
        f'<table class="ledger"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _headline_value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    interval = row["interval"]
    ends = f"<br>[{number(interval[0])}, {number(interval[1])}]" if interval else ""
    return number(row["value"]) + ends


def _from_json(found: Mapping[str, Any]) -> Evidence:
    """Evidence as it was handed over; JSON has no NaN."""

    def number_or_nan(value: float | None) -> float:
        return float("nan") if value is None else value

    interval = found["interval"] and tuple(map(number_or_nan, found["interval"]))
    return Evidence(**{**found, "value": number_or_nan(found["value"]), "interval": interval})


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def to_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger as ``claims.json`` holds it."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
