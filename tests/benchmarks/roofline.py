"""What bounds a training step: what it moves, computes and calls, against the most that the device
does of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
import torch

from benchmarks import timing
from benchmarks.language import is_full, transcoder_of_layer
from benchmarks.sizes import LIGHT, Size, cycle
from benchmarks.work import Work, of_step, total
from faithnb import Experiment
from faithnb.training.loop import Loop

WHOLE = "whole step"

SIDE, COPIED = {"cuda": 8192, "cpu": 1024}, {"cuda": 2**28, "cpu": 2**24}
"""Of the large matrices, and numbers of the large copy."""


def peaks(size: Size, device: torch.device) -> dict[str, float]:
    """The most of each in a second: bytes by a large copy, arithmetic by a large matrix product in
    single precision, calls on a single number."""
    side, n = SIDE.get(device.type, 1024), COPIED.get(device.type, 2**24)
    if not is_full(size):
        side, n = 64, 2**14
    a, b, product = (torch.rand(side, side, device=device) for _ in range(3))
    numbers, copied = torch.rand(n, device=device), torch.empty(n, device=device)
    one = torch.ones(1, device=device)
    subjects: dict[str, Callable[[], object]] = {
        "bytes": partial(copied.copy_, numbers),
        "arithmetic": partial(torch.mm, a, b, out=product),
        "calls": partial(torch.add, one, one, out=torch.empty_like(one)),
    }
    times = timing.side_by_side(subjects, max(3, size.rounds), size.slice_s)
    done = {"bytes": 2 * 4 * n, "arithmetic": 2 * side**3, "calls": 1}
    return {name: amount / min(times[name]) for name, amount in done.items()}


@contextmanager
def cases(size: Size, device: torch.device) -> Iterator[dict[str, list[Experiment]]]:
    """What is trained together, by name."""
    small = replace(LIGHT, steps=10**6, warmup_frac=0.0, decay_frac=0.0)
    n = 10_000 if device.type == "cuda" else size.measured
    with transcoder_of_layer(size) as layer:
        yield {
            "1 small transcoder": [small],
            f"{n:,} small transcoders": [replace(small, seed=i % 20) for i in range(n)],
            f"a language model's layer at {layer.d_sae:,}": [layer],
        }


def roofline(size: Size, device: torch.device) -> pd.DataFrame:
    """A row for each part of a step and one for all of it, of each case."""
    most, rows = peaks(size, device), []
    with cases(size, device) as of_cases:
        for name, experiments in of_cases.items():
            loop = Loop(experiments, device)
            cycle(loop)
            seconds = timing.seconds(partial(cycle, loop), 2) / loop.batches.ahead
            rows += [{"what": name} | row for row in against(of_step(loop), most, seconds)]
            del loop  # the next one needs its memory
    return pd.DataFrame(rows)


def against(
    parts: Mapping[str, Sequence[Work]], most: Mapping[str, float], seconds: float
) -> list[dict[str, Any]]:
    """What each part of a step takes at least, and what bounds the whole.

    A call takes at least as long as a copy moves its bytes, or as a product does its arithmetic,
    whichever is longer. Calls are made while others run, so they count beside both.

    Args:
        parts: the calls of each.
        most: of each in a second.
        seconds: of the step.
    """
    every = [call for calls in parts.values() for call in calls]
    rows = [{"part": part, **_at_least(calls, most)} for part, calls in parts.items()]
    whole, did = _at_least(every, most), total(every)
    running = whole["memory_ms"] + whole["arithmetic_ms"]
    bound = "memory" if 2 * whole["memory_ms"] > running else "arithmetic"
    bound = "launches" if whole["launches_ms"] > running else bound
    least = max(running, whole["launches_ms"])
    return [*rows, {
        "part": WHOLE, **whole, "step_ms": 1e3 * seconds, "limited by": bound, "at_least_ms": least,
        "share": least / seconds / 1e3,
        "GB_per_s": did.bytes / seconds / 1e9, "copy_GB_per_s": most["bytes"] / 1e9,
        "GFLOP_per_s": did.arithmetic / seconds / 1e9,
        "product_GFLOP_per_s": most["arithmetic"] / 1e9, "call_us": 1e6 / most["calls"],
    }]  # fmt: skip


def _at_least(calls: Sequence[Work], most: Mapping[str, float]) -> dict[str, Any]:
    """Milliseconds of the calls that memory bounds, of those that arithmetic bounds, and of making
    all of them."""
    did, memory, arithmetic = total(calls), 0.0, 0.0
    for call in calls:
        moving, computing = call.bytes / most["bytes"], call.arithmetic / most["arithmetic"]
        if moving > computing:
            memory += moving
        else:
            arithmetic += computing
    return {
        "GB": did.bytes / 1e9, "GFLOP": did.arithmetic / 1e9, "calls": did.calls,
        "memory_ms": 1e3 * memory, "arithmetic_ms": 1e3 * arithmetic,
        "launches_ms": 1e3 * did.calls / most["calls"],
    }  # fmt: skip
