"""An entry: a recipe's scores in a file that anybody can run again."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import faithnb
from faithnb.benchmark.columns import BEFORE, CERTIFIED, COLUMNS, NOT_CERTIFIED, WORDS
from faithnb.benchmark.evaluate import Evaluation, evaluate
from faithnb.benchmark.pool import pool
from faithnb.benchmark.recipe import code_of, configuration_of, name_of
from faithnb.benchmark.recipes import recipes_named
from faithnb.benchmark.task import Task
from faithnb.benchmark.tasks import TASKS
from faithnb.common.errors import InputError
from faithnb.common.files import CHECKOUT, read_file, read_json, write_whole
from faithnb.common.processor import processor_name
from faithnb.training.store import source_hash

FORMAT = "faithnb entry 1"

RESULTS = CHECKOUT / "results"
"""Where entries lie. To add a file is to submit."""

DIGITS = 7
"""Digits of a number in a file."""

KEYS = ("format", "name", "recipe", "configurations", "code", "versions", "rows")


@dataclass(frozen=True)
class Entry:
    """A recipe's scores, and all that is needed to get them again."""

    name: str
    recipe: str
    """How it is found: a name of the package's, or ``file.py:Class``, from the entry's folder."""
    configurations: tuple[dict[str, Any], ...]
    """One for each point of its sweep."""
    code: str
    """Hash of what the recipe's source does, if it is not the package's."""
    versions: dict[str, dict[str, str]]
    """What it was run with on each task."""
    rows: pd.DataFrame

    @property
    def hash(self) -> str:
        """Of what decides its numbers but for the machine: recipe, configurations and code."""
        said = json.dumps([self.name, self.recipe, self.configurations, self.code], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:10]

    @property
    def file_name(self) -> str:
        """``<recipe>@<hash>.json``."""
        return f"{self.name}@{self.hash}.json"

    def save(self, folder: Path) -> Path:
        """Write it, a row a line, so that a change shows in a diff."""
        about = {name: getattr(self, name) for name in KEYS[1:-1]}
        path = folder / self.file_name
        write_rows(path, {"format": FORMAT, **about}, {"rows": self.rows})
        return path

    @classmethod
    def load(cls, path: Path) -> Entry:
        """Read one.

        Raises:
            InputError: in a sentence, if the file holds none, or not the one that its name says.
        """
        try:
            found = read_json(read_file(Path(path)).decode())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise InputError(f"{path} is no entry: its format is not {FORMAT!r}.")
        if missing := [name for name in KEYS if name not in found]:
            raise InputError(f"{path} is no entry: it lacks {missing[0]}.")
        rows = table_in(found["rows"], path)
        if CERTIFIED not in rows:
            rows = rows.assign(**{CERTIFIED: np.nan, NOT_CERTIFIED: BEFORE})
        needed = ("task", "point", "sparsity", "seed", "failed", *WORDS, *COLUMNS)
        if missing := [name for name in needed if name not in rows]:
            raise InputError(f"{path} is no entry: its rows lack {missing[0]}.")
        types = dict.fromkeys(["sparsity", *COLUMNS], float) | {"point": int, "seed": int}
        try:
            rows = rows.astype(types)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path} is no entry: {error}.") from None
        of = {name: found[name] for name in KEYS[1:-1]}
        of["configurations"] = tuple(of["configurations"])
        entry = cls(**of, rows=rows)
        if Path(path).name != entry.file_name:
            raise InputError(
                f"{path} is not allowed: what it holds belongs into {entry.file_name}."
            )
        return entry


def entry_of(evaluation: Evaluation, recipe: str, made: Sequence[Any]) -> Entry:
    """An evaluation as an entry.

    Args:
        evaluation: of these recipes.
        recipe: how they are found, see :func:`faithnb.benchmark.recipes.recipes_named`.
        made: the recipes, one for each point.
    """
    now = versions(made[0])
    return Entry(
        evaluation.name, recipe, tuple(map(configuration_of, made)), code_of(made[0]),
        {str(task): now for task in evaluation.rows.task.unique()}, evaluation.rows,
    )  # fmt: skip


def versions(recipe: Any = None) -> dict[str, str]:
    """What numbers may depend on besides a recipe's own code."""
    return {
        "faithnb": faithnb.__version__,
        "training": source_hash("trained"), "measures": source_hash("measures"),
        "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(), "machine": platform.machine(),
        "processor": processor_name(),
        **getattr(recipe, "versions", {}),
    }  # fmt: skip


def run(
    recipe: str,
    tasks: Sequence[str],
    seeds: Sequence[int],
    sparsities: Sequence[float] | None = None,
    progress: bool = True,
    folder: Path | None = None,
    workers: int | None = 1,
) -> Entry:
    """Evaluate a recipe by its name.

    Args:
        recipe: a name of the package's, or ``file.py:Class``.
        tasks: their names.
        seeds: of the recipe.
        sparsities: the points of its sweep; the recipe's own by default.
        progress: show a bar.
        folder: where a file's path starts; here by default.
        workers: processes that train, see :func:`faithnb.benchmark.pool.pool`.
    """
    spec = recipe if folder is None or ":" not in recipe else str(folder / recipe)
    made = recipes_named(spec, sparsities)
    with pool(spec, workers) as executor:
        done = evaluate(made, [TASKS[name] for name in tasks], seeds, progress, executor)
    return entry_of(done, recipe, made)


def run_into(
    folder: Path, recipe: str, made: Sequence[Any], tasks: Sequence[Task], seeds: Sequence[int],
    executor: Executor | None = None,
) -> Iterator[str]:  # fmt: skip
    """Evaluate a recipe and save its entry after each task, so that an interrupted run goes on
    where it was, and an entry can take in one task after the other.

    Args:
        folder: where entries lie.
        recipe: how it is found from there.
        made: the recipes, one for each point.
        tasks: what is run.
        seeds: of the recipe. Those that the entry has on a task are kept and not run again. Where
            some are missing and the package has changed in between, all are run, the kept ones too.
        executor: whose workers train; this process by default.

    Yields:
        for each task what was found, and that it has been written.
    """
    kept = entry_of(
        Evaluation(name_of(made[0]), pd.DataFrame({"task": [], "seed": []})), recipe, made
    )
    path = folder / kept.file_name
    if path.exists():
        kept = Entry.load(path)
    order, now = [*TASKS], versions(made[0])
    for task in tasks:
        has = set(kept.rows.seed[kept.rows.task == task.name])
        missing = set(seeds) - has
        if not missing:
            yield f"{task.name}: {path.name} has it already."
            continue
        same = kept.versions.get(task.name) == now
        again = sorted(missing if same else has | missing)
        done = evaluate(made, task, again, executor=executor)
        old = kept.rows if same else kept.rows[kept.rows.task != task.name]
        rows = pd.concat([of for of in (old, done.rows) if len(of)])
        rows = rows.sort_values(
            ["task", "point", "seed"], ignore_index=True,
            key=lambda of: of.map(order.index) if of.name == "task" else of,
        )  # fmt: skip
        kept = replace(kept, rows=rows, versions=kept.versions | {task.name: now})
        yield f"{task.name}: {done}\nWritten: {kept.save(folder)}"


def write_rows(path: Path, about: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]) -> None:
    """Write a file of tables, a row a line, so that a change shows in a diff.

    Args:
        path: its folder is made if need be.
        about: what stands before them.
        tables: by name.
    """
    parts = [json.dumps(about, indent=1)[:-2]]
    for name, table in tables.items():
        rows = ",\n".join(json.dumps(list(plain(row).values())) for row in table.to_dict("records"))
        head = json.dumps([*table.columns])
        parts.append(f'"{name}": {{"columns": {head}, "data": [\n{rows}\n]}}')
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ",\n ".join(parts) + "}\n")


def table_in(said: Any, path: Path) -> pd.DataFrame:
    """A table of such a file.

    Raises:
        InputError: if it is none.
    """
    try:
        return pd.DataFrame(said["data"], columns=said["columns"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not allowed: its table cannot be read: {error}.") from None


def plain(row: dict[str, Any], digits: int = DIGITS) -> dict[str, Any]:
    """A row as JSON can say it: what is not defined is null."""
    return {name: _rounded(value, digits) for name, value in row.items()}


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value
