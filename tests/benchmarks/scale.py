"""What large trainings cost, extrapolated from steps that were measured: training alone, shared
evenly by the devices."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.language import LAYERS, WIDTH
from faithnb.notebook import PROFILES

RECIPES, TASKS, SEEDS = 100, 10, 64
"""Of a benchmark with many entries, each at one sparsity."""

TOKENS = 5_000_000
"""That a transcoder of a layer sees."""

DEVICES = {"here": 1, "gpu": 1, "gpus": 8, "cluster": 100}
"""How many there are where it is trained: this machine, GPUs, machines like this one."""

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Device:
    """What was measured on a device.

    Attributes:
        step_us: microseconds of a headline step of one small transcoder, of many at once.
        tokens_per_s: of one transcoder of a layer at the full width.
    """

    step_us: float | None = None
    tokens_per_s: float | None = None


def small() -> dict[str, tuple[int, int]]:
    """How many small transcoders, and for how many steps: a scan of this book, a large one, and
    a benchmark."""
    book, large = PROFILES["paper"], PROFILES["large"]
    return {
        "scan": (book.grid**2 * book.scan_seeds, book.steps),
        "grid": (large.grid**2 * large.scan_seeds, large.steps),
        "benchmark": (RECIPES * TASKS * SEEDS, book.steps),
    }


def seconds_of_small(n: int, steps: int, device: Device, n_devices: int) -> float | None:
    """That so many transcoders take; ``None`` where no step was measured."""
    if device.step_us is None:
        return None
    return n * steps * device.step_us / 1e6 / n_devices


def seconds_of_layers(device: Device, n_devices: int) -> float | None:
    """That a transcoder of every layer takes; a layer is never divided."""
    if device.tokens_per_s is None:
        return None
    return math.ceil(LAYERS / n_devices) * TOKENS / device.tokens_per_s


def costs(here: Device, gpu: Device) -> dict[str, str]:
    """Every time in words, as ``scan_here``, ``layers_gpus`` and so on."""
    on = {"here": here, "gpu": gpu, "gpus": gpu, "cluster": here}
    found = {}
    for place, n_devices in DEVICES.items():
        for name, (n, steps) in small().items():
            seconds = seconds_of_small(n, steps, on[place], n_devices)
            found[f"{name}_{place}"] = in_words(seconds)
        found[f"layers_{place}"] = in_words(seconds_of_layers(on[place], n_devices))
    return found


def measured_gpu(folder: Path) -> tuple[Device, dict[str, str]]:
    """What the GPU records of a folder say, the newest kind first, and which they are for small
    transcoders and for layers; a record that was made on a processor is none.

    Args:
        folder: with ``bench-gpu.json``, by ``make bench-gpu``, and ``gpu.json``, by ``make bench``.
    """
    records = [_record(folder / name) for name in ("bench-gpu.json", "gpu.json")]
    records = [r for r in records if r and r["machine"]["device"] != "CPU"]
    many = [(rows[0]["step_us"], r) for r in records if (rows := r["tables"].get("many"))]
    layers = [
        (row["tokens_per_s"], r)
        for r in records
        for row in r["tables"].get("language", [])
        if (row["d_sae"], row["instances"]) == (WIDTH, 1)
    ]
    device = Device(many[0][0] if many else None, layers[0][0] if layers else None)
    return device, {"gpu_of_small": _named(many), "gpu_of_layers": _named(layers)}


def _record(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _named(found: Sequence[tuple[float, dict[str, Any]]]) -> str:
    if not found:
        return NOT_MEASURED
    _, record = found[0]
    machine = record["machine"]
    return f"{machine['device']}, torch {machine['torch']}, {record['date']}"


def in_words(seconds: float | None) -> str:
    """A length of time with two digits, in the largest unit of which it is at least two."""
    if seconds is None:
        return NOT_MEASURED
    units = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
    unit = next((u for u, length in units.items() if seconds >= 2 * length), "seconds")
    value = seconds / units[unit]
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
