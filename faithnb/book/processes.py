"""Processes that we start: this Python, and the same surroundings whoever starts them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import Any, NoReturn

import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from faithnb.common.files import DAY
from faithnb.common.store import default_folder

DROPPED = ("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONIOENCODING", "PYTHONINSPECT", "MPLBACKEND")
"""Variables by which a person's own habits would reach into what we start."""

PREFIX = "faithnb-process-"
LONGEST_RUN = 7 * DAY

_folders: set[Path] = set()


@contextmanager
def clean_environment() -> Iterator[dict[str, str]]:
    """The variables for a process that we start: today's, less what start-up files, warning
    filters and matplotlib's settings would change, with UTF-8 and the store's absolute folder.

    Raises:
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
        OSError: if there is no room for an empty folder.
    """
    _clear_old_folders()
    empty = Path(mkdtemp(prefix=PREFIX))
    _folders.add(empty)
    try:
        (empty / "ipython").mkdir()
        (empty / "matplotlibrc").touch()
        kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
        yield kept | {
            "PYTHONUTF8": "1",
            "IPYTHONDIR": str(empty / "ipython"),
            "MATPLOTLIBRC": str(empty / "matplotlibrc"),
            "FAITHNB_STORE": str(default_folder()),
        }
    finally:
        shutil.rmtree(empty, ignore_errors=True)
        _folders.discard(empty)


def _clear_old_folders() -> None:
    """Remove what processes that were killed left behind, a week ago or earlier."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LONGEST_RUN:
                shutil.rmtree(folder, ignore_errors=True)


def remove_folders() -> None:
    """Remove what :func:`clean_environment` made for processes that are not waited for."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


def run(
    command: Sequence[str], *, timeout: float | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it says is text, whatever bytes it says.

    Args:
        command: with its arguments.
        timeout: seconds it may take.
        **variables: for it, besides those of :func:`clean_environment`.

    Raises:
        OSError: if it cannot be started.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
        subprocess.TimeoutExpired: if it takes longer.
    """
    with clean_environment() as environment:
        return subprocess.run(
            command, env=environment | variables, timeout=timeout,
            capture_output=True, encoding="utf-8", errors="replace",
        )  # fmt: skip


def this_python(
    environment: dict[str, str], folder: Path, spent: list[float] | None = None
) -> type[AsyncKernelManager]:
    """A manager for kernels of this very interpreter, whatever kernels are installed.

    Args:
        environment: a kernel's variables.
        folder: where a kernel works.
        spent: gets the seconds of one core that a kernel took, with its subprocesses, when it ends.
    """

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=command, display_name="Python 3", language="python")

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            await self._async_start_kernel(**options | {"env": environment, "cwd": str(folder)})

        async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
            if spent is not None and self.provisioner is not None:
                spent.append(_core_seconds(getattr(self.provisioner, "pid", None)))
            await self._async_shutdown_kernel(now=now, restart=restart)

    return ThisPython


def _core_seconds(pid: int | None) -> float:
    """What a process took so far, with those that it started and waited for; 0 if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except (psutil.Error, ValueError):
        return 0.0
    of_children = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + of_children)


def print_anything() -> None:
    """Let this process print every character: one that the terminal lacks is spelled out."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say_at_once(line: str) -> None:
    """Print one line whole, whichever thread of several it comes from."""
    print(line + "\n", end="", flush=True)


def leave(code: int) -> NoReturn:
    """End this process at once, with threads that still run and the kernels they wait for."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(code)
