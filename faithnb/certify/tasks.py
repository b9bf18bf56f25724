"""Programs that wait for a solver: one after the other or in processes, each kept once solved."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray

from faithnb.certify.piecewise import Piecewise
from faithnb.certify.program import Program, Solved
from faithnb.common.files import PACKAGE
from faithnb.common.meaning import meaning
from faithnb.common.store import Rows

ALONE = 5.0
"""Seconds of programs one after the other before processes are started, which takes a while."""


@dataclass(frozen=True)
class Task:
    """One program: the largest of a goal of a function on a part of ``[−1, 1]^m``; see
    :meth:`faithnb.certify.program.Program.largest`."""

    function: Piecewise
    of_input: Float[ndarray, "m"]
    of_h: Float[ndarray, "n"]
    of_on: Float[ndarray, "n"]
    offset: float
    box: tuple[Float[ndarray, "m"], Float[ndarray, "m"]]
    margin: Float[ndarray, "n"]
    least: float

    def key(self) -> str:
        """Of everything that decides the answer."""
        f, digest = self.function, hashlib.sha256(_SOURCE.encode())
        numbers = np.array([f.n_ranked, f.k, self.offset, self.least], dtype=float)
        parts = (f.read, f.bias, f.threshold, self.of_input, self.of_h, self.of_on, *self.box)
        for part in (*parts, self.margin, numbers):
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:32]

    def solve(self, seconds: float) -> Solved:
        """The solver's answer, after that many seconds at most."""
        program = Program(self.function, self.margin, self.box)
        goal = self.of_input, self.of_h, self.of_on, self.offset
        return program.largest(*goal, seconds, self.least)


class Programs(Rows):
    """Programs that were solved, a row each, so that a run that is interrupted keeps them."""

    kind = "certificates"

    def answer(self, key: str) -> Solved | None:
        """What is kept of one."""
        if not (found := self.find([key])):
            return None
        ((_, row),) = found
        at = row["at"].values[0]
        return Solved(
            None if np.isnan(at).any() else at,
            float(row["dual_bound"].values[0]),
            float(row["slack"].values[0]),
            True,
        )

    def keep(self, key: str, solved: Solved, m: int) -> None:
        """One more."""
        at = np.full(m, np.nan) if solved.at is None else solved.at
        self.save([key], xr.Dataset({
            "at": (("inst", "in"), at[None]),
            "dual_bound": ("inst", np.array([solved.dual_bound])),
            "slack": ("inst", np.array([solved.slack])),
        }))  # fmt: skip


_SOURCE = "".join(
    meaning((PACKAGE / "certify" / f"{name}.py").read_bytes()) for name in ("piecewise", "program")
)


def answers(
    goals: Sequence[int], task: Callable[[int], Task], until: float, workers: int | None
) -> Iterator[tuple[int, Solved]]:
    """The answers to programs, as far as there is time; each is kept once it is solved.

    Args:
        goals: which.
        task: makes the program of a goal, with what is known by then.
        until: when to stop, in seconds of ``time.perf_counter``.
        workers: processes of one thread each; one a core by default, and none for one program.
    """
    store, todo = Programs(), []
    for j in goals:
        kept = store.answer(task(j).key())
        if kept is None:
            todo.append(j)
        else:
            yield j, kept
    n, alone = _cores() if workers is None else workers, time.perf_counter() + ALONE
    while todo and (n == 1 or len(todo) == 1 or _left(alone) > 0):
        if _left(until) <= 0:
            return
        j = todo.pop(0)
        asked = task(j)
        yield j, _kept(store, asked, asked.solve(_left(until)))
    for j, asked, solved in _beside(todo, task, until, min(n, len(todo))):
        yield j, _kept(store, asked, solved)


def _kept(store: Programs, asked: Task, solved: Solved) -> Solved:
    if solved.final:
        store.keep(asked.key(), solved, len(asked.of_input))
    return solved


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _left(until: float) -> float:
    return until - time.perf_counter()


def _beside(
    todo: Sequence[int], task: Callable[[int], Task], until: float, n: int
) -> Iterator[tuple[int, Task, Solved]]:
    """A few at a time, so that later ones are told what earlier ones found."""
    if not todo:
        return
    pool = ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), _begin)
    try:
        for first in range(0, len(todo), n):
            if _left(until) <= 0:
                return
            asked = [(j, task(j)) for j in todo[first : first + n]]
            running = [(j, one, pool.submit(one.solve, _left(until))) for j, one in asked]
            for j, one, future in running:
                yield j, one, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """A process ends at once when the run is interrupted, and computes on one thread."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)
