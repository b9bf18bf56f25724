"""Processes that train recipes beside one another."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

import torch

from faithnb.benchmark.recipe import class_named
from faithnb.common.errors import ParameterError
from faithnb.sweeps.workers import cores


@contextmanager
def pool(recipe: str, workers: int | None = None) -> Iterator[Executor | None]:
    """An executor for :func:`faithnb.benchmark.evaluate`; none where one process is enough.

    A process computes on one thread: trainings of this size gain little from a second one, and lose
    much by it where the machine does other work too.

    Args:
        recipe: a name of the package's, or ``path/to/file.py:Class``, which each process runs.
        workers: how many; as many as there are cores by default.

    Raises:
        ParameterError: if there cannot be so many.
    """
    workers = cores() if workers is None else workers
    if workers < 1:
        raise ParameterError(f"workers = {workers} is not allowed: it must be 1 or more.")
    if workers == 1:
        yield None
        return
    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (recipe,))
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _begin(recipe: str) -> None:
    """A process ends at once when the run is interrupted, and knows the recipe's class."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    torch.set_num_threads(1)
    if ":" in recipe:
        class_named(recipe)
