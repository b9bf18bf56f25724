"""Whether claims hold at the settings of a grid: their rules by point estimates, on a few seeds.

A claim holds (True), does not (False), or there is nothing to judge (NaN): where nothing memorizes,
say, there is nothing that matching could remove.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from faithnb.claims.evidence import Held
from faithnb.claims.ledger import where_not
from faithnb.claims.registry import CLAIMS, Claim
from faithnb.claims.setting import Setting
from faithnb.experiment import Experiment
from faithnb.sweeps.comparison import compare
from faithnb.training.store import Store


def judged(whose: str) -> list[Claim]:
    """The claims that are judged on a grid and whose id begins so."""
    return [one for one in CLAIMS.values() if one.conditions and one.id.startswith(whose)]


def judge(
    claims: Iterable[Claim],
    settings: Sequence[tuple[Experiment, Experiment]],
    seeds: Sequence[int],
    store: Store | None = None,
    progress: bool = True,
) -> list[dict[str, Held]]:
    """Whether the claims hold at each setting, by id; those that do not apply there are left out.

    The conditions of all claims and settings are trained together, each once, which is much faster
    than one after the other.

    Args:
        claims: what to judge; see :func:`judged`.
        settings: each without matching and with.
        seeds: of every condition.
        store: as for :func:`faithnb.train`.
        progress: as for :func:`faithnb.train`.

    Raises:
        ValueError: if a claim has no conditions, or its rules and the data do not fit.
    """
    chosen = list(claims)
    if unfit := [one.id for one in chosen if one.conditions is None]:
        raise ValueError(f"{', '.join(unfit)}: not judged on a grid.")
    made = dict.fromkeys(one.conditions for one in chosen if one.conditions)
    conditions = [{make: make(base, matched) for make in made} for base, matched in settings]
    every = dict.fromkeys(
        e for of in conditions for some in of.values() for e in (some or {}).values()
    )
    names = {str(k): experiment for k, experiment in enumerate(every)}
    found = compare(names, seeds, store=store, progress=progress) if names else {}
    weights = {e: found[k].transcoder for k, e in names.items()}
    tables = {
        e: found[k].metrics().assign_coords(seed=("inst", list(seeds))) for k, e in names.items()
    }
    rows: list[dict[str, Held]] = []
    for (base, matched), of in zip(settings, conditions, strict=True):
        at = {
            make: Setting(
                base, matched, some,
                {k: weights[e] for k, e in some.items()}, {k: tables[e] for k, e in some.items()},
            )
            for make, some in of.items() if some is not None
        }  # fmt: skip
        rows.append({
            one.id: one.holds(one.measured(at[one.conditions]))
            for one in chosen
            if one.conditions in at and one.measured
        })  # fmt: skip
    return rows


def table(
    rows: Sequence[Mapping[str, Held]], settings: Sequence[Mapping[str, Any]]
) -> pd.DataFrame:
    """What :func:`judge` found: a row a setting, a column a claim, in the ledger's order."""
    names = list(settings[0])
    index = pd.MultiIndex.from_tuples([tuple(of[k] for k in names) for of in settings], names=names)
    found = pd.DataFrame(list(rows), index=index).astype(float)
    return found[[claim for claim in CLAIMS if claim in found]]


def for_ledger(found: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By claim: in what ``share`` of the ``n`` settings with something to judge it holds, and
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


def explained(claims: Iterable[str]) -> str:
    """How each claim is judged on a grid, as a table for the page."""
    rows = "".join(
        f"<tr><td>{html.escape(k)}</td><td>{html.escape(CLAIMS[k].rule_on_grid)}</td></tr>"
        for k in claims
    )
    head = "<tr><th>claim</th><th>judged at each setting</th></tr>"
    return f'<table class="ledger"><thead>{head}</thead><tbody>{rows}</tbody></table>'
