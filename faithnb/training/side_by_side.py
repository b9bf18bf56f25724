"""Ensembles trained side by side, each on threads of its own.

Two threads that share one product wait for each other at its end, and where another process keeps a
core busy they mostly wait. Threads that train other instances wait once, when all is done.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

ENOUGH = 4
"""Groups a thread from which on none is divided: the last of them may end alone."""

LEAST = 16
"""Instances that a part has at least: with fewer, the threads wait for the interpreter."""


def divided(groups: Sequence[list[int]], n_threads: int) -> list[list[int]]:
    """The groups, cut into parts of equal size so that each thread gets as many as the others.

    A group that would give parts of fewer than :data:`LEAST` stays whole.

    Args:
        groups: indices of instances that can share an ensemble.
        n_threads: 1 leaves them as they are.
    """
    if not groups or len(groups) >= ENOUGH * n_threads:
        return list(groups)
    n_parts = n_threads // math.gcd(len(groups), n_threads)
    parts = [-(-len(group) // n_parts) for group in groups]
    sizes = [
        size if size >= LEAST else len(group) for group, size in zip(groups, parts, strict=True)
    ]
    return [
        group[first : first + size]
        for group, size in zip(groups, sizes, strict=True)
        for first in range(0, len(group), size)
    ]


def side_by_side(
    work: Callable[[Task, threading.Event], Result],
    tasks: Sequence[Task],
    n_threads: int,
    large: bool = False,
) -> Iterator[tuple[Task, Result]]:
    """Each task with its result, in the order in which they end.

    Args:
        work: what is done with a task. It ends soon after its second argument is set, which
            happens when another task failed or the caller was interrupted.
        tasks: what there is to do.
        n_threads: how many of torch's threads there are for all of them.
        large: whether a task's products are worth several threads, where there are more threads
            than tasks; without it a task has one.
    """
    stop = threading.Event()
    if n_threads == 1 or not tasks:
        yield from ((task, work(task, stop)) for task in tasks)
        return
    n_workers = min(n_threads, len(tasks))
    each = n_threads // n_workers if large else 1
    at_once = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_workers, "training", torch.set_num_threads, (each,))
    try:
        pending = {pool.submit(work, task, stop): task for task in tasks}
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(at_once)  # the workers changed what new threads begin with
