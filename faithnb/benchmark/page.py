"""What the benchmark's page shows: all that the folder of the entries says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from faithnb.benchmark.audited import Audited, audits
from faithnb.benchmark.columns import COLUMNS, NOT_CERTIFIED
from faithnb.benchmark.compare import LEAST_SEEDS, Axis, comparisons
from faithnb.benchmark.entry import RESULTS, Entry, plain
from faithnb.benchmark.results import entries, table
from faithnb.benchmark.tasks import TASKS
from faithnb.measures.stats import mean_interval

AXES: tuple[Axis, ...] = ("l0", "fvu")
"""What is held equal where recipes are compared."""

SHOWN = 4
"""Digits of a number on the page."""


def page_of(folder: Path = RESULTS) -> dict[str, Any]:
    """All of a folder.

    Returns:
        ``columns``, ``tasks``, ``lenses`` by task and column, ``rows`` (a recipe at a point of its
        sweep, or a control, on a task: means over seeds with 95 % intervals, and why
        the worst error is not certified), ``differences``
        between recipes by task and axis, ``entries``, and how many seeds decide, ``least``.

    Raises:
        InputError: if a file of the folder is not what it must be.
    """
    found, kept = entries(folder), audits(folder)
    every = table(found)
    return {
        "least": LEAST_SEEDS,
        "columns": [vars(column) for column in COLUMNS.values()],
        "tasks": [{"name": t.name, "about": t.about, "twin": t.twin} for t in TASKS.values()],
        "lenses": {
            name: {str(c): plain(row) for c, row in each.verdicts.to_dict("index").items()}
            for name, each in kept.items()
        },
        "rows": [*_of_controls(kept), *_of_recipes(every)],
        "differences": differences(every, kept),
        "entries": [_about(entry) for entry in found],
    }


def differences(every: pd.DataFrame, kept: Mapping[str, Audited]) -> list[dict[str, Any]]:
    """Every pair of recipes on every task, at equal L0 and at equal FVU, by the columns that have
    been earned there."""
    found: list[dict[str, Any]] = []
    for task, each in kept.items():
        rows = every[every.task == task] if len(every) else every
        for axis in AXES if len(rows) else ():
            pairs = comparisons(rows, axis, [name for name in each.earned if name != axis])
            found += [plain(row | {"axis": axis}, SHOWN) for row in pairs.to_dict("records")]
    return found


def counts(page: Mapping[str, Any]) -> pd.DataFrame:
    """How many differences are decided: a row a task, and for both axes how many of how many."""
    if not page["differences"]:
        return pd.DataFrame()
    rows = pd.DataFrame(page["differences"]).groupby(["task", "axis"]).decided
    said = rows.sum().astype(str) + " of " + rows.size().astype(str)
    table = said.unstack().rename(columns={"l0": "at equal L0", "fvu": "at equal FVU"})
    return table.rename_axis(index=None, columns="task")


def table_of_tasks() -> pd.DataFrame:
    """What there is to be explained: a row a task."""
    rows = {
        task.name: {"what it is": task.about, "inputs": task.d_in, "twin": task.twin}
        for task in TASKS.values()
    }
    return pd.DataFrame(rows).T.rename_axis(columns="task")


def state_of(page: Mapping[str, Any]) -> str:
    """How much there is, in a sentence."""
    n, on = len(page["entries"]), len({row["task"] for row in page["rows"] if row["seeds"]})
    if not n:
        return "The folder holds no entry yet."
    return (
        f"The folder holds {n} {'entry' if n == 1 else 'entries'}, on {on} of {len(TASKS)} tasks."
    )


def _of_recipes(every: pd.DataFrame) -> list[dict[str, Any]]:
    found = []
    keys = ["task", "recipe", "point", "sparsity"]
    for at, rows in every.groupby(keys, dropna=False) if len(every) else ():
        good = rows[rows.failed == ""]
        found.append(
            plain(dict(zip(keys, at, strict=True)))
            | {"seeds": len(good), "failed": len(rows) - len(good), "control": False}
            | {"values": [_mean(good[name].to_numpy(float)) for name in COLUMNS]}
            | {NOT_CERTIFIED: " ".join(sorted({*good[NOT_CERTIFIED]} - {""}))}
        )
    return found


def _of_controls(kept: Mapping[str, Audited]) -> list[dict[str, Any]]:
    return [
        {"task": task, "recipe": name, "point": 0, "sparsity": None, "seeds": 0, "failed": 0}
        | {"control": True, "values": [_short([row[column]]) for column in COLUMNS]}
        | {NOT_CERTIFIED: row[NOT_CERTIFIED]}
        for task, each in kept.items()
        for name, row in each.controls.to_dict("index").items()
    ]


def _mean(values: np.ndarray) -> list[float] | None:
    """Mean and interval over the seeds for which it is defined."""
    values = values[np.isfinite(values)]
    return _short([values.mean(), *mean_interval(values.tolist())]) if len(values) else None


def _short(values: Sequence[float]) -> list[float] | None:
    """To the digits that a page needs; ``None`` for what is not a number."""
    return [float(f"{v:.{SHOWN}g}") for v in values] if np.isfinite(values).all() else None


def _versions(entry: Entry) -> list[str]:
    """A sentence for each set of versions that it was run with."""
    of: dict[str, list[str]] = {}
    for task, found in entry.versions.items():
        of.setdefault(", ".join(map(" ".join, found.items())), []).append(task)
    if len(of) == 1:
        return list(of)
    return [f"{said} (on {', '.join(tasks)})" for said, tasks in of.items()]


def _about(entry: Entry) -> dict[str, Any]:
    failures = entry.rows[entry.rows.failed != ""]
    return {
        "name": entry.name, "file": entry.file_name, "recipe": entry.recipe, "code": entry.code,
        "configurations": list(entry.configurations), "versions": _versions(entry),
        "seeds": sorted(set(entry.rows.seed.tolist())), "tasks": sorted(set(entry.rows.task)),
        "failures": [f"{row.task}, seed {row.seed}: {row.failed}" for row in failures.itertuples()],
    }  # fmt: skip
