"""B7, B13 to B15 and B17: what computes at p, and how one would know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from faithnb.claims.evidence import NOTHING
from faithnb.claims.own_features import HALF_THE_BATCH
from faithnb.claims.registry import claim
from faithnb.claims.rules import Above, Bound, Larger, Often
from faithnb.claims.setting import Setting, area
from faithnb.data.inputs import in_proportion, ray, sign_flips, subsets, without_one
from faithnb.experiment import Experiment
from faithnb.measures import relative_error
from faithnb.measures.circuits import ALIKE, mechanism_error
from faithnb.measures.interventions import change_error, patching_error
from faithnb.sweeps.conditions import matched as matched_by

RIGHT_JACOBIAN = Bound("<", 0.05)
"""What a Jacobian error around p must be to count as right there."""

ANOTHER = f"Another mechanism: a mechanism error at p above {ALIKE:g}."

B7 = claim(
    "B7", "empirical",
    "A right Jacobian at p is not sufficient for a right mechanism there, and to match it there is "
    "not necessary.",
    {"another mechanism, matched at p alone with a right Jacobian there": Often(),
     "the layer's mechanism, matched everywhere but at p": Often()},
    terms=f"{ANOTHER} A right Jacobian: an error around p {RIGHT_JACOBIAN}.",
)  # fmt: skip
B13 = claim(
    "B13", "empirical",
    "Smoothed matching helps the mechanism that is there: it removes a feature for p if the layer "
    "has none, and restores what a layer with one does.",
    {"another mechanism, unmatched": Often(), "the layer's mechanism, smoothed": Often()},
    terms=ANOTHER + " In the chapter, on a layer without a feature for p and on one with.",
    changed=HALF_THE_BATCH,
)  # fmt: skip
B14 = claim(
    "B14", "empirical",
    "Whether a transcoder computes differently at p shows in what its features predict for changed "
    "inputs of the training data; neither the mechanism nor p need be known.",
    {"patching error, another over the layer's mechanism": Larger()},
    terms=ANOTHER + " In the chapter, on each layer over all variants of matching, and among "
          "unmatched transcoders with half the repeats on the note's layer.",
    changed="trained with half the batch, to save time; on the layer with p, near its border, it "
            "came to meet its rule by that.",
)  # fmt: skip
B15 = claim(
    "B15", "empirical",
    "Patching predicts errors away from the data better than the error on the data does.",
    {"rank correlation, patching error minus FVU": Above(0)},
    terms="The correlation is with the error at parts of p, along its ray, with flipped signs, on "
          "dense inputs and at p with noise, each.",
    changed=HALF_THE_BATCH,
)  # fmt: skip
B17 = claim(
    "B17", "empirical",
    "To see it takes features: patching tells more than the change of the output does, and than "
    "the error on the data.",
    {"AUROC, patching minus output change": Above(0), "AUROC, patching minus FVU": Above(0)},
    terms="The label is another mechanism, for the transcoders of B14. " + ANOTHER,
    changed="it must be ahead of the error on the data, too; " + HALF_THE_BATCH,
)  # fmt: skip


def seen_at_p(base: Experiment, matched: Experiment) -> dict[str, Experiment]:
    """Unmatched, smoothed, and masked at p alone and everywhere but there."""
    mu = matched.jacobian_coefficient
    where = {k: matched_by(base, "masked", 100 * mu, matching_at=k) for k in ("points", "base")}
    return {"none": base, "smoothed": matched_by(base, "smoothed", mu)} | where


def other_mechanism(s: Setting) -> dict[str, Bool[np.ndarray, "n"]]:
    """By condition, which transcoders compute p otherwise than the layer does."""
    whole = torch.cat([s.x, subsets(s.p), s.p[None]])
    return {
        k: ~(mechanism_error(t, s.layer, s.p[None], whole) <= ALIKE).numpy()
        for k, t in s.transcoders.items()
    }


def changed(s: Setting) -> tuple[Tensor, Tensor]:
    """Inputs of the training data, and the same without one coordinate."""
    return without_one(in_proportion(s.x, s.p, s.base.repeat_frac))


def scores(s: Setting) -> dict[str, np.ndarray]:
    """What could tell them apart, of unmatched and smoothed transcoders, and which it should."""
    both, seen = ("none", "smoothed"), s.once(changed)
    found = {
        name: np.concatenate([f(s.transcoders[k], s.layer, *seen) for k in both])
        for name, f in (("patching", patching_error), ("change", change_error))
    }
    other = np.concatenate([s.once(other_mechanism)[k] for k in both])
    return found | {"FVU": s.column("fvu", both), "other": other}


@B7.on_grid(seen_at_p)
def _(s: Setting) -> dict[str, Any]:
    """Masked matching of 100 times the weight."""
    other = s.once(other_mechanism)
    right = RIGHT_JACOBIAN(s.tables["points"].jacobian_error_at_p.values)
    return dict(zip(B7.rules, (other["points"][right], ~other["base"]), strict=True))


@B13.on_grid(seen_at_p)
def _(s: Setting) -> dict[str, Any]:
    """On |x|."""
    other = s.once(other_mechanism)
    return dict(zip(B13.rules, (other["none"], ~other["smoothed"]), strict=True))


@B14.on_grid(seen_at_p)
def _(s: Setting) -> dict[str, Any]:
    """On |x|, unmatched and smoothed transcoders, whatever their seeds."""
    found = s.once(scores)
    patching, other = found["patching"], found["other"]
    if not np.isfinite(patching).all():
        return {}
    each = np.arange(len(other))
    (name,) = B14.rules
    return {name: (patching[other], patching[~other], each[other], each[~other])}


@B17.on_grid(seen_at_p)
def _(s: Setting) -> dict[str, Any]:
    """On |x|, unmatched and smoothed."""
    found = s.once(scores)
    patching, change, fvu = (area(found[k], found["other"]) for k in ("patching", "change", "FVU"))
    return dict(zip(B17.rules, (patching - change, patching - fvu), strict=True))


@B15.on_grid(seen_at_p)
def _(s: Setting) -> dict[str, Any]:
    """On |x|, over four conditions."""
    away = {"parts": subsets(s.p), "ray": ray(s.p), "signs": sign_flips(s.p)}
    rows = [
        {k: relative_error(t, s.layer, at).numpy() for k, at in away.items()}
        | {k: s.tables[name][k].values for k in ("fvu", "dense_fvu", "near_point_fvu")}
        | {"patching": patching_error(t, s.layer, *s.once(changed))}
        for name, t in s.transcoders.items()
    ]
    ranks = pd.concat(map(pd.DataFrame, rows)).corr(method="spearman")
    gap = ranks.loc["patching"] - ranks.loc["fvu"]
    errors = (*away, "dense_fvu", "near_point_fvu")
    (name,) = B15.rules
    return {name: {k: float(gap[k]) if np.isfinite(gap[k]) else NOTHING for k in errors}}
