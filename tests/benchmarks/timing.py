"""Times things against each other on a machine that is doing other things too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch


def wait() -> None:
    """Let a GPU finish what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(run: Callable[[], object], times: int) -> float:
    """Mean seconds of one call."""
    wait()
    start = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return (time.perf_counter() - start) / times


def side_by_side(
    subjects: Mapping[str, Callable[[], object]], rounds: int = 9, slice_s: float = 0.05
) -> dict[str, list[float]]:
    """Seconds a call of each subject, one number a round.

    Every round gives each subject in turn at least ``slice_s``, so that what slows the machine
    down for a while slows all of them; compare them within a round.
    """
    times = {}
    for name, run in subjects.items():
        run()
        times[name] = max(1, round(slice_s / seconds(run, 1))) if slice_s else 1
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, run in subjects.items():
            found[name].append(seconds(run, times[name]))
    return found


def ratio(over: list[float], under: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratio within a round."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}
