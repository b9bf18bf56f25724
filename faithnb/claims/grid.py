"""Whether a claim holds at a setting, in the main: the core of its rule on a few seeds, without
intervals.

A core holds (True), does not (False), or there is nothing to judge (NaN): where nothing memorises,
say, there is nothing that could be cured. :mod:`faithnb.claims.of_note` and
:mod:`faithnb.claims.of_ours` have the *parts*: functions of a setting that say which arms they want
and how to judge what these become.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from faithnb.claims.rules import CLEAR, FEWEST, LARGE
from faithnb.claims.statements import CLAIMS, where_not
from faithnb.experiment import Experiment
from faithnb.measures.stats import auroc, cliffs_delta
from faithnb.model.transcoder import Transcoder
from faithnb.sweeps.comparison import compare
from faithnb.training.store import Store

Held: TypeAlias = bool | float
Arms: TypeAlias = Mapping[Any, Experiment]
Judge: TypeAlias = Callable[[dict[Any, Transcoder], dict[Any, xr.Dataset]], dict[str, Held]]
Part: TypeAlias = Callable[[Experiment, Experiment], tuple[Arms, Judge]]
"""(setting, the same matched) → (arms by name, judge of their transcoders and metrics)."""

NOTHING: Held = float("nan")
"""There is nothing to judge."""

NO_PART: tuple[Arms, Judge] = ({}, lambda t, m: {})
"""What a part returns where it judges nothing."""


def judge(
    parts: Sequence[Part],
    settings: Sequence[tuple[Experiment, Experiment]],
    seeds: Sequence[int],
    store: Store | None = None,
    progress: bool = True,
) -> list[dict[str, Held]]:
    """What the parts judge at each setting, by claim.

    The arms of all parts and settings are trained together, each once, which is much faster than
    one after the other.

    Args:
        parts: what to judge.
        settings: each without matching and with.
        seeds: of every arm.
        store: as for :func:`faithnb.train`.
        progress: as for :func:`faithnb.train`.
    """
    begun = [[part(base, cure) for part in parts] for base, cure in settings]
    every = dict.fromkeys(arm for row in begun for arms, _ in row for arm in arms.values())
    names = {str(k): arm for k, arm in enumerate(every)}
    found = compare(names, seeds, store=store, progress=progress) if names else {}
    weights = {arm: found[k].transcoder for k, arm in names.items()}
    tables = {
        arm: found[k].metrics().assign_coords(seed=("inst", list(seeds)))
        for k, arm in names.items()
    }
    return [
        {
            claim: held
            for arms, verdict in row
            for claim, held in verdict(
                {k: weights[arm] for k, arm in arms.items()},
                {k: tables[arm] for k, arm in arms.items()},
            ).items()
        }
        for row in begun
    ]


def all_of(*held: Held) -> Held:
    """False if any is, else NaN if any is, else True."""
    if any(h == 0 for h in held):
        return False
    return NOTHING if np.isnan(held).any() else True


def most(hits: Sequence[bool] | np.ndarray) -> Held:
    """Nine in ten do; NaN where there are none."""
    return bool(np.mean(hits) >= 0.9) if len(hits) else NOTHING


def induced(treated: Bool[np.ndarray, "n"], control: Bool[np.ndarray, "n"]) -> Held:
    """Much more often with the treatment, and never without."""
    return bool(treated.mean() - control.mean() >= CLEAR and not control.any())


def fallen(before: Bool[np.ndarray, "n"], after: Bool[np.ndarray, "n"]) -> Held:
    """Much less often after, and at most half as often; NaN where it is rare before."""
    if before.mean() < CLEAR:
        return NOTHING
    return bool(before.mean() - after.mean() >= CLEAR and after.mean() <= before.mean() / 2)


def ahead(
    a: Float[np.ndarray, "n"],
    b: Float[np.ndarray, "k"],
    seeds_a: np.ndarray,
    seeds_b: np.ndarray,
) -> Held:
    """Cliff's δ of a over b of at least 0.8; NaN if a side has fewer than three seeds, NaNs left
    out."""
    some_a, some_b = np.isfinite(a), np.isfinite(b)
    if min(len(set(seeds_a[some_a])), len(set(seeds_b[some_b]))) < FEWEST:
        return NOTHING
    return cliffs_delta(a[some_a], b[some_b]) >= LARGE


def area(scores: np.ndarray, labels: Bool[np.ndarray, "n"]) -> float:
    """AUROC; NaN if a score is, or fewer than three carry the label, or fewer do not."""
    few = min(labels.sum(), (~labels).sum()) < FEWEST
    return NOTHING if few or not np.isfinite(scores).all() else auroc(scores, labels)


def at_least(value: float, bound: float) -> Held:
    """The value reaches the bound; NaN if it is."""
    return NOTHING if np.isnan(value) else bool(value >= bound)


def memorised(measured: xr.Dataset) -> Bool[np.ndarray, "n"]:
    """Which of a table are in state datapoint or pair."""
    return np.isin(measured.state.values, ("datapoint", "pair"))


def of_all(tables: Mapping[Any, xr.Dataset], names: Iterable[Hashable], column: str) -> np.ndarray:
    """A column of the tables of several arms, one after the other."""
    return np.concatenate([tables[name][column].values for name in names])


def as_one(transcoders: Mapping[Any, Transcoder], names: Iterable[Hashable]) -> Transcoder:
    """Transcoders of several arms in one ensemble."""
    return Transcoder.cat([transcoders[name] for name in names])


def table(
    rows: Sequence[Mapping[str, Held]], settings: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """What :func:`judge` found: a row a setting, a column a claim, in the ledger's order."""
    names = list(settings[0])
    index = pd.MultiIndex.from_tuples([tuple(of[k] for k in names) for of in settings], names=names)
    found = pd.DataFrame(list(rows), index=index).astype(float)
    return found[[claim for claim in CLAIMS if claim in found]]


def for_ledger(found: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By claim: in what ``share`` of the ``n`` settings with something to judge its core holds, and
    where it ``fails``."""
    settings = [dict(zip(found.index.names, at, strict=True)) for at in found.index]
    return {
        claim: {"share": held.mean(), "n": int(held.count()), "fails": where_not(settings, held)}
        for claim, held in found.items()
    }


def in_words(found: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A row a claim, a column a setting, named by what differs between them.

    Args:
        found: a :func:`table`.
        labels: how to call its levels.
    """
    several = [k for k in found.index.names if found.index.get_level_values(k).nunique() > 1]
    several = several or found.index.names[:1]
    shown = found.replace({1.0: "✓", 0.0: "–"}).astype(object).fillna("·")
    shown.index = shown.index.droplevel([k for k in found.index.names if k not in several])
    rows = shown.rename_axis(index=[labels[k] for k in several]).T
    count = [f"{held.sum():.0f} of {held.count()}" for _, held in found.items()]
    rows["holds in" if len(several) == 1 else ("holds in", *[""] * (len(several) - 1))] = count
    return rows


def explained(what: Mapping[str, str]) -> str:
    """What is judged of each claim, as a table for the page."""
    rows = "".join(f"<tr><td>{k}</td><td>{html.escape(v)}</td></tr>" for k, v in what.items())
    head = "<tr><th>claim</th><th>judged at each setting</th></tr>"
    return f'<table class="ledger"><thead>{head}</thead><tbody>{rows}</tbody></table>'
