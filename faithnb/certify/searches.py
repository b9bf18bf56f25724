"""Searches by splitting, each kept once it has ended."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float
from numpy import ndarray

from faithnb.certify.splitting import Found, Splitting
from faithnb.common.files import PACKAGE
from faithnb.common.meaning import meaning
from faithnb.common.store import Rows, default_folder

LEAST_BOXES = 1000
"""A search of fewer takes less time than a file, and is not kept."""

Limits = tuple[int, bool, float, float]
"""The last arguments of :meth:`faithnb.certify.splitting.Splitting.run`."""

_SOURCE = "".join(
    meaning((PACKAGE / "certify" / f"{name}.py").read_bytes())
    for name in ("piecewise", "splitting")
)


class Searches(Rows):
    """Searches that ended by themselves, a row each."""

    kind = "certificates"

    def answer(self, key: str) -> Found | None:
        """What is kept of one."""
        if not (kept := self.find([key])):
            return None
        ((_, rows),) = kept
        row = {str(name): column.values[0] for name, column in rows.items()}
        some = np.flatnonzero(~np.isnan(row["open_low"]).all(1))
        parts = {int(j): (row["open_low"][j], row["open_high"][j]) for j in some}
        value, at, bound = (row[name].copy() for name in ("value", "at", "bound"))
        return Found(value, at, bound, parts, row["decided"], int(row["boxes"]))

    def keep(self, key: str, found: Found) -> None:
        """One more."""
        low, high = np.full_like(found.at, np.nan), np.full_like(found.at, np.nan)
        for j, part in found.open.items():
            low[j], high[j] = part
        assert found.decided is not None
        by_goal = {"value": found.value, "bound": found.bound, "decided": found.decided}
        points = {"at": found.at, "open_low": low, "open_high": high}
        self.save([key], xr.Dataset({
            **{name: (("inst", "goal"), of[None]) for name, of in by_goal.items()},
            **{name: (("inst", "goal", "in"), of[None]) for name, of in points.items()},
            "boxes": ("inst", np.array([found.boxes])),
        }))  # fmt: skip


@lru_cache(maxsize=8)
def _store(folder: Path) -> Searches:
    """One for a process, which opens no file twice to see what it holds."""
    return Searches(folder)


def searched(
    problem: Splitting, start: Float[ndarray, "n m"], tolerance: float, until: float,
    limits: Limits, kept: bool = True,
) -> Found:  # fmt: skip
    """What :meth:`faithnb.certify.splitting.Splitting.run` finds, now or in a run before. What the
    clock ended is not kept.

    Args:
        problem: what is asked.
        start: as there.
        tolerance: as there.
        until: as there.
        limits: as there.
        kept: whether the store is asked, and told.
    """
    if not kept:
        return problem.run(start, tolerance, until, *limits)
    store, key = _store(default_folder() / Searches.kind), _key(problem, start, tolerance, limits)
    if (found := store.answer(key)) is not None:
        return found
    found = problem.run(start, tolerance, until, *limits)
    if found.boxes >= LEAST_BOXES and not found.by_clock:
        store.keep(key, found)
    return found


def _key(problem: Splitting, start: ndarray, tolerance: float, limits: Limits) -> str:
    """Of everything that decides what is found but for the clock."""
    digest = hashlib.sha256(f"{_SOURCE} {type(problem).__name__}".encode())
    f, of_problem = problem.f, {k: v for k, v in vars(problem).items() if k != "f"}
    numbers = [f.n_ranked, f.k, tolerance, *map(float, limits)]
    parts = {**of_problem, **vars(f), "start": start, "numbers": numbers}
    for name, part in sorted(parts.items()):
        if part is not None:
            array = np.ascontiguousarray(part, dtype=float)
            digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()[:32]
