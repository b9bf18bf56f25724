"""The tasks."""

from __future__ import annotations

from faithnb.benchmark.task import Task
from faithnb.experiment import Experiment

TASKS = {
    task.name: task
    for task in (
        Task("abs-v1", Experiment(repeat_frac=0.1), twin="abs-point-v1"),
        Task(
            "abs-point-v1", Experiment(target="abs_with_point", repeat_frac=0.1), twin="abs-v1",
            has_mechanism=True,
        ),
    )
}  # fmt: skip
"""Every task by its name."""
