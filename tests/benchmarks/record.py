"""A run of the benchmark as one record: when, on what, which tables."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks import sizes, tables
from benchmarks.machine import machine
from benchmarks.pages import can_be_opened


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
