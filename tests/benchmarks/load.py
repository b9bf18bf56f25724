"""Training where other processes want the cores, too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from benchmarks import timing
from benchmarks.sizes import FEW_SEEDS, LIGHT, Size, median_us
from faithnb import Experiment, train
from faithnb.sweeps.workers import cores

STEPS = 60
"""Of a training that is timed."""


def under_load(size: Size, device: torch.device) -> pd.DataFrame:
    """:func:`faithnb.train` on all of torch's threads against the same on one, alone and beside as
    many busy processes as there are cores."""
    threads, rows = torch.get_num_threads(), []

    def on(n_threads: int, experiments: list[Experiment]) -> None:
        torch.set_num_threads(n_threads)
        train(experiments, device=device, progress=False)
        torch.set_num_threads(threads)

    cells = [(n_busy, n) for n_busy in (0, cores()) for n in (size.measured, 1)]
    for n_busy, n in size.each(cells, "load"):
        experiments = [replace(LIGHT, seed=s % FEW_SEEDS, steps=STEPS) for s in range(n)]
        subjects = {"all": partial(on, threads, experiments), "one": partial(on, 1, experiments)}
        with _busy(n_busy):
            times = timing.side_by_side(subjects, max(2, size.rounds), 0)
        rows.append({
            "busy processes": n_busy, "instances": n, "threads": threads,
            "step_us": median_us(times["all"], n * STEPS),
            "one_thread_us": median_us(times["one"], n * STEPS),
            **timing.ratio(times["all"], times["one"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


@contextmanager
def _busy(n: int) -> Iterator[None]:
    """Meanwhile so many processes compute without a pause."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
