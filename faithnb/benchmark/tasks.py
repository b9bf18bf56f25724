"""The tasks, each beside its negative twin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from faithnb.benchmark.points import (
    Draw,
    as_points,
    of_coordinates,
    of_directions,
    of_groups,
    of_layers,
)
from faithnb.benchmark.task import Task
from faithnb.common.errors import InputError
from faithnb.data.structured import in_sequence
from faithnb.experiment import Experiment

GROUPS = (1.0, 0.5, 0.0, 0.0) * 2 + (0.0, 0.0, 1.0, 1.0)


def _with_twin(
    name: str, twin_layer: str, about: str, draw: Draw = of_coordinates, **setting: Any
) -> Iterator[Task]:
    """A task whose layer has no mechanism for its point, and the one whose layer has."""
    e = Experiment(repeat_frac=0.1, **setting)
    pair = f"{name}-v1", f"{name}-point-v1"
    yield Task(pair[0], e, pair[1], about=about, draw_point=draw)
    yield Task(
        pair[1], replace(e, target=twin_layer), pair[0], has_mechanism=True, draw_point=draw,
        about=f"{about} Its layer has a mechanism for the point.",
    )  # fmt: skip


TASKS: dict[str, Task] = {
    task.name: task
    for pair in (
        _with_twin(
            "abs", "abs_with_strong_point",
            "|x| on sparse data; a point of three ones repeats.",
        ),
        _with_twin(
            "coactivation", "abs_with_pattern",
            "|x| on sparse data; three coordinates act together at varying strengths, and no input "
            "repeats.",
            point_variation="independent", variation_scale=0.3,
        ),
        _with_twin(
            "rotated", "rotated_with_point",
            "ReLU circuits read and write 40 directions in 24 dimensions, none along an axis; a "
            "combination of three directions repeats.",
            of_directions, target="rotated", data="rotated", d_in=24, density=0.04,
            points=as_points(of_directions(0, 24, equal=True)),
        ),
        _with_twin(
            "smooth", "smooth_abs_with_point",
            "|x| without its kink on sparse data; a point of three ones repeats.",
            target="smooth_abs",
        ),
        _with_twin(
            "superposed", "superposed_once_with_point",
            "A trained layer computes |x| with three quarters of the neurons that this takes; a "
            "point of three ones repeats.",
            target="superposed_once", density=0.05,
        ),
        _with_twin(
            "combinations", "combinations_with_point",
            "Larger magnitudes, products of signs, AND and thresholds of coordinates that act in "
            "pairs; a point of three pairs repeats.",
            of_groups, target="combinations", data="pairs", d_in=24, density=0.1, points=(GROUPS,),
        ),
        _with_twin(
            "layers", "two_layers_with_point",
            "|x| in two layers in sequence, the second of what the first and something else have "
            "added to the stream; an input of both with three coordinates that act repeats.",
            of_layers, target="two_layers", data="two_layers", d_in=24,
            points=as_points(in_sequence(torch.tensor([1.0] * 3 + [0.0] * 9))),
        ),
    )
    for task in pair
}  # fmt: skip
"""Every task by its name."""


def task_named(name: str) -> Task:
    """A task by its name, or the hidden variant of one: ``"abs-v1"``, ``"abs-v1+7"``.

    Raises:
        InputError: if there is none.
    """
    of, plus, seed = name.partition("+")
    if of not in TASKS or (plus and not seed.isdecimal()):
        raise InputError(
            f"task = {name!r} is not allowed: it must be one of {', '.join(TASKS)}, or one of them "
            "with a seed, as in abs-v1+7."
        )
    return TASKS[of].hidden(int(seed)) if plus else TASKS[of]
