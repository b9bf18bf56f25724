"""The package's own recipes: an experiment of each architecture, swept over its sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from faithnb.benchmark.recipe import class_named, points_of
from faithnb.benchmark.task import Task
from faithnb.common.errors import InputError
from faithnb.experiment import Experiment
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import train

KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "topk": ("k", (1, 2, 3, 4)),
    "batch_topk": ("k", (1, 1.5, 2, 3)),
    "matryoshka": ("k", (1, 1.5, 2, 3)),
}
"""What an architecture's sparsity is set by, and the points of its sweep."""

PENALTY = ("sparsity_coefficient", (0.02, 0.05, 0.1, 0.2))
"""That of the others."""

MATCHED = {"jacobian_matching": "finite", "jacobian_coefficient": 0.1}
"""Matching that removes datapoint features and keeps the task, chosen on seeds below 100."""


@dataclass(frozen=True)
class Trained:
    """An architecture trained by the package, as a task's setting says but for a few fields."""

    architecture: str = "relu"
    sparsity: float = 0.1
    """The weight of its penalty, or how many features it keeps."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Further fields of :class:`faithnb.Experiment`."""
    name: str = ""
    """By default that of the architecture."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.architecture)

    def experiment(self, task: Task, seed: int) -> Experiment:
        """What is trained: as many steps as the task's samples allow, but no more than its setting
        has."""
        e, (knob, _) = task.setting, KNOBS.get(self.architecture, PENALTY)
        given: dict[str, Any] = {knob: self.sparsity}
        if knob != PENALTY[0]:
            given |= {"sparsity_penalty": "none", PENALTY[0]: 0.0}
        given |= {"architecture": self.architecture, "seed": seed} | self.fields
        e = replace(e, **given)
        return replace(e, steps=min(e.steps, task.samples // e.batch_size))

    def samples(self, task: Task) -> int:
        """How many it sees."""
        e = self.experiment(task, 0)
        return e.steps * e.batch_size

    def fit(self, task: Task, seed: int) -> Transcoder:
        """One of :meth:`fit_many`."""
        (found,) = self.fit_many(task, [seed])
        if isinstance(found, Exception):
            raise found
        return found

    def fit_many(self, task: Task, seeds: Sequence[int]) -> list[Transcoder | Exception]:
        """All seeds as one ensemble; an error in place of one that diverged."""
        trained = train([self.experiment(task, seed) for seed in seeds], progress=False)
        return [
            InputError("training diverged") if i in trained.diverged else trained[i]
            for i in range(len(trained))
        ]


RECIPES: dict[str, Any] = {
    "relu": partial(Trained, "relu"),
    "relu-matched": partial(Trained, "relu", fields=MATCHED, name="relu-matched"),
    "relu-skip": partial(Trained, "relu", fields={"skip": True}, name="relu-skip"),
    "topk": partial(Trained, "topk"),
    "batch_topk": partial(Trained, "batch_topk"),
    "matryoshka": partial(Trained, "matryoshka"),
    "jumprelu": partial(Trained, "jumprelu", fields={"sparsity_penalty": "l0"}),
    "gated": partial(Trained, "gated", fields={"sparsity_penalty": "l1"}),
    "molt": partial(Trained, "molt"),
    "crosscoder": partial(Trained, "crosscoder"),
    "cross_layer": partial(Trained, "cross_layer"),
}
"""How the package's recipes are made, by name."""


def recipes_named(spec: str, sparsities: Sequence[float] | None = None) -> list[Any]:
    """The recipes of a sweep over sparsity.

    Args:
        spec: a name in :data:`RECIPES`, or ``path/to/file.py:Class``.
        sparsities: by default those of the recipe.

    Raises:
        ParameterError: if there is no such recipe.
    """
    if spec not in RECIPES:
        return points_of(class_named(spec), sparsities)
    _, own = KNOBS.get(RECIPES[spec]().architecture, PENALTY)
    return points_of(RECIPES[spec], sparsities or own)
