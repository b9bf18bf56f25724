"""All that is rendered, side by side in one folder."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import torch
from nbformat import NotebookNode

from faithnb.book.assets import NoParts, vendor
from faithnb.book.contents import ROOT, BuildError, plain_yaml
from faithnb.book.costs import Cost
from faithnb.book.processes import run, say_at_once
from faithnb.book.running import execute_all
from faithnb.book.telling import Silent
from faithnb.book.without import leave_out
from faithnb.common.files import write_whole
from faithnb.sweeps.workers import cores


def lay_out(build: Path) -> tuple[Path, Sequence[str]]:
    """Prose and configuration, and the pages that cannot be built here."""
    src = build / "src"
    shutil.rmtree(src, ignore_errors=True)
    src.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, src)
    shutil.copytree(ROOT / "book", src / "book")
    left_out = leave_out(src / "_toc.yml")
    _serve_what_pages_run(src)
    (src / "notebooks").mkdir()
    return src, left_out


def fill(src: Path, parameters: Mapping[str, Any], told: Silent) -> dict[str, Cost]:
    """Executed notebooks beside prose and configuration, ready to render; what each of them took.

    Pages that prose refers to are always those of this run: pictures come from the notebooks just
    executed, ``freeze.txt`` from this environment, ``run.md`` and ``chapter_2.md`` from this
    machine.

    Args:
        src: what :func:`lay_out` made.
        parameters: for the notebooks' parameters cells.
        told: is told what happens.
    """
    seconds, costs = {}, {}
    for path, notebook in execute_all(parameters, src.parent, src / "_toc.yml", told):
        for cell in notebook.cells:
            if file := cell.metadata.get("faithnb", {}).get("file"):
                write_whole(src / "book" / "static" / file, _svg(cell))
        seconds[path.stem] = notebook.metadata.pop("seconds")
        costs[path.stem] = _cost(notebook)
        write_whole(src / "notebooks" / path.name, nbformat.writes(notebook))
    write_whole(src / "book" / "freeze.txt", _freeze())
    write_whole(src / "book" / "run.md", _this_run(str(parameters["profile"]), seconds))
    write_whole(src / "book" / "chapter_2.md", _of_the_scan(str(parameters["profile"]), costs))
    return costs


def _of_the_scan(profile: str, costs: Mapping[str, Cost]) -> str:
    """What chapter 2 took, from which a reader foretells another run of it."""
    took = [cost.seconds for name, cost in costs.items() if name.startswith("02_")]
    if not took or not took[0]:
        return "What the chapter took was not measured in this build.\n"
    return f"In this copy chapter 2 took {took[0] / 60:.1f} core-minutes at profile `{profile}`.\n"


def _cost(notebook: NotebookNode) -> Cost:
    """What a run took, which its page does not show."""
    cells, core_seconds = notebook.metadata.pop("cells"), notebook.metadata.pop("core_seconds")
    whole = sum(cells) or 1.0
    return Cost(core_seconds, tuple(seconds / whole for seconds in cells))


def announce(src: Path, sentence: str) -> None:
    """Put a sentence above every page."""
    config = plain_yaml().load((src / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["html_theme_options"]["announcement"] = sentence
    _write_config(src, config)


def _serve_what_pages_run(src: Path) -> None:
    """Formulas and widgets without a network; where their scripts cannot be had, from the public
    CDN."""
    try:
        wanted = vendor(src / "book" / "static")
    except (NoParts, OSError) as error:
        say_at_once(f"Pages will need a network for formulas and widgets: {error}.")
        return
    config = plain_yaml().load((src / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"] |= wanted
    _write_config(src, config)


def _write_config(src: Path, config: Mapping[str, Any]) -> None:
    # JSON is YAML in which every reader takes "off" for text
    write_whole(src / "_config.yml", json.dumps(config, indent=1, ensure_ascii=False))


def _svg(cell: NotebookNode) -> str:
    for output in cell.outputs:
        if "image/svg+xml" in output.get("data", {}):
            return "".join(output.data["image/svg+xml"])
    raise BuildError(f"the cell for {cell.metadata.faithnb.file} shows no figure.")


def _freeze() -> str:
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    done = run(command)
    if done.returncode:
        raise BuildError(f"pip does not say what is installed: {done.stderr.strip()}")
    lines = done.stdout.splitlines()
    return "\n".join(line.split(" @ ")[0] for line in lines) + "\n"


def _this_run(profile: str, seconds: Mapping[str, float]) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    return (
        f"This copy of the book was built on {time.strftime('%d %B %Y')} with profile `{profile}`, "
        f"Python {platform.python_version()} and torch {torch.__version__} on {platform.system()} "
        f"{platform.machine()}, {cores()} cores, {device}. Running the notebooks took "
        f"{sum(seconds.values()) / 60:.1f} minutes ("
        + ", ".join(f"`{name}` {s:.0f} s" for name, s in seconds.items())
        + ").\n"
    )
