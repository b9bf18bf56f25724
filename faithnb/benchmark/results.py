"""All entries as one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.entry import RESULTS, Entry
from faithnb.common.errors import InputError


def entries(folder: Path = RESULTS) -> list[Entry]:
    """Those of a folder, by name.

    Raises:
        InputError: if a file of it holds none.
    """
    return [Entry.load(path) for path in sorted(folder.glob("*.json"))]


def table(found: list[Entry]) -> pd.DataFrame:
    """The rows of all entries, with ``recipe``, ``entry``, its file's name.

    Raises:
        InputError: if two entries have one name: one is the older.
    """
    names = [entry.name for entry in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{twice[0]} has several entries; keep the one that is to count.")
    parts = [entry.rows.assign(recipe=entry.name, entry=entry.file_name) for entry in found]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def grid(rows: pd.DataFrame) -> xr.Dataset:
    """The same over (``task``, ``recipe``, ``point``, ``seed``); NaN where nothing was run."""
    keys = ["task", "recipe", "point", "seed"]
    return rows.set_index(keys)[["sparsity", *COLUMNS]].astype(float).to_xarray()
