"""What a build was made with, for ``claims.json``."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

import faithnb
from faithnb.book.contents import ROOT
from faithnb.book.processes import run
from faithnb.common.processor import processor_name
from faithnb.notebook import PROFILES
from faithnb.sweeps.workers import cores


def about_build(profile: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Date, profile, seeds, versions and machine of a build; the commit, in a clone.

    The date is that of ``$SOURCE_DATE_EPOCH``, if it is set, so that a build can be repeated to the
    byte. None of it is in any key.

    Args:
        profile: of the notebooks.
        rows: of the ledger, whose claims know their seeds.
    """
    firsts = {row["seeds"]["first"] for row in rows if row["seeds"]}
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    when = datetime.fromtimestamp(int(seconds), UTC) if seconds.isdecimal() else datetime.now(UTC)
    return {
        "date": when.isoformat(timespec="seconds"),
        "profile": profile,
        "seeds": {"n": PROFILES[profile].n_seeds, "first": sorted(firsts)},
        "versions": {
            "faithnb": faithnb.__version__, "python": platform.python_version(),
            "torch": torch.__version__, "numpy": np.__version__,
        },
        "commit": _commit(),
        "processor": processor_name(),
        "cores": cores(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def _commit() -> str | None:
    """Of the sources, with "-dirty" if they have been changed since; ``None`` outside a clone."""
    try:
        found = run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"])
    except OSError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
