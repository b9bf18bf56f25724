"""An entry is run again, and refused if its numbers do not come out.

Training in float32 on another machine differs in the last digits, and a long training may carry a
seed elsewhere by that. So at each point of the sweep the mean of a column over seeds is compared.
It may differ by one standard error over the seeds that were run again, or by one seed at the other
end of the column's range. No comparison turns on that little: a difference is found from 2.8
standard errors on. What a run took in seconds is not compared, nor a column that came later.

Where another processor carries several seeds elsewhere, a mean may lie further off by the same
code. That is no reason to accept it: it is refused, and both processors are named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from faithnb.benchmark.columns import BEFORE, CERTIFIED, COLUMNS, NOT_CERTIFIED
from faithnb.benchmark.entry import Entry, run
from faithnb.common.errors import InputError

STANDARD_ERRORS = 1.0
"""How far the mean over seeds may lie from what the entry says, in standard errors over those that
were run again: an entry cannot widen it."""

LEAST_SEEDS = 8
"""From so many on, one of them may end elsewhere."""

RELATIVE, ABSOLUTE = 1e-4, 1e-6
"""What the mean may differ by in any case."""

USUAL = (("relu", "abs-v1"), ("relu-matched", "abs-v1"))
"""What is run again where nothing is named: a recipe that is cheap, and a task."""

USUAL_POINTS = (2,)
"""Which points of their sweeps: that of the headline setting."""

COMPARED = [name for name in COLUMNS if name != "seconds"]


def check(
    path: Path,
    tasks: Sequence[str] | None = None,
    progress: bool = True,
    points: Sequence[int] | None = None,
    workers: int | None = 1,
) -> list[str]:
    """Run an entry again, with its recipe, sweep and seeds.

    Args:
        path: of its file.
        tasks: names of those that are run; all that it has by default.
        progress: show a bar.
        points: which of its sweep are run, from 0; all by default.
        workers: processes that train, see :func:`faithnb.benchmark.pool.pool`.

    Returns:
        a sentence for each number that does not come out.

    Raises:
        InputError: if it cannot be compared: its recipe has changed, or it lacks a task or point.
    """
    entry = Entry.load(path)
    held = list(dict.fromkeys(entry.rows.task))
    asked = held if tasks is None else list(tasks)
    if missing := [name for name in asked if name not in held]:
        raise InputError(f"{path.name} has no rows on {missing[0]}; it has {', '.join(held)}.")
    every = range(len(entry.configurations))
    chosen = list(every if points is None else points)
    if missing := [k for k in chosen if k not in every]:
        raise InputError(f"{path.name} has no point {missing[0]}; it has {len(every)}, from 0.")
    configurations = tuple(entry.configurations[k] for k in chosen)
    sparsities = [of.get("sparsity") for of in configurations]
    swept = None if None in sparsities else [float(of) for of in sparsities if of is not None]
    wrong: list[str] = []
    for task in asked:
        said = entry.rows[(entry.rows.task == task) & entry.rows.point.isin(chosen)]
        seeds = sorted(set(said.seed))
        again = run(entry.recipe, [task], seeds, swept, progress, path.parent, workers)
        if (again.code, again.configurations) != (entry.code, configurations):
            what = "configuration" if again.code == entry.code else "code"
            raise InputError(
                f"{path.name} is not what is run today: the {what} of {entry.recipe} has changed "
                "since. Run it anew and add the new file."
            )
        found = again.rows.assign(point=[chosen[k] for k in again.rows.point])
        if differs := list(unlike(said, found)):
            wrong += differs + _elsewhere(task, entry, again)
    return wrong


def _elsewhere(task: str, entry: Entry, again: Entry) -> list[str]:
    """A sentence where the processors differ, or the entry does not say its own."""
    there, here = (of.versions[task].get("processor") for of in (entry, again))
    if there == here:
        return []
    where = f"was run on {there}" if there else "does not say on which processor it was run"
    return [
        f"{task}: the entry {where}, and this is {here}. Another processor rounds differently, and "
        "training amplifies that."
    ]


def unlike(said: pd.DataFrame, found: pd.DataFrame) -> Iterator[str]:
    """A sentence for each mean over seeds that does not come out, and each count of failures."""
    keys = ["task", "point"]
    again = dict(list(found.groupby(keys)))
    for at, rows in said.groupby(keys):
        where = f"{at[0]}, point {at[1]}"
        if at not in again or set(again[at].seed) != set(rows.seed):
            yield f"{where}: other seeds were run."
            continue
        failed = [int((of.failed != "").sum()) for of in (rows, again[at])]
        if failed[0] != failed[1]:
            yield f"{where}: {failed[1]} seeds failed, the entry says {failed[0]}."
        before = NOT_CERTIFIED in rows and bool((rows[NOT_CERTIFIED] == BEFORE).all())
        for column in COMPARED:
            if before and column == CERTIFIED:
                continue
            if not _agree(*(of[column].to_numpy(float) for of in (rows, again[at]))):
                means = [_mean(of[column].to_numpy(float)) for of in (again[at], rows)]
                yield f"{where}: {column} is {means[0]:.5g}, the entry says {means[1]:.5g}."


def _agree(said: np.ndarray, found: np.ndarray) -> bool:
    """Whether two means over the same seeds are the same but for what another machine does."""
    known = [of[np.isfinite(of)] for of in (said, found)]
    if not len(known[0]) or not len(known[1]):
        return len(known[0]) == len(known[1])
    mean, now = known[0].mean(), known[1]
    error = now.std(ddof=1) / len(now) ** 0.5 if len(now) > 1 else 0.0
    one_seed = np.ptp(np.concatenate(known)) / len(now) if len(now) >= LEAST_SEEDS else 0.0
    bound = max(STANDARD_ERRORS * error, one_seed, RELATIVE * abs(mean), ABSOLUTE)
    return bool(abs(now.mean() - mean) <= bound)


def usual(folder: Path) -> list[tuple[Path, list[str], Sequence[int]]]:
    """The entries of :data:`USUAL` in a folder, each with its task, and :data:`USUAL_POINTS`.

    Raises:
        InputError: if one of them is not there.
    """
    found: list[tuple[Path, list[str], Sequence[int]]] = []
    for name, task in USUAL:
        paths = sorted(folder.glob(f"{name}@*.json"))
        if not paths:
            raise InputError(f"{folder} holds no entry of {name}, which is to be run again.")
        found.append((paths[0], [task], USUAL_POINTS))
    return found


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")
