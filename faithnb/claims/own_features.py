"""B1 to B4 and B10 to B12: when features for patterns form, and when memorizing lowers the loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor

from faithnb.claims.evidence import NOTHING
from faithnb.claims.registry import claim
from faithnb.claims.rules import Below, Bound, Induced, Never, Often, Removed
from faithnb.claims.setting import Setting
from faithnb.data.rng import Stream
from faithnb.data.sampling import pad_points
from faithnb.data.variations import vary
from faithnb.experiment import Experiment
from faithnb.measures import DATAPOINT, TASK_LOST, absorption, memorization_share, writes_pattern
from faithnb.measures.stats import logit_slopes
from faithnb.sweeps.conditions import matched as matched_by
from faithnb.training.theory import equilibrium, matching_threshold

HALF_THE_BATCH = "trained with half the batch, to save time."
"""What was changed of B10 to B15 and B17, some of them besides."""

FULL = f"a memorization of at least {100 * DATAPOINT:.0f} % of a full datapoint feature's."
PATTERN = f"A pattern feature: {FULL}"

B1 = claim(
    "B1", "empirical",
    "No input has to repeat: coordinates that act together, in strengths that vary up to twofold, "
    "get a feature of their own, and the same coordinates one at a time do not.",
    {"pattern feature, together over one at a time": Induced(),
     "pattern feature, one at a time": Never()},
    terms=PATTERN + " Together is on a ray and, in the chapter, with independent magnitudes.",
)  # fmt: skip
B2 = claim(
    "B2", "empirical",
    "What forms is absorption: where the pattern acts, the coordinates' own features are mostly "
    "silent.",
    {"absorption with a pattern feature": Often(Bound(">", 0.5)),
     "absorption, one at a time": Often(Bound("<", 0.1))},
    terms=PATTERN,
)  # fmt: skip
B4 = claim(
    "B4", "empirical", "Matching Jacobians removes a pattern feature, too.",
    {"failing, unmatched over matched": Removed()},
    terms=f"Failing: with a pattern feature or an FVU of at least {TASK_LOST:g}. " + PATTERN,
)  # fmt: skip


def together(base: Experiment, matched: Experiment) -> dict[str, Experiment]:
    """Coordinates that act together on a ray, the same matched, and one at a time."""
    p = pad_points(base.points, base.d_in)[0]
    on_ray = replace(base, point_variation="ray", variation_scale=0.5)
    points = tuple((0.0,) * int(j) + (float(p[j]),) for j in p.nonzero())
    single = replace(
        base, points=points, repeat_frac=min(1.0, len(points) * base.repeat_frac),
        point_variation="independent", variation_scale=0.5,
    )  # fmt: skip
    removed = matched_by(on_ray, "smoothed", matched.jacobian_coefficient)
    return {"ray": on_ray, "single": single, "matched": removed}


def has_pattern(s: Setting) -> dict[str, np.ndarray]:
    """Which transcoders have a pattern feature."""
    return {
        k: (memorization_share(s.transcoders[k], s.p) >= DATAPOINT).numpy()
        for k in ("ray", "single")
    }


@B1.on_grid(together)
def _(s: Setting) -> dict[str, Any]:
    """On a ray, and one at a time."""
    has = s.once(has_pattern)
    return {"pattern feature, together over one at a time": (has["ray"], has["single"]),
            "pattern feature, one at a time": has["single"]}  # fmt: skip


@B2.on_grid(together)
def _(s: Setting) -> dict[str, Any]:
    """On a ray, and one at a time."""
    x: Tensor = vary(s.p[None].expand(1024, -1), "independent", 0.5, Stream([0], "evaluation"), 0)[
        0
    ]
    ray, single = (absorption(s.transcoders[k], s.p, x).numpy() for k in ("ray", "single"))
    return {"absorption with a pattern feature": ray[s.once(has_pattern)["ray"]],
            "absorption, one at a time": single}  # fmt: skip


@B4.on_grid(together)
def _(s: Setting) -> dict[str, Any]:
    """On a ray, without matching and with smoothed."""
    return {"failing, unmatched over matched": (s.fails("ray"), s.fails("matched"))}


B3 = claim(
    "B3", "empirical", "The more the strengths vary, the rarer a pattern feature gets.",
    {"slope on the spread": Below(0)},
    terms="The slope is that of the log odds of a pattern feature on the spread of its magnitudes, "
          "next to log r.",
    changed="it is judged over sixteen seeds at the larger repeat fractions, and no longer over "
            "five at all of them.",
)  # fmt: skip
SPREADS = list(product((0.0, 0.5, 1.0), (0.5, 1.0, 2.0)))
"""Spreads of magnitudes, and factors of r."""


def spread(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """Magnitudes that vary more or less, each with less and more repeats."""
    free = replace(base, point_variation="independent")
    return {
        (width, c): replace(free, variation_scale=width, repeat_frac=c * base.repeat_frac)
        for width, c in SPREADS
    }


@B3.on_grid(spread)
def _(s: Setting) -> dict[str, Any]:
    """Magnitudes over three spreads and three r."""
    hit = np.array([writes_pattern(s.tables[cell]).values for cell in SPREADS])
    predictors = np.array([(width, np.log(c)) for width, c in SPREADS])
    slope = float(logit_slopes(hit, predictors)[1])
    return {"slope on the spread": slope if np.isfinite(slope) else NOTHING}


B10 = claim(
    "B10", "empirical",
    "Where memorizing lowers the loss follows from the loss: one number for each density and "
    "penalty, computed without training and without a fitted constant.",
    {"memorized, 1.5 × equilibrium": Often(), "given up, 0.67 × equilibrium": Often()},
    chapter={"memorized, from 1.2 to 3 × equilibrium": Often(),
             "given up, up to 0.8 × equilibrium": Often()},
    terms="Transcoders start with p memorized. The equilibrium is the repeat fraction so computed. "
          "The first two are at the headline density and penalty, the others over densities up to "
          f"0.1 and a tenfold range of penalties. Memorized: {FULL}",
    changed=HALF_THE_BATCH,
)  # fmt: skip
B11 = claim(
    "B11", "empirical",
    "Between the equilibrium and the border that training from random initialisation shows, both "
    "solutions survive.",
    {"memorized, from p memorized over random initialisation": Induced()},
    chapter={"memorized, from the layer's own circuits": Never()},
    terms="At 1.5 times the equilibrium, headline density and penalty.",
    changed="none may memorize from the layer's own circuits; " + HALF_THE_BATCH,
)  # fmt: skip
B12 = claim(
    "B12", "empirical", "The weight of matching that removes a memorized p is λΔφ/2.",
    {"memorized, twice the weight": Never(), "memorized, half the weight": Often()},
    terms="Transcoders start with p memorized, at three times the equilibrium; the chapter judges "
          "the headline penalty, and all of a tenfold range.",
    changed="it first asked that nothing memorize from λΔφ/2 on, then for a tenth of it below and "
            "twice above, now for half and twice; " + HALF_THE_BATCH,
)  # fmt: skip


def has_room(base: Experiment) -> bool:
    """Whether solutions can be laid out by hand: a feature for each circuit, and some for p."""
    return base.d_sae > 2 * base.d_in


def near_equilibrium(base: Experiment, matched: Experiment) -> dict[str, Experiment] | None:
    """Around the line that theory draws for three ones, if that leaves base data."""
    line = equilibrium(base.density, base.sparsity_coefficient, base.tanh_scale)
    of_note = sorted(v for v in base.points[0] if v) == [1, 1, 1]
    if not (has_room(base) and of_note and 3 * line < 0.8):
        return None
    weight = matching_threshold(base.sparsity_coefficient, base.tanh_scale)
    stuck = replace(base, init="memorising")
    found = {f"r × {k}": replace(stuck, repeat_frac=k * line) for k in (0.67, 1.5)}
    found["random"] = replace(found["r × 1.5"], init="random")
    many = replace(stuck, repeat_frac=3 * line)
    return found | {f"μ × {k}": matched_by(many, "smoothed", k * weight) for k in (0.5, 2)}


def still(s: Setting, condition: str) -> np.ndarray:
    """Which transcoders have p memorized."""
    return np.asarray(writes_pattern(s.tables[condition]).values)


@B10.on_grid(near_equilibrium)
def _(s: Setting) -> dict[str, Any]:
    """From p memorized."""
    return {"memorized, 1.5 × equilibrium": still(s, "r × 1.5"),
            "given up, 0.67 × equilibrium": ~still(s, "r × 0.67")}  # fmt: skip


@B11.on_grid(near_equilibrium)
def _(s: Setting) -> dict[str, Any]:
    """At 1.5 times the equilibrium."""
    (name,) = B11.rules
    return {name: (still(s, "r × 1.5"), still(s, "random"))}


@B12.on_grid(near_equilibrium)
def _(s: Setting) -> dict[str, Any]:
    """At three times the equilibrium."""
    return {"memorized, twice the weight": still(s, "μ × 2"),
            "memorized, half the weight": still(s, "μ × 0.5")}  # fmt: skip
