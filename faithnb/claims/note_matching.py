"""C17 to C28: Jacobian matching, what it removes and what it costs, and what else the note says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from faithnb.claims.registry import claim
from faithnb.claims.rules import (
    CLEAR,
    HALF,
    Above,
    Below,
    Exact,
    Larger,
    Often,
    Removed,
    Reported,
    Within,
)
from faithnb.claims.setting import Setting, kinds, l1_of, three, weaker
from faithnb.experiment import Experiment
from faithnb.measures import TASK_LOST
from faithnb.measures.equal_error import overlapping
from faithnb.sweeps.conditions import matched as matched_by

INDEX = (
    "the masking index counted features that contribute less than 0.05, which a circuit split in "
    "two does twice as often; it now counts features that a step of 0.05 turns off, which does not "
    "change."
)
"""What was changed of C22 to C24."""

FAILING = f"Failing: in state datapoint or pair, or with an FVU of at least {TASK_LOST:g}."

claim(
    "C17", "argument",
    "The Jacobian, as a function of the input, is a canonical form of the weights.",
    {"largest difference of Jacobians": Reported()},
    terms="Features that are permuted and rescaled leave the Jacobian as it is; but two mechanisms "
          "can share it.",
)  # fmt: skip
claim(
    "C18", "identity", "K E_v‖(J₁ − J₂)v‖² = ‖J₁ − J₂‖_F².",
    {"distance from the norm in standard errors": Exact(4, unit="draws")},
    terms="The mean is over Rademacher, Gaussian and spherical probes.",
)  # fmt: skip

C19 = claim(
    "C19", "empirical", "Adding Jacobian matching to the loss lowers memorization dramatically.",
    {"failing, without over with": Removed()},
    chapter={"failing, share of the whole scan, without minus with": Above(0)},
    terms=FAILING + " The first is judged at two amounts of repetition, each with its own weight "
                    "of matching; the second over the scan, seed by seed.",
    changed="the whole scan is judged, too, and a training that diverged counts as failing.",
)  # fmt: skip


@C19.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """With repeats, and matched."""
    fails = [s.memorized(k) | ~(s.tables[k].fvu.values < TASK_LOST) for k in ("repeats", "matched")]
    return {"failing, without over with": tuple(fails)}


C20 = claim(
    "C20", "empirical",
    "In the note's example Jacobian matching removes the datapoint feature, and the transcoder is "
    "otherwise as without repeats.",
    {"generalizing with matching": Often(),
     "relative to no repeats, with matching": Within(0.9, 1.1)},
    terms="FVU and L0 are compared with those without repeats.",
)  # fmt: skip


@C20.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """All three, where matching has something to remove."""
    if s.memorized("repeats").mean() < CLEAR:
        return {}
    none, matched = s.tables["none"], s.tables["matched"]
    return {
        "generalizing with matching": matched.state.values == "generalising",
        "relative to no repeats, with matching": {
            k: float(matched[k].mean() / none[k].mean()) for k in ("fvu", "l0")
        },
    }


C21 = claim(
    "C21", "empirical", "After matching, the features of p's coordinates stay a bit rotated.",
    {"rotation, with matching minus no repeats": Above(0),
     "rotation with matching": Below(HALF, "that of memorizing transcoders", without=1.0)},
)  # fmt: skip


@C21.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """All three, where some transcoders memorize."""
    memorized = s.memorized("repeats")
    if not memorized.any():
        return {}
    none, matched = (float(s.tables[k].rotation.mean()) for k in ("none", "matched"))
    reference = float(s.tables["repeats"].rotation[memorized].mean())
    more, of_matched = C21.rules
    if not np.isfinite([none, matched, reference]).all():
        return {more: -np.inf}  # where no feature is left to be rotated, none is a bit rotated
    return {more: matched - none, of_matched: (matched, reference)}


C22 = claim(
    "C22", "empirical",
    "A transcoder can cheat: features with large weights and very negative biases give large "
    "gradients while they hardly contribute.",
    {"masking index under L1, matched over not": Larger(),
     "the same, at the same error": Larger()},
    terms=f"Judged on base data, among transcoders with an FVU below {TASK_LOST:g}.",
    changed=INDEX,
)  # fmt: skip
C23 = claim(
    "C23", "empirical", "tanh L1 reduces the cheat.",
    {"masking index, matched, L1 over tanh, at the same error": Larger()},
    terms=f"Judged on base data, among transcoders with an FVU below {TASK_LOST:g}.",
    changed=INDEX,
)  # fmt: skip


def masking(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """L1 with and without matching, and tanh with, with two penalties each."""
    tanh = matched_by(base, "masked", matched.jacobian_coefficient)
    of = {"l1": l1_of(base), "l1 matched": l1_of(tanh), "tanh matched": tanh}
    return kinds({kind: weaker(one, 0.3, 1.0) for kind, one in of.items()})


def indices(s: Setting, kind: str, other: str, same_error: bool) -> tuple[np.ndarray, ...]:
    """Masking indices of two kinds that do the task, and their seeds."""
    each = [s.of_kind(k) for k in (kind, other)]
    fvu = [s.column("fvu", names) for names in each]
    some: Iterable[np.ndarray] = [v < TASK_LOST for v in fvu]
    if same_error:
        some = overlapping(*fvu, below=TASK_LOST)
    a, b = some
    return tuple(
        s.column(name, names)[k]
        for name in ("masking_index", "seed")
        for names, k in zip(each, (a, b), strict=True)
    )


@C22.on_grid(masking)
def _(s: Setting) -> dict[str, Any]:
    """With repeats, two penalties."""
    both = (indices(s, "l1 matched", "l1", same) for same in (False, True))
    return dict(zip(C22.rules, both, strict=True))


@C23.on_grid(masking)
def _(s: Setting) -> dict[str, Any]:
    """With repeats, two penalties."""
    (name,) = C23.rules
    return {name: indices(s, "l1 matched", "tanh matched", True)}


claim(
    "C24", "argument",
    "Penalizing what features contribute to the Jacobian would counteract the cheat.",
    {"masking index with matching": Reported(), "memorizing, without matching": Reported()},
    terms="Each with and without such a penalty.",
    changed=INDEX,
)  # fmt: skip

C25 = claim(
    "C25", "empirical",
    "Under superposition the Jacobian has a tail that is an artefact and not worth matching.",
    {"σ₂ / σ₁ with one active coordinate": Below(0.5, unit="layers"),
     "L0, matching the whole over the active part, at the same error": Larger()},
    terms="The layer is trained and in superposition; σ are the singular values of its Jacobian, "
          "the median over inputs, whose spread is the interval.",
)  # fmt: skip


def second_over_first(superposed: Experiment) -> float:
    """Median of σ₂ / σ₁ of a layer's Jacobian where one coordinate is active."""
    alone = torch.cat([torch.eye(superposed.d_in), -torch.eye(superposed.d_in)])
    singular = torch.linalg.svdvals(superposed.make_target().jacobian(alone))
    return float((singular[:, 1] / singular[:, 0]).median())


def superposition(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """The whole Jacobian matched and its active part, two penalties each; nothing where the tail
    is not small."""
    superposed = replace(base, target="superposed", repeat_frac=0.0)
    if not next(iter(C25.rules.values())).holds(second_over_first(superposed)):
        return {}
    mu = matched.jacobian_coefficient
    of = {k: matched_by(superposed, "plain", mu, probe=k) for k in ("rademacher", "active")}
    return kinds({kind: weaker(one, 0.5, 1.0) for kind, one in of.items()})


@C25.on_grid(superposition)
def _(s: Setting) -> dict[str, Any]:
    """A layer in superposition, no repeats, two penalties."""
    tail, l0 = C25.rules
    found: dict[str, Any] = {tail: second_over_first(replace(s.base, target="superposed"))}
    if s.conditions:
        each = [s.of_kind(kind) for kind in ("rademacher", "active")]
        same = overlapping(*(s.column("fvu", names) for names in each))
        found[l0] = tuple(
            s.column(name, names)[k]
            for name in ("l0", "seed")
            for names, k in zip(each, same, strict=True)
        )
    return found


claim("C26", "opinion", "Faithfulness and simplicity are separable concerns.",
      {"rank correlation of L0 and Jacobian error around p": Reported(),
       "memorizing": Reported()},
      terms="Within the conditions of all chapters; memorizing among the simpler and the denser "
            "half.")  # fmt: skip
claim("C27", "argument", "Replacing one step at a time bounds how far mechanisms can diverge.",
      {"error after two layers over one": Reported()})  # fmt: skip
claim(
    "C28", "empirical",
    "The exact Jacobian objective is extremely expensive, the sampled one cheap.",
    {"step with exact matching over one without": Above(3, without=1, unit="timings"),
     "step with sampled matching over one without": Below(2, unit="timings")},
    terms="A training step by automatic differentiation.",
)  # fmt: skip
