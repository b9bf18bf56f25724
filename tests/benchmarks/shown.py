"""A record of :mod:`benchmarks.gpu` as a page shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.roofline import WHOLE

SAYS = {
    "agreement": "Weights that the CPU and the device trained: how far apart they are, relative to "
    "the largest, median and largest over transcoders.",
    "verdicts": "How many transcoders memorize, trained on the CPU and on the device.",
    "many": "Many small transcoders at once.",
    "largest": "The largest ensemble that the device's memory holds.",
    "language": "Transcoders of a layer of a language model.",
    "launches": "The gradient, with its calls made one by one, replayed as a CUDA graph, and "
    "compiled; times relative to the first.",
    "bounds": "What a step is made of: the share of its time that its products take alone, then "
    "the largest kernels as shares of all.",
}
"""A sentence for each table."""

BOUND = ["what", "step_ms", "at_least_ms", "limited by", "share", "calls"]
ACHIEVED = ["what", "GB_per_s", "copy_GB_per_s", "GFLOP_per_s", "product_GFLOP_per_s", "call_us"]
PARTS = ["what", "part", "GB", "GFLOP", "calls", "memory_ms", "arithmetic_ms", "launches_ms"]

ROOFLINE = (
    (
        BOUND,
        "What bounds a step. Each call takes at least as long as a large copy moves its bytes or "
        "as a large product does its arithmetic, and all calls take at least as long as it takes "
        "to make them; the share is how much of the step this explains.",
    ),
    (
        ACHIEVED,
        "Bytes and arithmetic a second that a step achieves, beside those of a large copy and a "
        "large product, and what a call on one number takes.",
    ),
    (
        PARTS,
        "The same by part of a step: what it does, counted from the shapes of its arrays, and "
        "milliseconds of calls that memory bounds, of calls that arithmetic bounds, and of making "
        "all of them.",
    ),
)


def shown(path: Path) -> Iterator[str | pd.DataFrame]:
    """Sentences and tables in their order; nothing if there is no record.

    Args:
        path: of the record.
    """
    if not path.is_file():
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    machine = record["machine"]
    yield (
        f"**{machine['device']}** with torch {machine['torch']}, {record['date']}, beside "
        f"{machine['cores']} cores of {machine['cpu']}."
    )
    for name, rows in record["tables"].items():
        if name == "roofline":
            yield from _roofline(pd.DataFrame(rows))
        else:
            yield f"**{name}**: {SAYS.get(name, name)}"
            yield _readable(pd.DataFrame(rows))
    for name, said in record["failed"].items():
        yield f"The table *{name}* was not measured: {said}."


def _roofline(rows: pd.DataFrame) -> Iterator[str | pd.DataFrame]:
    whole = rows.part == WHOLE
    for columns, sentence in ROOFLINE:
        yield f"**roofline**: {sentence}"
        some = rows[~whole] if columns is PARTS else rows[whole]
        yield _readable(some[columns].reset_index(drop=True))


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns=_words)


def _words(column: Any) -> str:
    return str(column).replace("_per_s", "/s").replace("_", " ")
