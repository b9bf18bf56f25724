"""What a recipe is: anything that makes a module of a task and a seed."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from faithnb.benchmark.task import Task
from faithnb.common.errors import InputError, ParameterError, shown
from faithnb.common.extensions import PACKAGE, is_own
from faithnb.common.meaning import meaning

PLAIN = (bool, int, float, str, type(None))


@runtime_checkable
class Recipe(Protocol):
    """A way to train.

    It may also have a ``name``, by default that of its class; a ``configuration``, by default its
    attributes that are numbers or words; a number ``sparsity`` that it can be made with; for a
    sweep over it ``sparsities``, its points; ``versions`` of what it needs besides; and
    ``fit_many(task, seeds)`` where many seeds are trained at once.
    """

    def fit(self, task: Task, seed: int) -> Any:
        """A module that maps ``[B, d_in]`` to ``[B, d_out]``, each row by itself.

        Args:
            task: its ``batches(batch_size, seed)`` and ``sample(n, seed, step)`` give data, its
                ``layer`` what to explain; it holds a recipe to its ``samples``.
            seed: of whatever is random.
        """


class Metered:
    """A task that counts what a recipe sees of it, and gives no more than it allows."""

    def __init__(self, task: Task):
        self._task, self.seen = task, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def sample(self, n: int, seed: int, step: int = 0) -> Float[Tensor, "n d_in"]:
        """As :meth:`faithnb.benchmark.task.Task.sample`.

        Raises:
            InputError: where it would be more than the task allows.
        """
        self._count(n)
        return self._task.sample(n, seed, step)

    def batches(self, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As :meth:`faithnb.benchmark.task.Task.batches`.

        Raises:
            InputError: where it would be more than the task allows.
        """
        for x, y in self._task.batches(batch_size, seed):
            self._count(len(x))
            yield x, y

    def _count(self, n: int) -> None:
        if self.seen + n > self._task.samples:
            raise InputError(
                f"the recipe saw {self.seen} samples and asked for {n} more; {self._task.name} "
                f"allows {self._task.samples}"
            )
        self.seen += n


def name_of(recipe: Any) -> str:
    """What it is called in tables and files."""
    return str(getattr(recipe, "name", type(recipe).__name__))


def configuration_of(recipe: Any) -> dict[str, Any]:
    """What it was made with, as far as JSON can say it."""
    said = getattr(recipe, "configuration", None)
    if said is None:
        said = asdict(recipe) if is_dataclass(recipe) else vars(recipe)  # type: ignore[arg-type]
        said = {name: value for name, value in said.items() if _is_plain(value)}
    return json.loads(json.dumps(said))  # as it is read again


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN)


def code_of(recipe: Any) -> str:
    """Hash of what the source of somebody's recipe does, of the file that its class stands in. For
    one of the package it is the package's name: whether a change of the package matters to an entry
    is for the numbers to say, when it is run again."""
    of = type(recipe)
    if is_own(of):
        return PACKAGE
    try:
        own = meaning(Path(inspect.getfile(of)).read_bytes())
    except (OSError, TypeError):  # written into a notebook
        try:
            own = meaning(inspect.getsource(of).encode())
        except (OSError, TypeError):
            return "unknown"
    return own[:16]


def points_of(made: Any, sparsities: Sequence[float] | None = None) -> list[Any]:
    """The recipes of a sweep over sparsity.

    Args:
        made: a class of recipes.
        sparsities: their settings; by default the class's own, one recipe as it is if it has none.
    """
    asked = getattr(made, "sparsities", None) if sparsities is None else sparsities
    if asked is None:
        return [made()]
    return [made(sparsity=sparsity) for sparsity in asked]


def class_named(spec: str) -> Any:
    """A class of recipes in somebody's file.

    Args:
        spec: ``path/to/file.py:Class``. The file is run.

    Raises:
        ParameterError: if there is none.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise ParameterError(
            f"recipe = {shown(spec)} is not allowed: it must be one of the package, or "
            "path/to/file.py:Class of a file that is there."
        )
    module_name = f"recipe_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    about = importlib.util.spec_from_file_location(module_name, file)
    assert about is not None
    assert about.loader is not None
    module = importlib.util.module_from_spec(about)
    sys.modules[module_name] = module  # where inspect and dataclasses look for it
    try:
        about.loader.exec_module(module)
    except Exception as error:
        raise ParameterError(
            f"recipe = {shown(spec)} cannot be run here: {type(error).__name__}: {error}."
        ) from error
    if not callable(getattr(getattr(module, name, None), "fit", None)):
        raise ParameterError(
            f"recipe = {shown(spec)} is not allowed: {path} has no class {name!r} with a fit."
        )
    return getattr(module, name)
