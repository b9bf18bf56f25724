"""C1 to C16: what transcoders of the note learn, and when features for a datapoint form."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from faithnb.claims.evidence import NOTHING
from faithnb.claims.registry import claim
from faithnb.claims.rules import (
    FEWEST,
    Above,
    Below,
    Bound,
    Exact,
    Induced,
    Larger,
    Marginal,
    Never,
    Often,
    Reported,
    Within,
)
from faithnb.claims.setting import Setting, area, kinds, l1_of, three, weaker
from faithnb.experiment import Experiment
from faithnb.measures import (
    ALIGNED,
    DATAPOINT,
    coordinate_features,
    datapoint_features,
    off_at_point,
    subset_error,
    writes_pattern,
)
from faithnb.measures.circuits import CircuitMap
from faithnb.measures.equal_error import overlapping, pairs
from faithnb.measures.registry import CONTRIBUTES
from faithnb.measures.stats import logit_slopes

STANDARD_ERRORS = Exact(4, unit="draws")
"""A mean that is drawn may be off by so many standard errors."""

MEMORIZING = "Memorizing: in state datapoint or pair."

C1 = claim(
    "C1", "empirical",
    "Low error on the data and features that each mean one thing do not make the mechanism the "
    "same.",
    {
        "Jacobian error at p, memorizing over generalizing": Larger(),
        "error with one of p's ones missing, memorizing over generalizing": Larger(),
    },
    terms="Compared are pairs of a memorizing and a generalizing transcoder of about the same FVU. "
          + MEMORIZING,
)  # fmt: skip


def two_strengths(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """Never p and p, with two penalties each; memorizing ones err more at the same penalty."""
    never = replace(base, repeat_frac=0.0)
    return kinds({"right": weaker(never, 0.7, 1.4), "wrong": weaker(base, 0.3, 0.7)})


@C1.on_grid(two_strengths)
def _(s: Setting) -> dict[str, Any]:
    """Two penalties without repeats, and two with."""
    right, wrong = s.of_kind("right"), s.of_kind("wrong")
    G = np.flatnonzero(s.column("state", right) == "generalising")
    M = np.flatnonzero(np.concatenate([s.memorized(k) for k in wrong]))
    a, b = pairs(s.column("fvu", right)[G], s.column("fvu", wrong)[M])
    G, M = G[a], M[b]

    def missing_one(names: list[Any]) -> np.ndarray:
        error = subset_error(s.ensemble(names), s.layer, s.p, per_subset=True)
        return error[:, -int((s.p != 0).sum()) :].mean(-1).numpy()

    seeds = s.column("seed", wrong)[M], s.column("seed", right)[G]
    jacobian = [s.column("jacobian_error_at_p", k) for k in (wrong, right)]
    at_p, missing = C1.rules
    return {
        at_p: (jacobian[0][M], jacobian[1][G], *seeds),
        missing: (missing_one(wrong)[M], missing_one(right)[G], *seeds),
    }


claim("C2", "identity", "abs(x) is ReLU(x) + ReLU(−x).",
      {"largest difference on random inputs": Exact(1e-7)})  # fmt: skip

CIRCUIT_MATCH = Often(Bound("≥", 0.95))
RESIDUAL = Below(0.1)

C3 = claim(
    "C3", "empirical", "Transcoders find these circuits easily, by default.",
    {"circuit match": CIRCUIT_MATCH, "median residual": RESIDUAL},
    terms="The residual is the median over transcoders.",
)  # fmt: skip


def circuits(s: Setting) -> CircuitMap:
    """Of transcoders that never saw p."""
    return CircuitMap.of(s.transcoders["none"], s.layer, s.x, [s.p])


@C3.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats."""
    found = s.once(circuits)
    residual = float(np.median(found.median_residual()))
    return {"circuit match": found.circuit_match(), "median residual": residual}


C4 = claim(
    "C4", "empirical",
    "Plain L1 learns duplicates with spare features and is messier than tanh L1.",
    {
        "features a circuit, L1 over tanh, at the same error": Larger(),
        "residual, L1 over tanh, at the same error": Larger(),
    },
)  # fmt: skip


def two_penalties(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """L1 and tanh without repeats, with three weights each."""
    never, factors = replace(base, repeat_frac=0.0), (0.3, 0.7, 1.4)
    return kinds({"l1": weaker(l1_of(never), *factors), "tanh": weaker(never, *factors)})


@C4.on_grid(two_penalties)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats, three weights of each penalty, at overlapping error."""
    each = [s.of_kind(kind) for kind in ("l1", "tanh")]
    same = overlapping(*(s.column("fvu", names) for names in each))
    seeds = [s.column("seed", names)[k] for names, k in zip(each, same, strict=True)]
    maps = [CircuitMap.of(s.ensemble(names), s.layer, s.x) for names in each]
    duplicates = [v.neurons_per_circuit()[k] for v, k in zip(maps, same, strict=True)]
    residuals = [v.median_residual()[k] for v, k in zip(maps, same, strict=True)]
    return dict(zip(C4.rules, ((*duplicates, *seeds), (*residuals, *seeds)), strict=True))


claim("C5", "definition", "Inputs are uniform on (−1, 1) with probability density, else 0.",
      {"distance in standard errors": STANDARD_ERRORS},
      terms="Compared are the share that is not 0 and the variance.")  # fmt: skip
claim("C6", "definition", "The input is p a fraction repeat_frac of the time.",
      {"share that is p, distance in standard errors": STANDARD_ERRORS})  # fmt: skip

C7 = claim(
    "C7", "empirical", "Repetition induces a feature y += p · ReLU(λ p · x − b).",
    {"such a feature, with repeats over none": Induced(), "such a feature, no repeats": Never()},
    terms=f"Such a feature reads and writes along p (cosines above {ALIGNED:g}), contributes there "
          "and is silent on 95 % of base data. The chapter has twice the note's repetition.",
)  # fmt: skip


@C7.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats, and with."""
    repeats, none = (
        datapoint_features(s.transcoders[k], s.layer, s.p, s.x).any(1).numpy()
        for k in ("repeats", "none")
    )
    return {"such a feature, with repeats over none": (repeats, none),
            "such a feature, no repeats": none}  # fmt: skip


claim(
    "C8", "argument", "Such a feature is unfaithful because the layer has no notion of p.",
    {"Jacobian error around p": Reported(), "memorization": Reported()},
    terms="The layer here has a circuit for p of its own, and is trained on as the note's is.",
)  # fmt: skip

C9 = claim(
    "C9", "empirical",
    "A repeated point is necessary; more repetition makes memorizing likelier.",
    {"memorizing, no repeats": Never()},
    chapter={"slope on log r": Above(0), "memorizing, no exact repeat": Never()},
    grid={"memorizing, with repeats over none": Induced()},
    terms="Without an exact repeat, coordinates of p are active together: on a ray, with "
          "independent magnitudes, or with jitter. " + MEMORIZING,
)  # fmt: skip


@C9.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats, and with; only exact ones."""
    none = s.memorized("none")
    return {"memorizing, no repeats": none,
            "memorizing, with repeats over none": (s.memorized("repeats"), none)}  # fmt: skip


C10 = claim(
    "C10", "empirical", "Sparsity regularization is necessary.",
    {
        "slope on log λ": Above(0),
        "memorizing, λ = 0": Never(),
        "a datapoint feature's part of p written, λ = 0": Never(),
    },
    terms=f"{MEMORIZING} The part: {100 * DATAPOINT:.0f} % of a full feature's memorization.",
    changed="also judged by what is written at p, because at λ = 0 hardly any feature is aligned "
            "and states say little.",
)  # fmt: skip
C11 = claim(
    "C11", "empirical", "The product of repetition and sparsity decides.",
    {"b_r / b_λ": Within(0.67, 1.5)},
    grid={"slope on log λ": Above(0)},
    terms="The slopes of the log odds on log r and log λ are those of the whole scan, of a second "
          "density, of cells whose transcoders fit without repeats, and of runs four times as "
          "long.",
    changed="the interval also counts the chance in the outcomes, not in the choice of seeds "
            "alone, which had made it too narrow where all seeds agree; the claim is harder to "
            "meet by that.",
)  # fmt: skip


def around(base: Experiment) -> tuple[list[float], list[float]]:
    """Repeats and penalties around a setting."""
    r, lam = base.repeat_frac, base.sparsity_coefficient
    return [c * r for c in (0.25, 0.5, 1, 2)], [c * lam for c in (0.5, 1, 2)]


def scan(base: Experiment, matched: Experiment) -> dict[Any, Experiment]:
    """Repeats and penalties around the setting, by their values, and no penalty."""
    repeats, lambdas = around(base)
    return {
        (r, lam): replace(base, repeat_frac=r, sparsity_coefficient=lam)
        for r, lam in product(repeats, [0.0, *lambdas])
    }


def slopes(s: Setting) -> tuple[np.ndarray, float, float]:
    """Who memorizes in the cells with a penalty, and the slopes of the log odds on both."""
    inner = list(product(*around(s.base)))
    hit = np.array([s.memorized(cell) for cell in inner])
    _, b_r, b_lam = logit_slopes(hit, np.log(inner))
    return hit, float(b_r), float(b_lam)


@C10.on_grid(scan)
def _(s: Setting) -> dict[str, Any]:
    """A scan of r and λ around the setting."""
    without = [(r, 0.0) for r in around(s.base)[0]]
    _, _, b_lam = s.once(slopes)
    given = (
        b_lam if np.isfinite(b_lam) else NOTHING,
        np.concatenate([s.memorized(cell) for cell in without]),
        np.concatenate([writes_pattern(s.tables[cell]).values for cell in without]),
    )
    return dict(zip(C10.rules, given, strict=True))


@C11.on_grid(scan)
def _(s: Setting) -> dict[str, Any]:
    """The same scan, where memorizing is common in some cells and rare in others."""
    hit, b_r, b_lam = s.once(slopes)
    # where all but one or two cells agree, a ratio tells where the line falls, not its slope
    common = (hit.mean(1) >= 0.5).sum()
    if not (FEWEST <= common <= len(hit) - FEWEST and np.isfinite([b_r, b_lam]).all()):
        return {}
    return {"b_r / b_λ": b_r / b_lam if b_lam else NOTHING, "slope on log λ": b_lam}


C12 = claim(
    "C12", "empirical", "The memorization metric detects datapoint features.",
    {"AUROC against labels by cosines": Above(0.95, without=0.5)},
    chapter={"hand-made features, largest deviation from the formula": Exact(1e-6, "features")},
    terms="The interval is the range over seeds.",
)  # fmt: skip


@C12.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without and with repeats."""
    both = ("none", "repeats")
    label = s.column("alignment", both) > ALIGNED
    return {"AUROC against labels by cosines": area(s.column("memorization", both), label)}


C13 = claim(
    "C13", "empirical",
    "Without repeats the features are almost exactly ReLU(±x_i), with a small residual.",
    {"circuit match": CIRCUIT_MATCH, "largest median residual of a seed": RESIDUAL},
)  # fmt: skip


@C13.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats."""
    found = s.once(circuits)
    return {"circuit match": found.circuit_match(),
            "largest median residual of a seed": float(found.median_residual().max())}  # fmt: skip


claim(
    "C14", "calibration",
    "At 5 % repeats a datapoint feature appears, and memorization is marginal.",
    {"memorizing": Marginal()}, terms=MEMORIZING,
)  # fmt: skip

C15 = claim(
    "C15", "empirical",
    "The three single features persist beside the datapoint feature, rotated so that they are "
    "off at p.",
    {"all features of p's coordinates off at p": Often(),
     "a feature for each coordinate of p": Often()},
    terms=f"Judged in state datapoint, with a decoder cosine above {ALIGNED:g}; off is a "
          f"contribution of at most {CONTRIBUTES:g}. The chapter has twice the note's repetition.",
    changed="that the three features persist is judged, at twice the repetition alone.",
)  # fmt: skip


@C15.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """With repeats."""
    full = s.transcoders["repeats"][(s.tables["repeats"].state == "datapoint").values]
    return {
        "all features of p's coordinates off at p": off_at_point(full, s.p).numpy(),
        "a feature for each coordinate of p": (coordinate_features(full, s.p) >= 0).all(-1).numpy(),
    }


C16 = claim(
    "C16", "empirical", "The Jacobian at p is diagonal without repeats and not so with them.",
    {"off-diagonal share, repeats over none": Larger(),
     "off-diagonal share, no repeats": Below(0.05)},
    chapter={"off-diagonal share at p itself": Above(0.1)},
    terms="The share is of the squared norm, averaged over a small ball around p; at p itself it "
          "is judged at twice the note's repetition.",
)  # fmt: skip


@C16.on_grid(three)
def _(s: Setting) -> dict[str, Any]:
    """Without repeats, and with."""
    of = [s.tables[k] for k in ("repeats", "none")]
    shares = [k.off_diagonal_share.values for k in of]
    # a Jacobian of 0 has no share, and is not the layer's
    diagonal = float(np.nan_to_num(np.mean(shares[1]), nan=np.inf))
    return {
        "off-diagonal share, repeats over none": (*shares, *(k.seed.values for k in of)),
        "off-diagonal share, no repeats": diagonal,
    }
