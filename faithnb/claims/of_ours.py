"""The cores of this book's own claims at one setting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from faithnb.claims.grid import (
    NO_PART,
    NOTHING,
    Arms,
    Held,
    Judge,
    all_of,
    area,
    at_least,
    fallen,
    induced,
    most,
)
from faithnb.claims.rules import CLEAR
from faithnb.data.inputs import in_proportion, ray, sign_flips, subsets, without_one
from faithnb.data.rng import Stream
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.data.variations import vary
from faithnb.experiment import Experiment
from faithnb.measures import (
    DATAPOINT,
    TASK_LOST,
    absorption,
    fails,
    memorization_share,
    relative_error,
    writes_pattern,
)
from faithnb.measures.circuits import ALIKE, mechanism_error
from faithnb.measures.interventions import change_error, patching_error
from faithnb.measures.stats import logit_slopes
from faithnb.model.transcoder import Transcoder
from faithnb.sweeps.conditions import fair_noise, matched
from faithnb.training.cross_loss import score
from faithnb.training.theory import equilibrium, matching_threshold
from faithnb.training.watch import open_at_zero, slope

Weights = Mapping[Any, Transcoder]
Tables = Mapping[Any, xr.Dataset]

WHAT = {
    "B1": "on a ray: pattern features minus those one at a time ≥ 0.3, one at a time never",
    "B2": "absorption > ½ in 90 % of those with a pattern feature on a ray, < 0.1 in 90 % of those "
          "one at a time",
    "B3": "magnitudes over three spreads and three r: slope on the spread below 0",
    "B4": "on a ray, smoothed: failures fall by ≥ 0.3 and at least halve",
    "B5": "no repeats: FVU at least 10 times with plain matching, at most twice with masked and "
          "with smoothed, in 90 % each",
    "B6": "no repeats: those trained without matching have less of plain matching's loss in 90 %; "
          "not from the layer's mechanism",
    "B7": "masked, 100 μ: another mechanism at p in 90 % of those right there that are matched at "
          "p alone, the layer's in 90 % of those matched everywhere else",
    "B8": "noise at the better of two scales leaves ≥ 0.3 more failures than smoothed matching",
    "B9": "smooth |x|, no repeats: plain, smoothed and straight-through at least 10 times the FVU, "
          "finite at most twice, in 90 % each",
    "B10": "from memorised starts: kept in 90 % at 1.5 times the equilibrium, given up in 90 % at "
           "0.67 times",
    "B11": "at 1.5 times it: memorised starts minus random ones ≥ 0.3",
    "B12": "at 3 times it: kept in 90 % with half of λΔφ/2, never with twice",
    "B13": "|x|: mechanism error > 0.1 in 90 % unmatched, ≤ 0.1 in 90 % smoothed",
    "B14": "|x|, unmatched and smoothed: AUROC of the patching error ≥ 0.9 (a δ of 0.8)",
    "B15": "|x|, four arms: rank correlation with each of the five errors larger than FVU's",
    "B16": "from memorised starts, where smoothed undoes ≥ 0.3: finite leaves ≥ 0.3 more",
    "B17": "|x|, unmatched and smoothed: AUROC of the patching error above those of the output's "
           "change and of FVU",
    "B18": "no repeats: more features on at x = 0 than unmatched, and slopes ≤ 0.8, in 90 %",
    "B19": "four times the steps: smoothed cures; finite and sigmoid gates leave ≥ 0.3 more",
    "B20": "smooth |x|, not for long: finite cures, plain and smoothed lose the task in 90 %",
    "B21": "|x| and smooth |x|, not for long: finite with 3 μ cures, and without repeats costs at "
           "most twice the FVU in 90 %",
}  # fmt: skip
"""What is judged of each claim."""


def failing(tables: Tables) -> dict[Any, np.ndarray]:
    """By arm, which have a pattern feature or fail the task."""
    return {k: fails(m).values for k, m in tables.items()}


def of_patterns(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B1, B2 and B4: coordinates that act together, on a ray or one at a time."""
    p = pad_points(base.points, base.d_in)[0]
    on_ray = replace(base, point_variation="ray", variation_scale=0.5)
    points = tuple((0.0,) * int(j) + (float(p[j]),) for j in p.nonzero())
    single = replace(
        base, points=points, repeat_frac=min(1.0, len(points) * base.repeat_frac),
        point_variation="independent", variation_scale=0.5,
    )  # fmt: skip
    x = vary(p[None].expand(1024, -1), "independent", 0.5, Stream([0], "evaluation"), 0)[0]

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        has = {k: (memorization_share(t[k], p) >= DATAPOINT).numpy() for k in ("ray", "single")}
        gone = {k: absorption(t[k], p, x).numpy() for k in ("ray", "single")}
        absorbed = most(gone["ray"][has["ray"]] > 0.5)
        return {
            "B1": induced(has["ray"], has["single"]),
            "B2": all_of(absorbed, most(gone["single"] < 0.1)),
            "B4": fallen(*(failing(m)[k] for k in ("ray", "cured"))),
        }

    cured = matched(on_ray, "smoothed", cure.jacobian_coefficient)
    return {"ray": on_ray, "single": single, "cured": cured}, judge


def of_spread(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B3: magnitudes that vary more or less."""
    cells = list(product((0.0, 0.5, 1.0), (0.5, 1.0, 2.0)))
    free = replace(base, point_variation="independent")

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        hit = np.array([writes_pattern(m[cell]).values for cell in cells])
        predictors = np.array([(spread, np.log(c)) for spread, c in cells])
        on_spread = logit_slopes(hit, predictors)[1]
        return {"B3": bool(on_spread < 0) if np.isfinite(on_spread) else NOTHING}

    return {
        (spread, c): replace(free, variation_scale=spread, repeat_frac=c * base.repeat_frac)
        for spread, c in cells
    }, judge


def of_harm(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B5, B6, B9 and B18: what matching does where nothing repeats."""
    clean, mu = replace(base, repeat_frac=0.0), cure.jacobian_coefficient
    smooth = replace(clean, target="smooth_abs")
    arms = {"none": clean, "smooth": smooth}
    arms |= {k: matched(clean, k, mu) for k in ("plain", "masked", "smoothed")}
    of_B9 = ("plain", "smoothed", "straight-through", "finite")
    arms |= {f"smooth, {k}": matched(smooth, k, mu) for k in of_B9}

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        def times(arm: str) -> np.ndarray:
            of = "smooth" if arm.startswith("smooth,") else "none"
            return m[arm].fvu.values / m[of].fvu.values

        plain, none = t["plain"], t["none"]
        less = score(none, arms["plain"]) < score(plain, arms["plain"])
        opened = (open_at_zero(plain) > open_at_zero(none)) & (slope(plain) <= 0.8)
        harmless = all_of(*(most(times(k) <= 2) for k in ("masked", "smoothed")))
        return {
            "B5": all_of(most(times("plain") >= 10), harmless),
            "B6": most(less.numpy()),
            "B9": all_of(*(most(times(f"smooth, {k}") >= 10) for k in of_B9[:3]),
                         most(times("smooth, finite") <= 2)),
            "B18": most(opened.numpy()),
        }  # fmt: skip

    return arms, judge


def seen_at_p(base: Experiment, mu: float) -> dict[str, Experiment]:
    """Unmatched, smoothed, and masked at p alone and everywhere but there."""
    where = {k: matched(base, "masked", 100 * mu, matching_at=k) for k in ("points", "base")}
    return {"none": base, "smoothed": matched(base, "smoothed", mu)} | where


def of_mechanism(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B7, B13, B14 and B17: what computes at p, and how one would know."""
    p, layer = pad_points(base.points, base.d_in)[0], base.make_target()
    x = evaluation_sample(base.d_in, base.density)
    whole = torch.cat([x, subsets(p), p[None]])
    seen = without_one(in_proportion(x, p, base.repeat_frac))

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        other = {
            k: ~(mechanism_error(v, layer, p[None], whole) <= ALIKE).numpy() for k, v in t.items()
        }
        two = ("none", "smoothed")
        labels = np.concatenate([other[k] for k in two])
        scores = [[f(t[k], layer, *seen) for k in two] for f in (patching_error, change_error)]
        scores.append([m[k].fvu.values for k in two])
        patching, change, fvu = (area(np.concatenate(v), labels) for v in scores)
        right = m["points"].jacobian_error_at_p.values < 0.05
        ahead = NOTHING if np.isnan(patching) else bool(patching > max(change, fvu))
        return {
            "B7": all_of(most(other["points"][right]), most(~other["base"])),
            "B13": all_of(most(other["none"]), most(~other["smoothed"])),
            "B14": at_least(patching, 0.9),
            "B17": ahead,
        }

    return seen_at_p(base, cure.jacobian_coefficient), judge


def of_shift(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B15: what goes with errors away from the data, over the same transcoders."""
    p, layer = pad_points(base.points, base.d_in)[0], base.make_target()
    x = evaluation_sample(base.d_in, base.density)
    seen = without_one(in_proportion(x, p, base.repeat_frac))
    away = {"parts": subsets(p), "ray": ray(p), "signs": sign_flips(p)}

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        rows = [
            {k: relative_error(t[arm], layer, at).numpy() for k, at in away.items()}
            | {k: m[arm][k].values for k in ("fvu", "dense_fvu", "near_point_fvu")}
            | {"patching": patching_error(t[arm], layer, *seen)}
            for arm in t
        ]
        ranks = pd.concat(map(pd.DataFrame, rows)).corr(method="spearman")
        gap = (ranks.loc["patching"] - ranks.loc["fvu"])[[*away, "dense_fvu", "near_point_fvu"]]
        return {"B15": all_of(*(bool(g > 0) if np.isfinite(g) else NOTHING for g in gap))}

    return seen_at_p(base, cure.jacobian_coefficient), judge


def has_room(base: Experiment) -> bool:
    """Whether solutions can be laid out by hand: a feature for each circuit, and some for p."""
    return base.d_sae > 2 * base.d_in


def of_starts(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B16: what starts memorised and is matched."""
    if not has_room(base):
        return NO_PART

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        left = {k: v.mean() for k, v in failing(m).items()}
        undone = left["smoothed"] <= 1 - CLEAR
        return {"B16": bool(left["finite"] - left["smoothed"] >= CLEAR) if undone else NOTHING}

    stuck = replace(base, init="memorising")
    forms = ("smoothed", "finite")
    return {k: matched(stuck, k, cure.jacobian_coefficient) for k in forms}, judge


def of_theory(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B10 to B12: near the line that theory draws for three ones, if that leaves base data."""
    line = equilibrium(base.density, base.sparsity_coefficient, base.tanh_scale)
    of_note = sorted(v for v in base.points[0] if v) == [1, 1, 1]
    if not (has_room(base) and of_note and 3 * line < 0.8):
        return NO_PART

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        has = {k: writes_pattern(v).values for k, v in m.items()}
        return {
            "B10": all_of(most(has["r × 1.5"]), most(~has["r × 0.67"])),
            "B11": bool(has["r × 1.5"].mean() - has["random"].mean() >= CLEAR),
            "B12": all_of(most(has["μ × 0.5"]), not has["μ × 2"].any()),
        }

    weight = matching_threshold(base.sparsity_coefficient, base.tanh_scale)
    stuck = replace(base, init="memorising")
    arms = {f"r × {k}": replace(stuck, repeat_frac=k * line) for k in (0.67, 1.5)}
    arms["random"] = replace(arms["r × 1.5"], init="random")
    many = replace(stuck, repeat_frac=3 * line)
    return arms | {f"μ × {k}": matched(many, "smoothed", k * weight) for k in (0.5, 2)}, judge


def of_cures(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B8, B19 and B20: noise instead of matching, long training, a layer without a kink."""
    mu = cure.jacobian_coefficient
    long, smooth = replace(base, steps=4 * base.steps), replace(base, target="smooth_abs")
    arms = {"none": base, "smoothed": matched(base, "smoothed", mu), "long": long, "S": smooth}
    arms |= {f"noise {s:g}": fair_noise(base, mu, s) for s in (0.1, 0.3)}
    arms |= {f"long {k}": matched(long, k, mu) for k in ("smoothed", "finite", "sigmoid gate")}
    arms |= {f"S {k}": matched(smooth, k, mu) for k in ("plain", "smoothed", "finite")}

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        failed = failing(m)
        rate = {k: v.mean() for k, v in failed.items()}
        noise = min(rate["noise 0.1"], rate["noise 0.3"]) - rate["smoothed"]
        late = min(rate["long finite"], rate["long sigmoid gate"]) - rate["long smoothed"]
        lost = [most(m[f"S {k}"].fvu.values >= TASK_LOST) for k in ("plain", "smoothed")]
        return {
            "B8": bool(noise >= CLEAR) if rate["none"] >= CLEAR else NOTHING,
            "B19": all_of(fallen(failed["long"], failed["long smoothed"]), bool(late >= CLEAR))
                   if rate["long"] >= CLEAR else NOTHING,
            "B20": all_of(fallen(failed["S"], failed["S finite"]), *lost),
        }  # fmt: skip

    return arms, judge


def of_both(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """B21: finite differences of three times the weight, on both layers."""
    arms = {layer: replace(base, target=layer) for layer in ("abs", "smooth_abs")}
    clean = {f"{k}, clean": replace(arm, repeat_frac=0.0) for k, arm in arms.items()}
    every, mu = arms | clean, cure.jacobian_coefficient

    def judge(t: Weights, m: Tables) -> dict[str, Held]:
        failed = failing(m)
        cures = [fallen(failed[k], failed[f"{k}, 3 μ"]) for k in arms]
        free = [most(m[f"{k}, 3 μ"].fvu.values <= 2 * m[k].fvu.values) for k in clean]
        return {"B21": all_of(*cures, *free)}

    return every | {f"{k}, 3 μ": matched(arm, "finite", 3 * mu) for k, arm in every.items()}, judge


PARTS = (
    of_patterns, of_spread, of_harm, of_mechanism, of_shift, of_starts, of_theory, of_cures,
    of_both,
)  # fmt: skip
"""All of them."""
