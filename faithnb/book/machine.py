"""How fast a machine trains: the measure in which the length of a build is foretold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from faithnb.common.processor import processor_name
from faithnb.experiment import Experiment
from faithnb.sweeps.workers import cores
from faithnb.training.ensemble import train

HEADLINE = Experiment(repeat_frac=0.05, steps=64)
"""What is trained to measure, for as many steps as are drawn together."""

TRANSCODERS, SEEDS = 16, 4
"""How many are trained together, and over how many seeds."""


@dataclass(frozen=True)
class Machine:
    """A machine, and how fast it trains.

    Attributes:
        name: of its processor.
        cores: that a build may use, one a notebook.
        speed: steps of one transcoder that a core takes in a second.
    """

    name: str
    cores: int
    speed: float


def measured(seconds: float = 2.0, clock: Callable[[], float] = time.perf_counter) -> Machine:
    """This machine, measured by training the headline setting on one thread of its processor."""
    experiments = [replace(HEADLINE, seed=i % SEEDS) for i in range(TRANSCODERS)]
    with _one_thread():
        train([replace(e, steps=1) for e in experiments], device="cpu", progress=False)
        started, rounds = clock(), 0
        while (taken := clock() - started) < seconds:
            train(experiments, device="cpu", progress=False)
            rounds += 1
    speed = rounds * len(experiments) * HEADLINE.steps / taken
    return Machine(processor_name(), cores(), round(speed, 1))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
