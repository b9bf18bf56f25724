"""A run of the benchmark as one record: when, on what, which tables."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import sizes, tables
from benchmarks.pages import can_be_opened
from faithnb.sweeps.workers import cores


def measure(
    size: str,
    device: torch.device,
    only: Sequence[str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure the tables named, or all that this machine can: the ten thousand transcoders take a
    GPU, the pages a browser and a book that is built."""
    how_much = replace(sizes.SIZES[size], progress=progress)
    book = can_be_opened()
    possible = {"many": device.type == "cuda", "pages": book, "in page": book}
    wanted = only or [name for name in tables.TABLES if possible.get(name, True)]
    started = time.monotonic()
    found = {name: tables.TABLES[name](how_much, device).to_dict("records") for name in wanted}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "size": size,
        "seconds": round(time.monotonic() - started),
        "machine": machine(device),
        "tables": found,
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What was measured on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "cpu": _cpu(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def write(record: dict[str, Any], path: Path) -> None:
    """Keep a record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record, indent=1) + "\n")
    part.replace(path)
