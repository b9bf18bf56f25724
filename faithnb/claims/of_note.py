"""The cores of the note's empirical claims at one setting; C28, a cost, is judged where costs are
measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr

from faithnb.claims.grid import (
    NOTHING,
    Arms,
    Held,
    Judge,
    ahead,
    all_of,
    area,
    as_one,
    at_least,
    fallen,
    induced,
    memorised,
    most,
    of_all,
)
from faithnb.claims.rules import CLEAR
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.experiment import Experiment
from faithnb.measures import (
    ALIGNED,
    TASK_LOST,
    coordinate_features,
    datapoint_features,
    off_at_point,
    subset_error,
    writes_pattern,
)
from faithnb.measures.circuits import CircuitMap
from faithnb.measures.equal_error import overlapping, pairs
from faithnb.measures.stats import logit_slopes
from faithnb.model.transcoder import Transcoder
from faithnb.sweeps.conditions import matched

Tables = Mapping[Any, xr.Dataset]

WHAT = {
    "C1": "pairs at the same error, of two penalties each: larger Jacobian error at p and larger "
          "error with one of p's ones missing (δ ≥ 0.8)",
    "C3": "no repeats: circuit match ≥ 0.95 in 90 %, median residual < 0.1",
    "C4": "three penalties of each kind, at overlapping error: more features a circuit and larger "
          "residual (δ ≥ 0.8)",
    "C7": "a datapoint feature: rate with repeats minus rate without ≥ 0.3, never without",
    "C9": "memorising: rate with repeats minus rate without ≥ 0.3, never without; only for exact "
          "repeats",
    "C10": "a scan of r and λ around the setting: never at λ = 0, slope on log λ above 0",
    "C11": "the same scan: ratio of the slopes in [0.67, 1.5]",
    "C12": "AUROC of memorization against cosines > 0.95, without and with repeats",
    "C13": "no repeats: circuit match ≥ 0.95 in 90 %, median residual < 0.1 in every seed",
    "C15": "in state datapoint: a feature for each coordinate of p in 90 %, all off at p in 90 %",
    "C16": "off-diagonal share larger with repeats (δ ≥ 0.8), below 0.05 without",
    "C19": "memorising or failing the task: rate falls by ≥ 0.3 and at least halves",
    "C20": "90 % generalise with matching; FVU and L0 within 10 % of those without repeats",
    "C21": "rotation with matching above that without repeats, below half of the memorising",
    "C22": "L1, two penalties: masking index larger with matching, over all and at overlapping "
           "error (δ ≥ 0.8)",
    "C23": "matched, two penalties, at overlapping error: masking index larger under L1 than under "
           "the setting's tanh (δ ≥ 0.8)",
    "C25": "a layer in superposition, one coordinate active: σ₂ ≤ σ₁ / 2; and at overlapping error "
           "a larger L0 where the whole Jacobian is matched (δ ≥ 0.8)",
}  # fmt: skip
"""What is judged of each claim."""


def of_three(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C3, C7, C9, C12, C13, C15, C16, C19, C20 and C21: without repeats, with, and matched."""
    p, layer = pad_points(base.points, base.d_in)[0], base.make_target()
    x = evaluation_sample(base.d_in, base.density)

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        none, repeats, cured = m["none"], m["repeats"], m["matched"]
        has = [datapoint_features(t[k], layer, p, x).any(1).numpy() for k in ("repeats", "none")]
        fails = [memorised(k) | ~(k.fvu.values < TASK_LOST) for k in (repeats, cured)]
        full = t["repeats"][(repeats.state == "datapoint").values]
        exist, off = (coordinate_features(full, p) >= 0).all(-1), off_at_point(full, p)
        shares = [k.off_diagonal_share.values for k in (repeats, none)]
        return of_circuits(CircuitMap.of(t["none"], layer, x, [p])) | {
            "C7": induced(*has),
            "C9": induced(memorised(repeats), memorised(none)),
            "C12": at_least(area(*score_and_label(none, repeats)), 0.95),
            "C15": all_of(most(exist.numpy()), most(off.numpy())),
            "C16": all_of(ahead(shares[0], shares[1], repeats.seed.values, none.seed.values),
                          bool(np.mean(shares[1]) < 0.05)),
            "C19": fallen(*fails),
            "C20": removed(none, repeats, cured),
            "C21": between(none, repeats, cured),
        }  # fmt: skip

    return {"none": replace(base, repeat_frac=0.0), "repeats": base, "matched": cure}, judge


def of_circuits(found: CircuitMap) -> dict[str, Held]:
    """C3 and C13, of transcoders that never saw p."""
    good, residual = most(found.circuit_match() >= 0.95), found.median_residual()
    return {
        "C3": all_of(good, bool(np.median(residual) < 0.1)),
        "C13": all_of(good, bool(residual.max() < 0.1)),
    }


def score_and_label(*tables: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The note's metric, and who has an aligned feature."""
    score, cosine = (
        np.concatenate([t[k].values for t in tables]) for k in ("memorization", "alignment")
    )
    return score, cosine > ALIGNED


def removed(none: xr.Dataset, repeats: xr.Dataset, cured: xr.Dataset) -> Held:
    """C20; there is nothing to remove where little memorises."""
    if memorised(repeats).mean() < CLEAR:
        return NOTHING
    near = [abs(float(cured[k].mean() / none[k].mean()) - 1) <= 0.1 for k in ("fvu", "l0")]
    return all_of(most(cured.state.values == "generalising"), *near)


def between(none: xr.Dataset, repeats: xr.Dataset, cured: xr.Dataset) -> Held:
    """C21; there is no half of the memorising where nothing memorises."""
    if not memorised(repeats).any():
        return NOTHING
    low, high = none.rotation.mean(), repeats.rotation[memorised(repeats)].mean() / 2
    return bool(low < cured.rotation.mean() < high)


def weaker(base: Experiment, *factors: float) -> dict[float, Experiment]:
    """Arms with so many times the penalty."""
    lam = base.sparsity_coefficient
    return {c: replace(base, sparsity_coefficient=c * lam) for c in factors}


def kinds(of: Mapping[str, Mapping[float, Experiment]]) -> dict[tuple[str, float], Experiment]:
    """Arms named by kind and factor."""
    return {(kind, c): arm for kind, arms in of.items() for c, arm in arms.items()}


def named(kind: str, names: Iterable[Any]) -> list[Any]:
    """Those of a kind."""
    return [name for name in names if name[0] == kind]


def l1_of(base: Experiment) -> Experiment:
    """The same with an L1 penalty, which has no scale."""
    return replace(base, sparsity_penalty="l1", tanh_scale=1.0)


def of_pairs(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C1: those that generalise and those that memorise, at the same error."""
    p, layer = pad_points(base.points, base.d_in)[0], base.make_target()
    n_missing_one = int((p != 0).sum())

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        right, wrong = ({k: of_all(m, named(side, m), k) for k in ("state", "fvu", "seed",
                         "jacobian_error_at_p")} for side in ("right", "wrong"))  # fmt: skip
        for side, found in (("right", right), ("wrong", wrong)):
            error = subset_error(as_one(t, named(side, t)), layer, p, per_subset=True)
            found["missing one"] = error[:, -n_missing_one:].mean(-1).numpy()
        G = np.flatnonzero(right["state"] == "generalising")
        M = np.flatnonzero(np.isin(wrong["state"], ("datapoint", "pair")))
        a, b = pairs(right["fvu"][G], wrong["fvu"][M])
        G, M = G[a], M[b]
        return {"C1": all_of(*(
            ahead(wrong[k][M], right[k][G], wrong["seed"][M], right["seed"][G])
            for k in ("jacobian_error_at_p", "missing one")
        ))}  # fmt: skip

    # memorising ones err more at the same strength
    never = replace(base, repeat_frac=0.0)
    return kinds({"right": weaker(never, 0.7, 1.4), "wrong": weaker(base, 0.3, 0.7)}), judge


def of_duplicates(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C4: L1 and tanh at the same error."""
    never = replace(base, repeat_frac=0.0)
    x, layer = evaluation_sample(base.d_in, base.density), base.make_target()

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        each = [named(kind, m) for kind in ("l1", "tanh")]
        seeds = [of_all(m, names, "seed") for names in each]
        same = overlapping(*(of_all(m, names, "fvu") for names in each))
        maps = [CircuitMap.of(as_one(t, names), layer, x) for names in each]
        return {"C4": all_of(*(
            ahead(*(v[k] for v, k in zip(values, same, strict=True)),
                  *(s[k] for s, k in zip(seeds, same, strict=True)))
            for values in ([v.neurons_per_circuit() for v in maps],
                           [v.median_residual() for v in maps])
        ))}  # fmt: skip

    factors = (0.3, 0.7, 1.4)
    return kinds({"l1": weaker(l1_of(never), *factors), "tanh": weaker(never, *factors)}), judge


def of_law(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C10 and C11: the penalty, and its product with the repeats, in a scan around the setting."""
    r, lam = base.repeat_frac, base.sparsity_coefficient
    repeats, lambdas = [c * r for c in (0.25, 0.5, 1, 2)], [c * lam for c in (0.5, 1, 2)]
    inner = list(product(repeats, lambdas))

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        without = [m[r, 0.0] for r in repeats]
        never = not any(memorised(k).any() or bool(writes_pattern(k).any()) for k in without)
        hit = np.array([memorised(m[k]) for k in inner])
        _, b_r, b_lam = logit_slopes(hit, np.log(inner))
        rises = bool(b_lam > 0) if np.isfinite(b_lam) else NOTHING
        # where all but one or two cells agree, a ratio tells where the line falls, not its slope
        often = (hit.mean(1) >= 0.5).sum()
        clear = 3 <= often <= len(inner) - 3 and np.isfinite([b_r, b_lam]).all()
        law = bool(b_lam > 0 and 0.67 <= b_r / b_lam <= 1.5) if clear else NOTHING
        return {"C10": all_of(never, rises), "C11": law}

    cells = product(repeats, [0.0, *lambdas])
    return {
        (r, lam): replace(base, repeat_frac=r, sparsity_coefficient=lam) for r, lam in cells
    }, judge


def of_masking(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C22 and C23: large weights that hardly contribute, under L1 and under tanh."""
    tanh = matched(base, "masked", cure.jacobian_coefficient)
    of = {"l1": l1_of(base), "l1 matched": l1_of(tanh), "tanh matched": tanh}

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        index, fvu, seed = (
            {kind: of_all(m, named(kind, m), k) for kind in of}
            for k in ("masking_index", "fvu", "seed")
        )

        def higher(a: str, b: str, same_error: bool) -> Held:
            some = [fvu[k] < TASK_LOST for k in (a, b)]
            if same_error:
                some = overlapping(fvu[a], fvu[b], below=TASK_LOST)
            return ahead(index[a][some[0]], index[b][some[1]], seed[a][some[0]], seed[b][some[1]])

        over_all, at_error = (higher("l1 matched", "l1", same) for same in (False, True))
        return {
            "C22": all_of(over_all, at_error),
            "C23": higher("l1 matched", "tanh matched", True),
        }

    return kinds({kind: weaker(arm, 0.3, 1.0) for kind, arm in of.items()}), judge


def of_tail(base: Experiment, cure: Experiment) -> tuple[Arms, Judge]:
    """C25: a layer in superposition; transcoders are trained only where its tail is small."""
    superposed = replace(base, target="superposed", repeat_frac=0.0)
    alone = torch.cat([torch.eye(base.d_in), -torch.eye(base.d_in)])
    singular = torch.linalg.svdvals(superposed.make_target().jacobian(alone))
    if (singular[:, 1] / singular[:, 0]).median() > 0.5:
        return {}, lambda t, m: {"C25": False}

    def judge(t: Mapping[Any, Transcoder], m: Tables) -> dict[str, Held]:
        each = [named(kind, m) for kind in ("rademacher", "active")]
        fvu, l0, seed = ([of_all(m, names, k) for names in each] for k in ("fvu", "l0", "seed"))
        a, b = overlapping(*fvu)
        return {"C25": ahead(l0[0][a], l0[1][b], seed[0][a], seed[1][b])}

    mu = cure.jacobian_coefficient
    forms = {k: matched(superposed, "plain", mu, probe=k) for k in ("rademacher", "active")}
    return kinds({kind: weaker(arm, 0.5, 1.0) for kind, arm in forms.items()}), judge


PARTS = (of_three, of_pairs, of_duplicates, of_law, of_masking, of_tail)
"""All of them; the first is cheap enough for the full batch."""
