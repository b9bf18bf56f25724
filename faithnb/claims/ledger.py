"""The ledger: how each claim was judged, and what came out.

A chapter measures and hands its data to the rules of a claim (:func:`judge`). The verdict follows
from the evidence that the rules make of them; nobody types one in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from faithnb.claims.evidence import Evidence
from faithnb.claims.judged_at import At, described
from faithnb.claims.page import as_html, box
from faithnb.claims.registry import CLAIMS, Claim, Given
from faithnb.claims.rules import Reported
from faithnb.claims.verdicts import NOT_FRESH, VERDICTS, judged, of_grid, verdict, worst
from faithnb.notebook import JUDGED_FROM, Run, hand_over, read_records, show

__all__ = [
    "VERDICTS", "Verdict", "as_html", "as_rows", "caveats", "headline", "judge", "of_grid",
    "read_ledger", "to_json", "verdict", "where_not",
]  # fmt: skip

ENOUGH = 5
"""Seeds below which a verdict carries the words "too few seeds"."""


def caveats(evidence: Sequence[Evidence], first_seed: int) -> list[str]:
    """What a reader must know of a verdict: too few seeds, parts without evidence, or seeds that
    chose the settings."""
    parts = [e for e in judged(evidence) if e.outcome != "missing" and e.interval]
    found = ["too few seeds"] if any(e.n < ENOUGH for e in parts) else []
    if any(e.outcome == "missing" for e in evidence):
        found.append("a part could not be measured")
    return found + ([NOT_FRESH] if first_seed < JUDGED_FROM else [])


def judge(
    run: Run,
    claim_id: str,
    given: Given,
    reported: Given | None = None,
    at: At | None = None,
    over: Mapping[str, Iterable[Any]] | None = None,
) -> None:
    """Judge a claim, show the verdict where it is measured, and hand it over to the ledger.

    Args:
        run: whose seeds judge it.
        claim_id: such as ``"C7"``.
        given: data by the name of the claim's rule, as :mod:`faithnb.claims.registry` says.
        reported: values over seeds, by what they are, that are reported beside and not judged.
        at: the experiments that it is judged on; by default the one that the notebook's parameters
            describe. Empty where nothing is trained.
        over: the values of fields that sweeps over these experiments have.

    Raises:
        ValueError: if there is no such claim, or its rules and the data do not fit.
    """
    if claim_id not in CLAIMS:
        raise ValueError(f"there is no claim {claim_id!r}; there are {', '.join(CLAIMS)}.")
    claim = CLAIMS[claim_id]
    beside = [Reported().evidence(what, values) for what, values in (reported or {}).items()]
    evidence = (*claim.evidence(given), *beside)
    seeds = {"first": run.first_seed, "n": run.n_seeds}
    setting = described((run.experiment or ()) if at is None else at, over)
    found = Verdict(claim, evidence, tuple(caveats(evidence, run.first_seed)), seeds)
    hand_over("claims", {claim_id: {
        "kind": claim.kind, "statement": claim.statement, "rule": claim.rule, "seeds": seeds,
        "setting": setting, "evidence": [asdict(e) for e in evidence],
        "caveats": list(found.caveats)}})  # fmt: skip
    show(found)


@dataclass(frozen=True)
class Verdict:
    """A claim with its evidence; in a notebook it shows itself."""

    claim: Claim
    evidence: tuple[Evidence, ...]
    caveats: tuple[str, ...] = ()
    seeds: Mapping[str, int] | None = None

    def __str__(self) -> str:
        return ", ".join([verdict(self.claim, self.evidence), *self.caveats])

    def _repr_html_(self) -> str:
        return box(_row(self.claim, self.evidence, {"caveats": self.caveats, "seeds": self.seeds}))


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
        found = recorded.get(claim.id, {"evidence": []})
        evidence = [_from_json(e) for e in found["evidence"]]
        on_grid = (grid or {}).get(claim.id, {})
        rows.append(_row(claim, evidence, found, on_grid, (chapters or {}).get(claim.id)))
    return rows


def _row(
    claim: Claim,
    evidence: Sequence[Evidence],
    found: Mapping[str, Any],
    on_grid: Mapping[str, Any] | None = None,
    chapter: str | None = None,
) -> dict[str, Any]:
    """A claim's row; its value is that of its worst part."""
    of_grid, parts, shown = on_grid or {}, judged(evidence), worst(evidence)
    outcomes = [e.outcome for e in parts]
    seeds = found.get("seeds")
    seen = seeds is None or seeds["first"] < JUDGED_FROM
    return {
        "id": claim.id, "kind": claim.kind, "statement": claim.statement, "quote": claim.quote,
        "rule": found.get("rule", claim.rule), "changed": claim.changed if seen else "",
        "chapter": chapter, "seeds": seeds, "setting": found.get("setting"),
        "verdict": verdict(claim, evidence, of_grid.get("share")),
        "caveats": list(found.get("caveats", ())),
        "statistic": shown.what if shown else None,
        "value": _finite(shown.value) if shown else None,
        "interval": _ends(shown) if shown else None,
        "n": shown.n if shown else 0, "unit": shown.unit if shown else None,
        "share_of_grid": of_grid.get("share"), "n_of_grid": of_grid.get("n", 0),
        "fails_at": list(of_grid.get("fails", [])),
        "parts": len(parts), "parts_met": outcomes.count("holds"),
        "parts_contradicted": outcomes.count("contradicted"),
        "evidence": [_numbers(e) for e in evidence],
    }  # fmt: skip


def _numbers(part: Evidence) -> dict[str, Any]:
    """Evidence as ``claims.json`` has it."""
    low, high = _ends(part) or (None, None)
    return {
        "statistic": part.what, "value": _finite(part.value), "low": low, "high": high,
        "n": part.n, "unit": part.unit, "asked": part.asked, "threshold": part.threshold,
        "null": part.null, "chance": part.chance, "outcome": part.outcome, "text": str(part),
    }  # fmt: skip


def _ends(part: Evidence) -> list[float | None] | None:
    return list(map(_finite, part.interval)) if part.interval else None


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


def _from_json(found: Mapping[str, Any]) -> Evidence:
    """Evidence as it was handed over; JSON has no NaN."""

    def number_or_nan(value: float | None) -> float:
        return float("nan") if value is None else value

    interval = found["interval"] and tuple(map(number_or_nan, found["interval"]))
    return Evidence(**{**found, "value": number_or_nan(found["value"]), "interval": interval})


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def to_json(rows: Sequence[Mapping[str, Any]], build: Mapping[str, Any] | None = None) -> str:
    """The ledger as ``claims.json`` holds it.

    Args:
        rows: ``claims`` of the file.
        build: what is known of the build that they come from.
    """
    return json.dumps({"build": build or {}, "claims": rows}, indent=1, ensure_ascii=False) + "\n"
