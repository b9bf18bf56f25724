"""A recipe's scores over seeds."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.recipe import Metered, configuration_of, name_of
from faithnb.benchmark.score import Place, scored
from faithnb.benchmark.task import Task
from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.common.progress import progress_bar
from faithnb.measures.stats import mean_interval
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
    ``seed``, the columns, ``state``, and ``failed``, a sentence where there is no score."""

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
) -> Evaluation:
    """Train a recipe on a task once for each seed, and score what it makes.

    A seed that fails keeps its sentence, and the others their scores.

    Args:
        recipe: a :class:`faithnb.benchmark.Recipe`, or several that differ in their sparsity.
        task: one or several of :data:`faithnb.benchmark.TASKS`.
        seeds: settings are chosen on seeds below 100.
        progress: show a bar over all of them.

    Raises:
        InputError: if a recipe has no ``fit``, or there is no seed.
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
    rows = []
    total = len(recipes) * len(tasks) * len(seeds)
    with progress_bar(total, "seed", progress, name_of(recipes[0])) as bar:
        for on in tasks:
            place = Place.of(on)
            for point, one in enumerate(recipes):
                for row in _rows(one, on, place, list(seeds)):
                    rows.append({"task": on.name, "point": point} | row)
                    bar.update()
    return Evaluation(name_of(recipes[0]), pd.DataFrame(rows))


def _rows(recipe: Any, task: Task, place: Place, seeds: list[int]) -> Iterator[dict[str, Any]]:
    sparsity = configuration_of(recipe).get("sparsity", np.nan)
    for seed, made in zip(seeds, _made(recipe, task, seeds), strict=True):
        row: dict[str, Any] = {"sparsity": sparsity, "seed": seed, "failed": made.failed}
        row |= dict.fromkeys(COLUMNS, np.nan) | {"state": ""}
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
