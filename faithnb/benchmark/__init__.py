"""Tasks with a known mechanism, and what a recipe for sparse layers is scored by."""

from faithnb.benchmark.evaluate import Evaluation, evaluate
from faithnb.benchmark.recipe import Recipe
from faithnb.benchmark.score import score
from faithnb.benchmark.task import Task
from faithnb.benchmark.tasks import TASKS

__all__ = ["TASKS", "Evaluation", "Recipe", "Task", "evaluate", "score"]
