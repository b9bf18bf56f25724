"""B5, B6, B8, B9, B16 and B18 to B21: what variants of matching remove and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from faithnb.claims.own_features import has_room
from faithnb.claims.registry import claim
from faithnb.claims.rules import CLEAR, Bound, Induced, Often, Removed
from faithnb.claims.setting import Setting
from faithnb.experiment import Experiment
from faithnb.measures import TASK_LOST
from faithnb.sweeps.conditions import fair_noise
from faithnb.sweeps.conditions import matched as matched_by
from faithnb.training.cross_loss import score
from faithnb.training.watch import open_at_zero, slope

MUCH_WORSE, NO_WORSE = Often(Bound("≥", 10)), Often(Bound("≤", 2))
"""FVU relative to the same seed without matching."""

RELATIVE = "The FVU is relative to that of the same seed without matching, and nothing repeats."
FAILING = f"Failing: with a pattern feature or an FVU of at least {TASK_LOST:g}."

B5 = claim(
    "B5", "empirical",
    "Plain matching, with 0 read where the layer has no derivative, increases the FVU of "
    "transcoders that have no feature to remove; masked and smoothed matching do not.",
    {"FVU, plain": MUCH_WORSE, "FVU, masked": NO_WORSE, "FVU, smoothed": NO_WORSE},
    terms=RELATIVE,
)  # fmt: skip
B6 = claim(
    "B6", "empirical",
    "The increase does not lower the objective: training for it does not find, and even leaves, "
    "weights with less of that very loss.",
    {"less of plain matching's loss without matching than trained for it": Often()},
    chapter={"more of it than at the layer's own circuits, where training began": Often()},
    terms="Losses are those of fresh data, without repeats.",
)  # fmt: skip
B9 = claim(
    "B9", "empirical",
    "The increase takes no kink but a direction that is the gradient of no loss: on a smooth layer "
    "variants that fix or replace the slope of gates increase the FVU, others do not.",
    {"FVU, gates fixed or replaced": MUCH_WORSE, "FVU, others": NO_WORSE},
    chapter={"FVU, straight-through on |x|": MUCH_WORSE},
    terms=RELATIVE + " Gates are fixed or replaced by plain, smoothed and straight-through "
          "matching; the others are finite differences and, in the chapter, sigmoid gates.",
)  # fmt: skip
B18 = claim(
    "B18", "empirical",
    "The increase has a course: gates open where coordinates are 0, slopes shrink, and an error "
    "that had fallen grows again.",
    {"more features on at x = 0 than without matching": Often(),
     "slope at ½": Often(Bound("≤", 0.8))},
    chapter={"FVU at the end over the least on the way": Often(Bound("≥", 1.1))},
    terms="Plain matching, without repeats, against the same seed without matching.",
)  # fmt: skip

GATES = ("plain", "smoothed", "straight_through")


def no_repeats(base: Experiment, matched: Experiment) -> dict[str, Experiment]:
    """Variants of matching without repeats, on the layer and on a smooth one."""
    clean, mu = replace(base, repeat_frac=0.0), matched.jacobian_coefficient
    smooth = replace(clean, target="smooth_abs")
    found = {"none": clean, "smooth": smooth}
    found |= {k: matched_by(clean, k, mu) for k in ("plain", "masked", "smoothed")}
    return found | {f"smooth, {k}": matched_by(smooth, k, mu) for k in (*GATES, "finite")}


@B5.on_grid(no_repeats)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats."""
    return {f"FVU, {k}": s.relative_fvu(k, "none") for k in ("plain", "masked", "smoothed")}


@B6.on_grid(no_repeats)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats."""
    (name,) = B6.rules
    none, plain = (score(s.transcoders[k], s.conditions["plain"]) for k in ("none", "plain"))
    return {name: (none < plain).numpy()}


@B9.on_grid(no_repeats)
def _(s: Setting) -> dict[str, Any]:
    """Smooth |x|, no repeats; of the others finite differences."""
    gates = {k: s.relative_fvu(f"smooth, {k}", "smooth") for k in GATES}
    return {"FVU, gates fixed or replaced": gates,
            "FVU, others": s.relative_fvu("smooth, finite", "smooth")}  # fmt: skip


@B18.on_grid(no_repeats)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats."""
    plain, none = (s.transcoders[k] for k in ("plain", "none"))
    return {
        "more features on at x = 0 than without matching": (
            open_at_zero(plain) > open_at_zero(none)
        ).numpy(),
        "slope at ½": slope(plain).numpy(),
    }


B8 = claim(
    "B8", "empirical", "Matching is more than an augmentation with noise.",
    {"failing, noise at its better scale over smoothed matching": Induced()},
    terms=FAILING + " The noise is on the inputs, with the penalty in proportion.",
    changed="that smoothed matching removes the feature, a condition and not the claim, no longer "
            "counts for it.",
)  # fmt: skip
B16 = claim(
    "B16", "empirical",
    "Where smoothed matching removes a datapoint feature, finite differences and sigmoid gates of "
    "the same weight do not.",
    {"failing, others over smoothed": Induced()},
    terms="Transcoders start with p memorized; the others are finite differences and sigmoid "
          "gates. " + FAILING,
)  # fmt: skip
B19 = claim(
    "B19", "empirical",
    "On the kinked layer smoothed matching removes the feature for good; finite differences and "
    "sigmoid gates of the same weight only delay it.",
    {"failing, unmatched over smoothed": Removed(), "failing, others over smoothed": Induced()},
    terms="Trained four times as long; the others are finite differences and sigmoid gates. "
          + FAILING,
)  # fmt: skip
B20 = claim(
    "B20", "empirical",
    "On layers without a kink finite differences remove the feature for good, where plain and "
    "smoothed matching lose the task.",
    {"failing, unmatched over finite differences": Removed(),
     "FVU, plain and smoothed": Often(Bound("≥", TASK_LOST))},
    terms="With repeats, on a smooth layer and, in the chapter, on a trained network and after "
          "four times the steps. " + FAILING,
)  # fmt: skip
B21 = claim(
    "B21", "empirical",
    "One variant works on both kinds of layer: finite differences with three times the weight "
    "remove the feature for good, and cost no error where there is none.",
    {"failing, unmatched over finite differences": Removed(),
     "FVU over unmatched, no repeats": NO_WORSE},
    terms="On |x| and on the smooth layer, with four times the steps in the chapter. " + FAILING,
    changed="it says \"cost no error\" where it said \"harm nothing\", because it costs features; "
            "its rule is as it was.",
)  # fmt: skip


def from_memorized(base: Experiment, matched: Experiment) -> dict[str, Experiment] | None:
    """Matched from p memorized, where that can be laid out."""
    if not has_room(base):
        return None
    stuck, mu = replace(base, init="memorising"), matched.jacobian_coefficient
    return {k: matched_by(stuck, k, mu) for k in ("smoothed", "finite")}


@B16.on_grid(from_memorized)
def _(s: Setting) -> dict[str, Any]:
    """Finite differences, where smoothed matching removes enough."""
    finite, smoothed = s.fails("finite"), s.fails("smoothed")
    enough = smoothed.mean() <= 1 - CLEAR
    return {"failing, others over smoothed": (finite, smoothed)} if enough else {}


def remedies(base: Experiment, matched: Experiment) -> dict[str, Experiment]:
    """Noise instead of matching, four times the steps, a layer without a kink."""
    mu = matched.jacobian_coefficient
    long, smooth = replace(base, steps=4 * base.steps), replace(base, target="smooth_abs")
    found = {"none": base, "smoothed": matched_by(base, "smoothed", mu)}
    found |= {"long": long, "S": smooth}
    found |= {f"noise {s:g}": fair_noise(base, mu, s) for s in (0.1, 0.3)}
    late = ("smoothed", "finite", "sigmoid_gate")
    found |= {f"long {k}": matched_by(long, k, mu) for k in late}
    return found | {f"S {k}": matched_by(smooth, k, mu) for k in ("plain", "smoothed", "finite")}


@B8.on_grid(remedies)
def _(s: Setting) -> dict[str, Any]:
    """Two scales of noise, where enough fail without matching."""
    if s.fails("none").mean() < CLEAR:
        return {}
    (name,) = B8.rules
    noise = min((s.fails("noise 0.1"), s.fails("noise 0.3")), key=lambda hits: hits.mean())
    return {name: (noise, s.fails("smoothed"))}


@B19.on_grid(remedies)
def _(s: Setting) -> dict[str, Any]:
    """Where enough fail without matching."""
    if s.fails("long").mean() < CLEAR:
        return {}
    smoothed = s.fails("long smoothed")
    return {
        "failing, unmatched over smoothed": (s.fails("long"), smoothed),
        "failing, others over smoothed": {
            k: (s.fails(f"long {k}"), smoothed) for k in ("finite", "sigmoid_gate")
        },
    }


@B20.on_grid(remedies)
def _(s: Setting) -> dict[str, Any]:
    """Smooth |x|."""
    return {
        "failing, unmatched over finite differences": (s.fails("S"), s.fails("S finite")),
        "FVU, plain and smoothed": {
            k: s.tables[f"S {k}"].fvu.values for k in ("plain", "smoothed")
        },
    }


LAYERS = ("abs", "smooth_abs")


def both_layers(base: Experiment, matched: Experiment) -> dict[str, Experiment]:
    """Finite differences of three times the weight, on both layers, with repeats and without."""
    found = {k: replace(base, target=k) for k in LAYERS}
    found |= {f"{k}, clean": replace(found[k], repeat_frac=0.0) for k in LAYERS}
    mu = 3 * matched.jacobian_coefficient
    return found | {f"{k}, finite": matched_by(one, "finite", mu) for k, one in found.items()}


@B21.on_grid(both_layers)
def _(s: Setting) -> dict[str, Any]:
    """Both layers."""
    return {
        "failing, unmatched over finite differences": {
            k: (s.fails(k), s.fails(f"{k}, finite")) for k in LAYERS
        },
        "FVU over unmatched, no repeats": {
            k: s.relative_fvu(f"{k}, clean, finite", f"{k}, clean") for k in LAYERS
        },
    }
