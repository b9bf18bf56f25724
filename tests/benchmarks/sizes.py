"""What is measured, at which size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks import products
from faithnb import Experiment
from faithnb.training.ensemble import groups
from faithnb.training.loop import Loop

LIGHT = Experiment(repeat_frac=0.05)
MATCHED = {"jacobian_coefficient": 0.03}
FORMS = {
    "none": LIGHT,
    "plain, sampled": replace(LIGHT, jacobian_matching="plain", **MATCHED),
    "plain, exact": replace(
        LIGHT, jacobian_matching="plain", jacobian_estimator="exact", **MATCHED
    ),
    "smoothed, sampled": replace(LIGHT, jacobian_matching="smoothed", **MATCHED),
    "finite": replace(LIGHT, jacobian_matching="finite", **MATCHED),
}
"""The headline setting with each way to match Jacobians."""

FEW_SEEDS = 4
MICRO = 1e6


@dataclass(frozen=True)
class Size:
    """How much is measured: shapes ``(d_in, n_inst)`` of the first table, how often, in which
    dimensions ordinary loops are compared, ``(d_in, d_sae, steps)`` of what is certified, and so
    on."""

    shapes: tuple[tuple[int, int], ...]
    rounds: int
    slice_s: float
    loops_at: tuple[int, ...] = (16,)
    measured: int = 64
    swept: int = 2_000
    agreeing: int = 200
    boxes: int = 3
    certified: tuple[int, int, int] = (16, 64, 3_000)
    progress: bool = True

    def each(self, cells: Sequence[Any], table: str) -> Iterable[Any]:
        """The cells of a table, one after the other, with a bar."""
        return tqdm(cells, desc=table, unit="cell", disable=not self.progress)


SIZES = {
    "tiny": Size(((16, 1), (16, 64)), rounds=2, slice_s=0.001, measured=4, swept=20, agreeing=5,
                 boxes=1, certified=(3, 8, 500)),
    "short": Size(((16, 1), (16, 64)), rounds=5, slice_s=0.03, loops_at=(8, 16),
                  boxes=2),
    "normal": Size(
        (*((16, n) for n in (1, 16, 64, 256)), *((64, n) for n in (1, 16))), rounds=7, slice_s=0.04,
        loops_at=(8, 16, 32),
    ),
    "full": Size(
        tuple((d, n) for d in (16, 64) for n in (1, 16, 64, 256)),
        rounds=15, slice_s=0.1, loops_at=(8, 16, 32, 64), swept=20_000,
    ),
}  # fmt: skip
"""``tiny`` for tests, ``short`` for the book, ``normal`` for two cores and five minutes, ``full``
for everything."""


class Ensembles:
    """Experiments in training, grouped as :func:`faithnb.training.ensemble.train` groups them.

    A call takes as many steps as are drawn together, so that drawing is in every call.
    """

    def __init__(self, form: Experiment, n_inst: int, n_seeds: int, device: torch.device):
        # so many steps that the learning rate stays where it is
        form = replace(form, steps=10**6, warmup_frac=0, decay_frac=0)
        experiments = [replace(form, seed=i % n_seeds) for i in range(n_inst)]
        self.loops = [
            Loop([experiments[i] for i in group], device) for group in groups(experiments, device)
        ]
        self.steps = math.lcm(*(loop.batches.ahead for loop in self.loops))
        self.model_steps = n_inst * self.steps

    def train(self) -> None:
        """Steps of every instance, drawing its data included."""
        for loop in self.loops:
            for _ in range(self.steps):
                loop.draw()
                loop.update()

    def products(self) -> Callable[[], None]:
        """The matrix products of as many steps, and nothing else."""
        each = [products.alone(loop) for loop in self.loops]

        def run() -> None:
            for of_loop in each:
                for _ in range(self.steps):
                    of_loop()

        return run


def cycle(loop: Loop) -> None:
    """As many steps as are drawn together."""
    for _ in range(loop.batches.ahead):
        loop.draw()
        loop.update()


def wide(form: Experiment, d_in: int) -> Experiment:
    """The form in other dimensions, with the headline's four features a coordinate."""
    return replace(form, d_in=d_in, d_sae=4 * d_in)


def median_us(times: list[float], model_steps: int = 1) -> float:
    return statistics.median(times) / model_steps * MICRO


def seeds_of(n_inst: int) -> list[int]:
    """Over how many seeds: few, so that a chunk has one; one more, so that it has not; all."""
    return sorted({min(n, n_inst) for n in (FEW_SEEDS, FEW_SEEDS + 1, n_inst)})
