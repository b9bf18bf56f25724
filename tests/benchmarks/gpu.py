"""What a GPU does with this package: one command of at most ten minutes, with torch of any version
that the package runs with.

A table that fails says why and costs the others nothing, and what is measured is written at once.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import memory, timing
from benchmarks.language import language
from benchmarks.machine import machine, write
from benchmarks.roofline import roofline
from benchmarks.sizes import FORMS, LIGHT, MICRO, SIZES, Ensembles, Size
from faithnb import train
from faithnb.training.ensemble import max_instances
from faithnb.training.gradients import ClosedForm
from faithnb.training.loop import Loop

MINUTES = 9.5
"""After which a table that runs is stopped and no other is begun."""

AGREE = {"float64": 1e-9, "float32": 1e-4}
"""How far weights of a GPU may be from a CPU's after 200 steps, relative to the largest; single
precision for half of the instances, as the others part on two CPUs as well."""

CPU = torch.device("cpu")


def agreement(size: Size, device: torch.device) -> pd.DataFrame:
    """Weights after 200 steps on the CPU and on the device, for each form of matching."""
    rows = []
    for name, form in FORMS.items():
        for dtype, bound in AGREE.items():
            some = [replace(form, seed=s, steps=size.agreeing, dtype=dtype) for s in range(8)]
            here, there = (train(some, device=d, progress=False) for d in (CPU, device))
            pairs = [
                (a, there.transcoder.weights()[k]) for k, a in here.transcoder.weights().items()
            ]
            largest = max(float(a.abs().max()) for a, _ in pairs)
            apart = torch.cat([(a - b).abs().flatten(1) for a, b in pairs], 1).amax(1) / largest
            decides = apart.quantile(1.0 if dtype == "float64" else 0.5)
            rows.append({
                "matching": name, "dtype": dtype, "steps": size.agreeing,
                "median": float(apart.median()), "largest": float(apart.max()),
                "agrees": bool(decides < bound),
            })  # fmt: skip
    return pd.DataFrame(rows)


def verdicts(size: Size, device: torch.device) -> pd.DataFrame:
    """How many of 16 transcoders memorize with a tenth of repeats and without, on both devices."""
    steps = LIGHT.steps if size.measured >= 64 else size.agreeing
    rows = []
    for share in (0.0, 0.1):
        some = [replace(LIGHT, seed=s, steps=steps, repeat_frac=share) for s in range(16)]
        counts = {
            where: int((train(some, device=d, progress=False).metrics().state == "datapoint").sum())
            for where, d in (("cpu", CPU), ("device", device))
        }
        rows.append({"repeat_frac": share, "seeds": len(some), "steps": steps, **counts})
    return pd.DataFrame(rows)


def many(size: Size, device: torch.device) -> pd.DataFrame:
    """A GPU's work: 10,000 transcoders, 3,000 steps each."""
    n, steps = (10_000, LIGHT.steps) if device.type == "cuda" else (size.measured, size.agreeing)
    experiments = [
        replace(LIGHT, seed=i % 20, sparsity_coefficient=0.01 * (1 + i // 20), steps=steps)
        for i in range(n)
    ]
    seconds = timing.seconds(partial(train, experiments, device=device, progress=False), 1)
    return pd.DataFrame([{
        "instances": n, "steps": steps, "seconds": seconds, "step_us": seconds / n / steps * MICRO,
    }])  # fmt: skip


def largest(size: Size, device: torch.device) -> pd.DataFrame:
    """The largest ensemble that the free memory is said to hold: what a step of it takes."""
    n = max_instances(LIGHT, device) if device.type == "cuda" else size.measured
    experiments = [replace(LIGHT, seed=i % 20, steps=10**6) for i in range(n)]
    loops: list[Loop] = []
    peak = memory.peak_bytes(lambda: (loops.append(Loop(experiments, device)), _step(loops[0])),
                             device)  # fmt: skip
    seconds = timing.seconds(lambda: _step(loops[0]), 20)
    return pd.DataFrame([{
        "instances": n, "step_us": seconds / n * MICRO, "step_ms": seconds * 1e3,
        "peak_GB": peak / 1e9,
    }])  # fmt: skip


def launches(size: Size, device: torch.device) -> pd.DataFrame:
    """The gradient's calls made one by one, replayed as a CUDA graph, and compiled."""
    rows = []
    for n in (1, 64, 1024) if size.measured >= 64 else (2,):
        loop = Loop([replace(LIGHT, seed=i % 4, steps=10**6) for i in range(n)], device)
        _step(loop)
        gradient = loop._stage()[1]
        assert isinstance(gradient, ClosedForm)
        ways: dict[str, Callable[[], object]] = {"one by one": gradient}
        failed = {}
        for way, made in (("graph", _captured), ("compiled", _compiled)):
            try:
                ways[way] = made(gradient, device)
                ways[way]()
            except Exception as error:  # what a version of torch cannot do is a row that says so
                ways.pop(way, None)
                failed[way] = _sentence(error)
        gradient()
        right = [g.clone() for g in loop.gradients]
        differs = {}
        for way, run in ways.items():
            for g in loop.gradients:
                g.zero_()
            run()
            differs[way] = max(
                float((a - b).abs().max() / b.abs().max())
                for a, b in zip(loop.gradients, right, strict=True)
            )
        times = timing.side_by_side(ways, max(2, size.rounds), size.slice_s)
        rows += [
            {"instances": n, "way": way, "us": min(times[way]) / n * MICRO, "differs": differs[way],
             **timing.ratio(times[way], times["one by one"])}
            for way in ways
        ]  # fmt: skip
        rows += [{"instances": n, "way": way, "failed": said} for way, said in failed.items()]
    return pd.DataFrame(rows)


def bounds(size: Size, device: torch.device) -> pd.DataFrame:
    """What a step is made of: the share of its time that its matrix products take alone, then its
    largest kernels as shares of all of them."""
    n = 1024 if device.type == "cuda" else size.measured
    ensembles = Ensembles(LIGHT, n, 4, device)
    times = timing.side_by_side(
        {"step": ensembles.train, "products": ensembles.products()}, 3, size.slice_s
    )
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if device.type == "cuda" else []
    with torch.profiler.profile(activities=kinds) as recorded:
        ensembles.train()
        timing.wait()
    on_device = device.type == "cuda"
    spent = {
        e.key: float(
            getattr(e, "self_device_time_total", 0) if on_device else e.self_cpu_time_total
        )
        for e in recorded.key_averages()
    }
    whole = sum(spent.values()) or 1.0
    share = min(times["products"]) / min(times["step"])
    first = {"what": "matrix products alone", "share": share}
    ranked = sorted(spent.items(), key=lambda item: -item[1])[:8]
    return pd.DataFrame([first, *({"what": k[:60], "share": v / whole} for k, v in ranked)])


TABLES = {
    "agreement": agreement, "verdicts": verdicts, "many": many, "largest": largest,
    "language": language, "roofline": roofline, "launches": launches, "bounds": bounds,
}  # fmt: skip


def _step(loop: Loop) -> None:
    loop.draw()
    loop.update()


def _captured(gradient: ClosedForm, device: torch.device) -> Callable[[], object]:
    if device.type != "cuda":
        raise RuntimeError("a graph takes a GPU")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            gradient()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient()
    return graph.replay


def _compiled(gradient: ClosedForm, _: torch.device) -> Callable[[], object]:
    return torch.no_grad()(torch.compile(gradient.do.play, dynamic=False))


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"


class TimeUp(BaseException):
    """Raised in a table, which may take an ``Exception`` for a failure of something it measures."""


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Raise :class:`TimeUp` here after so many seconds."""

    def stop(*_: object) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def measured(
    size: Size,
    device: torch.device,
    names: Sequence[str],
    minutes: float,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The record, kept after each table.

    Args:
        size: how much is measured.
        device: on what.
        names: of tables, in their order.
        minutes: after which a table that runs is stopped and no other is begun.
        keep: is given the record so far.
    """
    started = time.monotonic()
    record: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"), "machine": machine(device), "tables": {}, "failed": {},
    }  # fmt: skip
    for name in names:
        spent = time.monotonic() - started
        if spent > 60 * minutes:
            record["failed"][name] = f"was not begun after {spent / 60:.1f} minutes"
            continue
        try:
            with stopped_after(60 * minutes - spent):
                record["tables"][name] = TABLES[name](size, device).to_dict("records")
        except TimeUp:
            record["failed"][name] = f"was stopped after {minutes:g} minutes of the whole"
        except Exception as error:  # the other tables are worth having
            record["failed"][name] = _sentence(error)
        record["seconds"] = round(time.monotonic() - started)
        keep(record)
    return record


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="normal")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch finds no GPU here; --device cpu --size tiny tries the same code.",
              file=sys.stderr)  # fmt: skip
        return 2
    device, size = torch.device(arguments.device), SIZES[arguments.size]
    keep = partial(write, path=arguments.out)
    record = measured(size, device, arguments.only, arguments.minutes, keep)
    with pd.option_context("display.width", 160, "display.max_columns", None):
        for name, rows in record["tables"].items():
            print(f"\n{name}\n{pd.DataFrame(rows).to_string(index=False)}")
    for name, said in record["failed"].items():
        print(f"\n{name} failed: {said}", file=sys.stderr)
    print(f"\nkept in {arguments.out}")
    return 1 if record["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
