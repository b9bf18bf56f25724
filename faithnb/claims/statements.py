"""The ledger: what the note claims, by which rule each claim is judged, and what came out.

A chapter measures, says which :class:`Evidence` that gives, and calls :func:`record`. The verdict
follows from the evidence by the claim's rule; nobody types one in.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from faithnb.claims.rules import Evidence, number
from faithnb.notebook import JUDGED_FROM, Run, hand_over, read_records, show

Kind = Literal["empirical", "identity", "definition", "calibration", "argument", "opinion"]
"""Only empirical claims are counted in a headline. An *identity* or *definition* holds to a
tolerance; a *calibration* says how a setting was meant; an *argument* or *opinion* cannot be
judged by an experiment, but what can be measured about it is shown."""

ENOUGH = 5
"""Seeds below which a verdict carries the words "too few seeds"."""

NOT_MEASURED, NOT_TESTABLE = "not measured", "not testable as stated"
VERDICTS = ("reproduced", "partly", "not reproduced", NOT_TESTABLE, NOT_MEASURED)


@dataclass(frozen=True)
class Claim:
    """One claim of the note (C1, …) in our words, or one of this book's own (B1, …), with the rule
    that judges it."""

    id: str
    kind: Kind
    statement: str
    rule: str


CLAIMS: Mapping[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim("C1", "empirical",
              "Low error on the data and features that each mean one thing do not make the "
              "mechanism the same.",
              "Pairs of a generalising and a memorising transcoder of about the same error: the "
              "memorising one has the larger Jacobian error at p, and the larger error where one "
              "of p's ones is missing (δ ≥ 0.8 each)."),
        Claim("C2", "identity", "abs(x) is ReLU(x) + ReLU(−x).",
              "Largest difference on random inputs at most 1e-7."),
        Claim("C3", "empirical", "Transcoders find these circuits easily, by default.",
              "Circuit match of at least 0.95 in at least 90 % of seeds; median residual below "
              "0.1."),
        Claim("C4", "empirical",
              "Plain L1 learns duplicates with spare features and is messier than tanh L1.",
              "More features a circuit at matched error (δ ≥ 0.8), and a larger residual (δ ≥ "
              "0.8)."),
        Claim("C5", "definition", "Inputs are uniform on (−1, 1) with probability density, else 0.",
              "Rate and variance within 4 standard errors."),
        Claim("C6", "definition", "The input is p a fraction repeat_frac of the time.",
              "Rate within 4 standard errors."),
        Claim("C7", "empirical", "Repetition induces a feature y += p · ReLU(λ p · x − b).",
              "A feature that reads and writes along p (cosines > 0.9), contributes there and is "
              "silent on 95 % of base data: difference over seeds at least 0.3 at twice the "
              "note's repetition; none without repeats."),
        Claim("C8", "argument",
              "Such a feature is unfaithful because the layer has no notion of p.",
              "Not judged. Shown: on a layer that has one, what the same training and the remedy "
              "do to the Jacobian at p."),
        Claim("C9", "empirical",
              "A repeated point is necessary; more repetition makes memorising likelier.",
              "Slope on log r above 0; nothing memorised at r = 0; and nothing memorised where "
              "coordinates of p are active together but no point repeats (rays, magnitudes, "
              "jitter)."),
        Claim("C10", "empirical", "Sparsity regularisation is necessary.",
              "Slope on log λ above 0; nothing memorised at λ = 0, neither by state nor by a "
              "memorization of 60 % of a full feature's."),
        Claim("C11", "empirical", "It is the product of the two that decides.",
              "Ratio of the two slopes inside [0.67, 1.5], over the whole scan, at a second "
              "density, over cells whose transcoders without repeats fit (FVU < 0.05), and "
              "trained four times as long."),
        Claim("C12", "empirical", "The memorization metric detects datapoint features.",
              "Hand-made transcoders have the values of the formula; AUROC above 0.95 against "
              "labels by cosines."),
        Claim("C13", "empirical",
              "Without repeats the features are almost exactly ReLU(±x_i), with a small residual.",
              "Circuit match of at least 0.95 in at least 90 % of seeds; median residual below "
              "0.1 in every seed."),
        Claim("C14", "calibration",
              "At 5 % repeats a datapoint feature appears, and memorisation is marginal.",
              "The rate of memorising seeds is neither 0 nor 1: its interval excludes both."),
        Claim("C15", "empirical",
              "The three single features persist beside it, rotated so that they are off at p.",
              "In at least 90 % of transcoders in state datapoint, at twice the note's repetition, "
              "each coordinate of p has a feature of its own; and in at least 90 % those there are "
              "are off at p (contribute at most 0.01)."),
        Claim("C16", "empirical",
              "The Jacobian at p is diagonal without repeats and not so with them.",
              "Off-diagonal share of the squared norm, averaged over a small ball, all runs: "
              "larger with repeats (δ ≥ 0.8), below 0.05 without; and above 0.1 at p itself with "
              "twice the note's repetition."),
        Claim("C17", "argument",
              "The Jacobian, as a function of the input, is a canonical form of the weights.",
              "Not judged. Shown: it does not change when features are permuted or rescaled; but "
              "two mechanisms can share it."),
        Claim("C18", "identity", "K E_v‖(J₁ − J₂)v‖² = ‖J₁ − J₂‖_F².",
              "Monte Carlo means within 4 standard errors, for Rademacher, Gaussian and spherical "
              "probes."),
        Claim("C19", "empirical",
              "Adding it to the loss lowers memorisation dramatically.",
              "Rates over seeds of those that memorise or fail the task (FVU ≥ 0.1), at 5 % "
              "repeats (μ = .03) and 10 % (μ = .095): difference at least 0.3 with an interval "
              "that excludes 0, matched upper bound at most half the unmatched rate; and over the "
              "whole scan, fewer with than without, seed by seed."),
        Claim("C20", "empirical", "In the note's example it removes the datapoint feature.",
              "At least 90 % generalising with matching; base error and L0 within 10 % of the arm "
              "without repeats."),
        Claim("C21", "empirical",
              "What is left: the features of p's coordinates stay a bit rotated.",
              "Rotation minus that of the same seed without repeats above 0 (95 % interval of the "
              "mean), and its mean below half that of the memorising transcoders."),
        Claim("C22", "empirical",
              "A transcoder can cheat: features with large weights and very negative biases give "
              "large gradients while they hardly contribute.",
              "Masking index on base data larger with matching than without, under L1, among those "
              "that do the task (FVU < 0.1), over all and at overlapping error (δ ≥ 0.8 each)."),
        Claim("C23", "empirical", "tanh L1 reduces the cheat.",
              "Masking index with matching smaller under tanh than under L1 at overlapping error "
              "(δ ≥ 0.8)."),
        Claim("C24", "argument",
              "Penalising what features contribute to the Jacobian would push back.",
              "Not judged, a suggestion. Shown: the masking index with and without it; and that "
              "what it does alone."),
        Claim("C25", "empirical",
              "Under superposition the Jacobian has a tail that is an artefact and not worth "
              "matching.",
              "A trained layer in superposition: with one active feature the second singular value "
              "is at most half the first; and matching the active part alone leaves a simpler "
              "transcoder at overlapping error than matching the whole (δ ≥ 0.8 in L0)."),
        Claim("C26", "opinion", "Faithfulness and simplicity are separable concerns.",
              "Not judged. Shown: the rank correlation of the two over all runs of the book."),
        Claim("C27", "argument",
              "Replacing one step at a time bounds how far mechanisms can diverge.",
              "Not judged. Shown: how far two layers in sequence part when each is replaced."),
        Claim("C28", "empirical",
              "The exact Jacobian objective is extremely expensive, the sampled one cheap.",
              "Cost of a training step against one without matching, by automatic "
              "differentiation: exact at least 3 times, sampled at most 2 times."),
        Claim("B1", "empirical",
              "No input has to repeat: coordinates that act together, in strengths that vary up to "
              "twofold, get a feature of their own, and the same coordinates one at a time do not.",
              "Memorization of at least 60 % of a full feature's, on a ray and with independent "
              "magnitudes, minus the same seeds one at a time: difference at least 0.3 with an "
              "interval that excludes 0, each; one at a time never."),
        Claim("B2", "empirical",
              "What forms is absorption: where the pattern acts, the coordinates' own features "
              "are mostly silent.",
              "Of the transcoders with a pattern feature at least 90 % have an absorption above "
              "one half; of those whose coordinates act one at a time at least 90 % below 0.1."),
        Claim("B3", "empirical",
              "The more the strengths vary, the rarer it gets.",
              "Slope of the log odds of a pattern feature on the spread of its magnitudes, next "
              "to log r, below 0 with its whole interval."),
        Claim("B4", "empirical",
              "Matching Jacobians removes such a feature, too.",
              "Rates of those with a pattern feature or that fail the task (FVU ≥ 0.1), on a ray "
              "and with independent magnitudes: difference at least 0.3 with an interval that "
              "excludes 0, matched upper bound at most half the unmatched rate."),
        Claim("B5", "empirical",
              "Plain matching, with 0 read where the layer has no derivative, harms transcoders "
              "that had nothing to cure; left out or read beside the data it does not.",
              "Without repeats, FVU relative to the same seed unmatched: with plain matching at "
              "least ten times in 90 % of seeds; with masked and with smoothed matching at most "
              "twice in 90 %."),
        Claim("B6", "empirical",
              "The objective does not want the harm: training for it does not find, and even "
              "leaves, what has less of that very loss.",
              "Scored under plain matching on fresh data, transcoders trained without matching "
              "have less loss than those trained for it, and those trained for it from the layer's "
              "own mechanism more than they started with, in at least 90 % of seeds each."),
        Claim("B7", "empirical",
              "A right Jacobian at p is not sufficient for a right mechanism there, and to match "
              "it there is not necessary.",
              "Matched at p alone, at least 90 % of those with a Jacobian error around p below "
              "0.05 have a mechanism error there above 0.1; matched everywhere but there, at least "
              "90 % have not."),
        Claim("B8", "empirical",
              "Matching is more than an augmentation with noise.",
              "Of failures, by a feature for p or by losing the task, the error at noisy inputs, "
              "with the penalty in proportion and at the better of two scales, leaves at least 0.3 "
              "more than smoothed matching, with an interval that excludes 0."),
        Claim("B9", "empirical",
              "It takes no kink to harm but a direction that is the gradient of no loss: a smooth "
              "layer is harmed by forms that hold or feign the slope of gates, not by others.",
              "FVU relative to the same seed unmatched, without repeats: plain, smoothed and "
              "straight-through matching at least ten times, finite differences and sigmoid gates "
              "at most twice; straight-through on the kinked layer at least ten times; each in "
              "90 % of seeds."),
        Claim("B10", "empirical",
              "Where memorising pays follows from the loss: one number for each density and "
              "penalty, computed without training and without a fitted constant.",
              "Of the transcoders that start with p memorised at least 90 % keep it (memorization "
              "of at least 60 % of a full feature's) at 1.5 times that repeat fraction, and at "
              "least 90 % give it up at 0.67 times, at the headline density and penalty; and so "
              "at 1.2 to 3 times, and up to 0.8 times, over densities up to 0.1 and a tenfold "
              "range of penalties."),
        Claim("B11", "empirical",
              "Between that line and the one that training from random starts shows, both "
              "solutions survive.",
              "At 1.5 times the equilibrium, headline density and penalty: share that memorise "
              "from a memorising start minus that from a random one at least 0.3, with an interval "
              "that excludes 0; none from the layer's own circuits."),
        Claim("B12", "empirical",
              "The weight of matching that undoes memorising is λΔφ/2.",
              "At three times the equilibrium, over a tenfold range of penalties: of the "
              "transcoders that start with p memorised none keep it with twice that weight, and at "
              "least 90 % with half of it."),
        Claim("B13", "empirical",
              "Smoothed matching helps the mechanism that is there: it removes a feature for p if "
              "the layer has none, and restores what a layer with one does.",
              "Mechanism error at p above 0.1 unmatched, and at most 0.1 with smoothed matching, "
              "in at least 90 % of seeds on each layer."),
        Claim("B14", "empirical",
              "Whether a transcoder computes differently at p shows in what its features predict "
              "for changed inputs of the training data; neither the mechanism nor p need be known.",
              "Patching error of transcoders with a mechanism error at p above 0.1 over that of "
              "the rest, on each layer over all forms of matching, and among unmatched ones with "
              "half the repeats on the note's layer: Cliff's δ at least 0.8 with an interval that "
              "excludes 0, each."),
        Claim("B15", "empirical",
              "Patching predicts errors away from the data better than the error on the data does.",
              "Rank correlation with the error at parts of p, along its ray, with flipped signs, "
              "on dense inputs and at p with noise: larger for the patching error than for FVU on "
              "base data, each with its whole interval."),
        Claim("B16", "empirical",
              "Where smoothed matching undoes a datapoint feature, finite differences and sigmoid "
              "gates of the same weight do not.",
              "From a memorising start, rates of those that fail, by a feature for p or by losing "
              "the task: with finite differences, and with sigmoid gates, minus smoothed matching, "
              "difference at least 0.3 with an interval that excludes 0, each."),
        Claim("B17", "empirical",
              "To see it takes features: patching tells more than the change of the output does, "
              "and than the error on the data.",
              "AUROC of the patching error minus that of the output's change, and minus that of "
              "the FVU, for the same transcoders as B14: above 0 with its whole interval, each."),
        Claim("B18", "empirical",
              "How it harms can be watched: gates open where coordinates are 0, slopes shrink, and "
              "an error that had fallen grows again.",
              "Without repeats, in at least 90 % of seeds each: with plain matching more features "
              "are on at x = 0 than in the same seed without; slopes at ½ are at most 0.8; and the "
              "FVU at the end is at least 1.1 times the least on the way."),
        Claim("B19", "empirical",
              "On the kinked layer the cure by smoothed matching lasts; finite differences and "
              "sigmoid gates of the same weight only delay.",
              "Trained four times as long, rates of those that fail: unmatched minus smoothed at "
              "least 0.3 with an interval that excludes 0, smoothed upper bound at most half the "
              "unmatched rate; finite differences, and sigmoid gates, minus smoothed at least 0.3 "
              "with an interval that excludes 0, each."),
        Claim("B20", "empirical",
              "On layers without a kink finite differences cure, for long, where plain and "
              "smoothed matching lose the task.",
              "With repeats, on a smooth layer and on a trained network: rates of those that fail "
              "with finite differences, also after four times the steps on the first, cured as in "
              "B19; with plain and with smoothed matching FVU of at least 0.1 in 90 % of seeds."),
        Claim("B21", "empirical",
              "One form does on both kinds of layer: finite differences with three times the "
              "weight cure for long, and cost no error where there is nothing to cure.",
              "On |x| and on the smooth layer: with repeats and four times the steps, rates of "
              "those that fail, cured as in B19; without repeats, FVU at most twice that of the "
              "same seed unmatched in 90 % of seeds."),
    )
}  # fmt: skip
"""Every claim of the ledger, by id: the note's (C) in its order, then this book's own (B)."""


def verdict(claim: Claim, evidence: Sequence[Evidence]) -> str:
    """What the evidence says: all of it, some of it, or none meets the claim's rule.

    Where a part of the rule could not be measured, a claim is reproduced in part at best.
    """
    if not evidence:
        return NOT_MEASURED
    if claim.kind in ("argument", "opinion"):
        return NOT_TESTABLE
    outcomes = [e.outcome for e in evidence if e.outcome != "shown"]
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
    judged = [e for e in evidence if e.outcome not in ("shown", "missing") and e.interval]
    found = ["too few seeds"] if any(e.n < ENOUGH for e in judged) else []
    if any(e.outcome == "missing" for e in evidence):
        found.append("a part could not be measured")
    return found + (["seeds that chose settings or rules"] if first_seed < JUDGED_FROM else [])


def record(run: Run, claim_id: str, *evidence: Evidence) -> None:
    """Judge a claim, show the verdict where it is measured, and hand it over to the ledger.

    Raises:
        ValueError: if there is no such claim, or no evidence.
    """
    if claim_id not in CLAIMS:
        raise ValueError(f"there is no claim {claim_id!r}; there are {', '.join(CLAIMS)}.")
    if not evidence:
        raise ValueError(f"{claim_id} needs evidence.")
    claim = CLAIMS[claim_id]
    found = Verdict(claim, evidence, tuple(caveats(evidence, run.first_seed)))
    hand_over("claims", {claim_id: {
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


def ledger(
    recorded: Mapping[str, Mapping[str, Any]],
    chapters: Mapping[str, str] | None = None,
    grid: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """A row for every claim, as ``claims.json`` has them.

    Args:
        recorded: what :func:`record` handed over, by claim.
        chapters: where each claim was recorded.
        grid: by claim, the share of the pre-declared grid of settings where it holds, ``share``,
            of how many with something to judge, ``n``, and where it does not, ``fails``.
    """
    rows = []
    for claim in CLAIMS.values():
        found = recorded.get(claim.id, {"evidence": [], "caveats": []})
        evidence = [_from_json(e) for e in found["evidence"]]
        first = next((e for e in evidence if e.outcome != "shown"), next(iter(evidence), None))
        rows.append({
            "id": claim.id, "kind": claim.kind, "statement": claim.statement, "rule": claim.rule,
            "chapter": (chapters or {}).get(claim.id),
            "verdict": verdict(claim, evidence), "caveats": list(found["caveats"]),
            "statistic": first.what if first else None,
            "value": _finite(first.value) if first else None,
            "interval": list(map(_finite, first.interval)) if first and first.interval else None,
            "n": first.n if first else 0,
            "share_of_grid": (grid or {}).get(claim.id, {}).get("share"),
            "n_of_grid": (grid or {}).get(claim.id, {}).get("n", 0),
            "fails_at": list((grid or {}).get(claim.id, {}).get("fails", [])),
            "parts": len(judged := [e for e in evidence if e.outcome != "shown"]),
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
    return ledger(recorded, chapters, grid)


def headline(rows: Iterable[Mapping[str, Any]], whose: str = "C") -> dict[str, int]:
    """How many empirical claims there are, and how many have each verdict.

    Args:
        rows: of the ledger.
        whose: "C" counts the note's claims, "B" this book's own.
    """
    empirical = [r for r in rows if r["kind"] == "empirical" and r["id"].startswith(whose)]
    return {"empirical": len(empirical)} | {
        v: sum(row["verdict"] == v for row in empirical) for v in VERDICTS
    }


def of_grid(row: Mapping[str, Any]) -> str:
    """In how many of how many settings the core of a row's claim holds."""
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
        elsewhere = f"<p>Its core does not hold at: {fails}.</p>" if fails else ""
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
