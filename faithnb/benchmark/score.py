"""The scores of a module on a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from faithnb.benchmark.certified import certified
from faithnb.benchmark.columns import CERTIFIED, COLUMNS, NOT_CERTIFIED, WORDS
from faithnb.benchmark.task import Task
from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.data.sampling import pad_points
from faithnb.measures.memorization import MEMORIZED
from faithnb.measures.registry import MEASURES, Measure, View, remembering
from faithnb.measures.table import measured
from faithnb.model.foreign import Foreign
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

ASKED: tuple[Measure, ...] = tuple(
    MEASURES[name] for name in (*COLUMNS, "state") if name in MEASURES
)


@dataclass(frozen=True)
class Place:
    """Where a task is measured: in the basis in which its mechanism is written down."""

    layer: Layer
    """Its layer, whose Jacobian is left out where it is not defined."""
    x: Float[Tensor, "B d_in"]
    """Held-out inputs, in float64."""
    points: Float[Tensor, "n_points d_in"]
    """The points that repeat."""

    @classmethod
    def of(cls, task: Task, x: Tensor | None = None) -> Place:
        """That of a task, with its held-out inputs or others of that basis."""
        e = task.upright.setting
        x = e.evaluation_inputs() if x is None else x
        points = pad_points(e.points, e.d_in, torch.float64)
        return cls(e.make_target(kink="masked"), x.double(), points)


@settled()
def score(module: Any, task: Task) -> pd.Series:
    """What there is to say of a trained module on a task.

    Args:
        module: maps ``[B, d_in]`` to ``[B, d_out]``, a :class:`faithnb.Transcoder` of one instance
            or anything else that can be called. For the measures of features it needs ``encode``
            (to ``[B, n_features]``), for those of what they write also ``decode`` or ``W_dec``.
        task: one of :data:`faithnb.benchmark.TASKS`.

    Returns:
        the numbers of :data:`faithnb.benchmark.columns.COLUMNS`, but what training it did cost, and
        its ``state`` at the points. A measure that is not defined is NaN; one at a point is the
        mean over the points. Why a worst error is not certified stands in ``not_certified``.

    Raises:
        InputError: in a sentence, if the module is no such map.
    """
    return scored(module, task, Place.of(task))


def scored(module: Any, task: Task, place: Place) -> pd.Series:
    """:func:`score` at a place that is known."""
    one = beside(module, task, place)
    views = [View(one, place.layer, place.x, p) for p in place.points]
    of_base = measured(View(one, place.layer, place.x), [m for m in ASKED if not m.of_point])
    found: dict[str, Any] = {str(name): column.item() for name, column in of_base.items()}
    of_points = [m for m in ASKED if m.of_point]
    each = [measured(view, of_points) for view in views]
    for m in of_points:
        values = [table[m.name].item() for table in each]
        if m.words:
            found[m.name] = ", ".join(filter(None, values))
            found["memorized"] = _share_memorized(values)
        else:
            found[m.name] = float(np.mean(values)) if values else np.nan
    found["parameters"] = _parameters(module)
    found[CERTIFIED], found[NOT_CERTIFIED] = certified(one, place.layer, place.points)
    words = {name: found[name] for name in WORDS}
    return pd.Series(
        {name: found.get(name, np.nan) for name in COLUMNS} | words, name=task.name, dtype=object
    )


def beside(module: Any, task: Task, place: Place) -> Transcoder | Foreign:
    """A module as measures take it, in the basis of the task's mechanism.

    Raises:
        InputError: in a sentence, if it cannot be measured.
    """
    if isinstance(module, Transcoder):
        if len(module) != 1:
            raise InputError(
                f"an ensemble of {len(module)} is not allowed: score one of them, as module[0]."
            )
        for name in ("d_in", "d_out"):
            if (found := getattr(module, name)) != (wanted := getattr(task, name)):
                raise InputError(
                    f"a transcoder with {name} = {found} is not allowed: {task.name} has {name} = "
                    f"{wanted}."
                )
        if not all(torch.isfinite(w.double()).all() for w in module.weights().values()):
            raise InputError("a transcoder whose weights are not finite is not allowed.")
    module = task.canonical(module)
    if isinstance(module, Transcoder):
        return remembering(module.cpu())
    return Foreign(module, task.d_in, task.d_out, place.x)


def _share_memorized(states: list[str]) -> float:
    known = [state in MEMORIZED for state in states if state]
    return float(np.mean(known)) if known else np.nan


def _parameters(module: Any) -> float:
    """How many numbers it is made of; NaN for what is no torch module."""
    if not isinstance(module, nn.Module):
        return np.nan
    return float(sum(w.numel() for w in module.parameters()))
