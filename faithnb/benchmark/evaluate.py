"""A recipe's scores over seeds."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from faithnb.benchmark.columns import COLUMNS, WORDS
from faithnb.benchmark.recipe import Metered, configuration_of, name_of
from faithnb.benchmark.score import Place, scored
from faithnb.benchmark.task import Task
from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.common.progress import progress_bar
from faithnb.measures.stats import mean_interval
from faithnb.sweeps.workers import width
from faithnb.training.ensemble import DivergenceWarning

SHOWN = ("fvu", "l0", "mechanism_error", "mechanism_error_at_p", "memorized", "parts_error",
         "patching_error_at_p", "jacobian_error_at_p")  # fmt: skip
"""The columns of a summary."""


@dataclass(frozen=True)
class Evaluation:
    """What a recipe came to."""

    name: str
    """The recipe's."""
    rows: pd.DataFrame
    """A row for each task, point of the sweep and seed: ``task``, ``point``, ``sparsity``,
    ``seed``, the columns, the words of a score, and ``failed``: a sentence where there is no
    score."""

    def summary(self) -> pd.DataFrame:
        """A row for each task and point: how many seeds failed, and means over the others with
        their 95 % intervals."""
        found = {}
        for at, rows in self.rows.groupby(["task", "point", "sparsity"], dropna=False):
            good = rows[rows.failed == ""]
            said = {name: _mean(good[name].to_numpy(float)) for name in SHOWN}
            seconds = good.seconds.mean() if len(good) else np.nan
            found[at] = {
                "seeds": len(good), "failed": len(rows) - len(good), **said,
                "seconds": f"{seconds:.1f}",
            }  # fmt: skip
        table = pd.DataFrame(found).T
        table.index.names = ["task", "point", "sparsity"]
        return table

    def failures(self) -> list[str]:
        """A sentence for each seed without a score."""
        bad = self.rows[self.rows.failed != ""]
        return [f"{row.task}, seed {row.seed}: {row.failed}" for row in bad.itertuples()]

    def __str__(self) -> str:
        return "\n".join([self.name, self.summary().to_string(), *self.failures()])

    def _repr_html_(self) -> str:
        return str(self.summary().to_html())


def _mean(values: np.ndarray) -> str:
    """Over the seeds where it is defined."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "–"
    low, high = mean_interval(values.tolist())
    return f"{values.mean():.3g} [{low:.3g}, {high:.3g}]"


def evaluate(
    recipe: Any,
    task: Task | Sequence[Task],
    seeds: Sequence[int] = tuple(range(16)),
    progress: bool = True,
    executor: Executor | None = None,
) -> Evaluation:
    """Train a recipe on a task once for each seed, and score what it makes.

    A seed that fails keeps its sentence, and the others their scores.

    Args:
        recipe: a :class:`faithnb.benchmark.Recipe`, or several that differ in their sparsity.
        task: one or several of :data:`faithnb.benchmark.TASKS`.
        seeds: settings are chosen on seeds below 100.
        progress: show a bar over all of them.
        executor: whose workers train and score, as of ``concurrent.futures``: they must be able to
            import the recipe's class. This process by default.

    Raises:
        InputError: if a recipe has no ``fit``, or there is no seed, or a worker is lost.
    """
    recipes = list(recipe) if isinstance(recipe, (list, tuple)) else [recipe]
    tasks = [task] if isinstance(task, Task) else list(task)
    for one in recipes:
        if not callable(getattr(one, "fit", None)) or isinstance(one, type):
            raise InputError(
                f"recipe = {one!r} is not allowed: it must be an object with fit(task, seed)."
            )
    if not recipes or not tasks or not len(seeds):
        raise InputError("a recipe, a task and a seed are needed at least.")
    parts = 1 if executor is None else width(executor)
    jobs: list[Job] = [
        (point, one, on, some)
        for on in tasks
        for point, one in enumerate(recipes)
        for some in _split(list(seeds), parts if hasattr(one, "fit_many") else len(seeds))
    ]
    total = len(recipes) * len(tasks) * len(seeds)
    with progress_bar(total, "seed", progress, name_of(recipes[0])) as bar:
        found = dict(_done(jobs, executor, bar.update))
    rows = [row for k in range(len(jobs)) for row in found[k]]
    return Evaluation(name_of(recipes[0]), pd.DataFrame(rows))


Job = tuple[int, Any, Task, list[int]]
"""A point of the sweep, its recipe, a task, and the seeds that are trained together."""


def _split(seeds: list[int], parts: int) -> Iterator[list[int]]:
    size = -(-len(seeds) // parts)
    for first in range(0, len(seeds), size):
        yield seeds[first : first + size]


def _done(
    jobs: Sequence[Job], executor: Executor | None, tell: Callable[[int], Any]
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The rows of each job, as soon as it is done."""
    if executor is None:
        for k, job in enumerate(jobs):
            rows = []
            for row in _rows(*job):
                rows.append(row)
                tell(1)
            yield k, rows
        return
    waiting = {executor.submit(_whole, job): k for k, job in enumerate(jobs)}
    for future in as_completed(waiting):
        try:
            rows = future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that trained was lost; the machine may be out of memory. Try with fewer "
                "workers."
            ) from error
        except Exception as error:
            raise InputError(f"no other process can run this recipe: {sentence(error)}") from error
        tell(len(rows))
        yield waiting[future], rows


def _whole(job: Job) -> list[dict[str, Any]]:
    return [*_rows(*job)]


_place = lru_cache(maxsize=1)(Place.of)


def _rows(point: int, recipe: Any, task: Task, seeds: list[int]) -> Iterator[dict[str, Any]]:
    sparsity, place = configuration_of(recipe).get("sparsity", np.nan), _place(task)
    for seed, made in zip(seeds, _made(recipe, task, seeds), strict=True):
        row: dict[str, Any] = {"task": task.name, "point": point, "sparsity": sparsity}
        row |= {"seed": seed, "failed": made.failed}
        row |= dict.fromkeys(COLUMNS, np.nan) | dict.fromkeys(WORDS, "")
        if not made.failed:
            try:
                with settled():
                    row |= scored(made.module, task, place).to_dict()
            except Exception as error:
                row["failed"] = sentence(error)
        yield row | {"seconds": made.seconds, "samples": made.samples}


def cpu_seconds() -> float:
    """What this process and those that it started have computed so far, on all threads. Other work
    on the machine does not count."""
    of_others = os.times()
    return time.process_time() + of_others.children_user + of_others.children_system


@dataclass
class Made:
    """What a recipe gave for a seed."""

    module: Any = None
    failed: str = ""
    seconds: float = np.nan
    samples: float = np.nan


def _made(recipe: Any, task: Task, seeds: list[int]) -> Iterator[Made]:
    if hasattr(recipe, "fit_many"):
        metered, before = Metered(task), cpu_seconds()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DivergenceWarning)  # each seed says it
                found = list(recipe.fit_many(metered, seeds))
            if len(found) != len(seeds):
                raise InputError(f"fit_many gave {len(found)} modules for {len(seeds)} seeds")
        except Exception as error:
            yield from [Made(failed=f"fit_many raised {sentence(error)}")] * len(seeds)
            return
        seconds = (cpu_seconds() - before) / len(seeds)
        samples = _samples(recipe, task, metered.seen / len(seeds))
        for one in found:
            failed = sentence(one) if isinstance(one, Exception) else ""
            yield Made(one, failed, seconds, samples)
        return
    for seed in seeds:
        metered, before = Metered(task), cpu_seconds()
        try:
            module, failed = recipe.fit(metered, seed), ""
            if not callable(module):
                failed = f"fit gave a {type(module).__name__}, not a module."
            elif isinstance(module, nn.Module):
                module.eval()
        except Exception as error:
            module, failed = None, f"fit raised {sentence(error)}"
        seconds = cpu_seconds() - before
        yield Made(module, failed, seconds, _samples(recipe, task, metered.seen))


def _samples(recipe: Any, task: Task, seen: float) -> float:
    """What the recipe says that it sees of a task, or what it was given; NaN if it was given
    none, and so took its data from elsewhere."""
    says = getattr(recipe, "samples", None)
    return float(says(task)) if callable(says) else (float(seen) or np.nan)


def sentence(error: Exception) -> str:
    """What went wrong, on one line."""
    said = (str(error).splitlines() or [""])[0].strip()
    named = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
    return f"{named}{said or 'nothing was said'}".rstrip(".") + "."
