"""How fast a machine trains: the measure in which the length of a build is foretold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from platform import machine, processor

import torch

from faithnb.experiment import Experiment
from faithnb.sweeps.workers import cores
from faithnb.training.ensemble import train

HEADLINE = Experiment(repeat_frac=0.05, steps=64)
"""What is trained to measure, for as many steps as are drawn together."""

EACH, SEEDS = 16, 4
"""Transcoders that a thread trains, and over how many seeds."""


@dataclass(frozen=True)
class Machine:
    """A machine, and how many steps of one transcoder it takes in a second.

    Attributes:
        name: of its processor.
        cores: that a build may use.
        one: steps on one thread.
        every: steps on as many threads as there are cores.
    """

    name: str
    cores: int
    one: float
    every: float


def measured(seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter) -> Machine:
    """This machine, measured by training the headline setting on its processor: about half of the
    time on one thread, half on all."""
    n = cores()
    one = _steps_a_second(1, seconds / 2, clock)
    every = _steps_a_second(n, seconds / 2, clock) if n > 1 else one
    return Machine(processor_name(), n, round(one, 1), round(every, 1))


def _steps_a_second(n_threads: int, seconds: float, clock: Callable[[], float]) -> float:
    experiments = [replace(HEADLINE, seed=i % SEEDS) for i in range(EACH * n_threads)]
    with _threads(n_threads):
        train([replace(e, steps=1) for e in experiments], device="cpu", progress=False)
        started, rounds = clock(), 0
        while (taken := clock() - started) < seconds:
            train(experiments, device="cpu", progress=False)
            rounds += 1
    return rounds * len(experiments) * HEADLINE.steps / taken


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def processor_name() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else processor() or machine()
