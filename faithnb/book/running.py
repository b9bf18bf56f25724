"""Notebooks run through papermill."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from faithnb.book.cells import NotebookError, asked_for, parameter_names, read_notebook
from faithnb.book.contents import ROOT, BuildError, pages
from faithnb.book.kept import (
    cache,
    code_key,
    files_of,
    kept_as,
    read_kept,
    reads_records,
    short,
    verified,
)
from faithnb.book.processes import clean_environment, remove_folders, say_at_once, this_python
from faithnb.book.stages import ENGINE, Reaches
from faithnb.book.telling import Silent
from faithnb.common.files import part_of, write_whole
from faithnb.notebook import RECORD, handed_over, write_records
from faithnb.sweeps.workers import cores

START_TIMEOUT, CELL_TIMEOUT = 120, 3600
"""Seconds a kernel may take to start and a cell to run, so that no build hangs for ever."""

_unfinished: set[Path] = set()


def execute_all(
    parameters: Mapping[str, Any],
    build: Path,
    toc: Path = ROOT / "_toc.yml",
    told: Silent | None = None,
) -> Iterator[tuple[Path, NotebookNode]]:
    """All notebooks of a table of contents with their outputs: as many side by side as there are
    cores, up to four, then one after the other those that measure time or read what the others hand
    over.

    Args:
        parameters: for their parameters cells.
        build: the folder of the build.
        toc: the table of contents.
        told: is told what happens.
    """
    told = told or Silent()
    together, last = in_order(toc)
    workers = side_by_side()

    def run(path: Path) -> NotebookNode:
        told.begins(path.stem)
        reaches = partial(told.reaches, path.stem)
        notebook = execute(path, parameters, build / "failed", told.say, reaches=reaches)
        told.ends(path.stem, notebook)
        return notebook

    records = build / "records"
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    with environment(FAITHNB_RECORDS=str(records)):
        with environment(OMP_NUM_THREADS=str(max(1, cores() // workers))):
            pool = ThreadPoolExecutor(workers)
            try:
                for path, notebook in zip(together, pool.map(run, together), strict=True):
                    gather(notebook, records / f"{path.stem}.json")
                    yield path, notebook
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        for path in last:
            notebook = run(path)
            gather(notebook, records / f"{path.stem}.json")
            yield path, notebook


def side_by_side() -> int:
    """How many notebooks run at a time."""
    return min(4, cores())


def in_order(toc: Path) -> tuple[list[Path], list[Path]]:
    """The notebooks of a table of contents that run side by side, and those that run after them,
    one by one."""
    paths = [p for page in pages(toc) if (p := ROOT / f"{page}.ipynb").exists()]
    text = {path: path.read_text(encoding="utf-8") for path in paths}
    last = [p for p in paths if _wants_the_machine(text[p]) and not reads_records(text[p])]
    last += [p for p in paths if reads_records(text[p])]
    return [p for p in paths if p not in last], last


def _wants_the_machine(code: str) -> bool:
    """Whether a notebook measures time, and so runs alone."""
    return "from benchmarks" in code


def gather(notebook: NotebookNode, into: Path) -> None:
    """Keep what a notebook hands over, and take it out of the outputs, which the page shows."""
    if found := handed_over(notebook):
        write_records(into, found)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if RECORD not in o.get("data", {})]


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables that kernels started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def execute(
    path: Path,
    parameters: Mapping[str, Any],
    failed: Path,
    say: Callable[[str], None] = say_at_once,
    cell_timeout: int | None = CELL_TIMEOUT,
    reaches: Reaches | None = None,
) -> NotebookNode:
    """The notebook with its outputs, from the cache if nothing that it depends on changed. Its
    parameters cell says what ran.

    Only code counts: prose and captions may change without running anything again.

    Args:
        path: of the notebook.
        parameters: for its parameters cell.
        failed: where the report of a failure goes.
        say: what to do with a line about what is done; by default it is printed.
        cell_timeout: seconds that a cell may take; ``None`` for as long as it takes.
        reaches: is told how far the run is, see :data:`faithnb.book.stages.Reaches`.

    Raises:
        BuildError: if a parameter does not exist, a cell fails or there is no room to run;
            ``failed`` keeps the report.
        OSError: if nothing can be written.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    try:
        source = read_notebook(path)
    except NotebookError as error:
        raise BuildError(str(error)) from None
    known = parameter_names(source)
    if unknown := sorted(set(parameters) - known):
        raise BuildError(
            f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    asked = asked_for(source, parameters)
    key = code_key(source, parameters)
    folder = cache()
    beginning = folder / f"{short(path.stem)}-{key}"
    for kept in files_of(beginning):
        if executed := read_kept(kept, source, asked, parameters):
            say(f"{path.stem}: nothing changed, outputs reused")
            return executed
    say(f"{path.stem}: running {dict(parameters)}")
    started = time.monotonic()
    content = _run(asked, path, beginning, failed, cell_timeout, reaches)
    say(f"{path.stem}: {time.monotonic() - started:.0f} s")
    if code_key(source, parameters) == key:
        try:
            write_whole(kept_as(beginning, content), content)
        except OSError as error:
            say_at_once(f"{path.stem}: not kept, because {folder} cannot be written ({error})")
    else:
        say(f"{path.stem}: not kept, because the package changed while it ran")
    return verified(content, source, asked, parameters)


def is_kept(path: Path, parameters: Mapping[str, Any]) -> bool:
    """Whether a notebook's outputs are kept and need no run, as far as names of files say."""
    try:
        source = read_notebook(path)
    except NotebookError:
        return False
    return bool(files_of(cache() / f"{short(path.stem)}-{code_key(source, parameters)}"))


def _run(
    asked: NotebookNode,
    path: Path,
    beginning: Path,
    failed: Path,
    cell_timeout: int | None,
    reaches: Reaches | None,
) -> bytes:
    """What papermill makes of a notebook. While it runs it stands in the cache."""
    folder = beginning.parent
    folder.mkdir(parents=True, exist_ok=True)
    running = part_of(beginning, ".ipynb")
    _unfinished.add(running)
    try:
        write_whole(running, nbformat.writes(asked))
        name = str(running).replace("{", "{{").replace("}", "}}")  # papermill fills in braces
        spent: list[float] = []
        with clean_environment() as environment:
            executed = papermill.execute_notebook(
                name, name,
                kernel_name="python3", progress_bar=False,
                kernel_manager_class=this_python(environment, path.parent, spent),
                engine_name=ENGINE, reaches=reaches,
                start_timeout=START_TIMEOUT, execution_timeout=cell_timeout,
                # it warns of sockets on this very machine and calls being shut down an error
                extra_arguments=["--log-level=CRITICAL"],
            )  # fmt: skip
        executed.metadata.papermill["core_seconds"] = sum(spent)
        return nbformat.writes(executed).encode()
    except (PapermillExecutionError, RuntimeError, TimeoutError) as error:
        what = f"{error} (its kernel was {sys.executable} -m ipykernel_launcher)"
        if isinstance(error, PapermillExecutionError):
            what = f"{error.ename}: {error.evalue}"
        said = f"{path.name} failed in a cell with {what}"
        if running.exists():
            failed.mkdir(parents=True, exist_ok=True)
            write_whole(failed / path.name, running.read_bytes())
            said += f"\nThe notebook as far as it ran is kept in {failed / path.name}."
        raise BuildError(said) from error
    except (OSError, UnicodeError) as error:
        raise BuildError(
            f"{path.name} did not run to its end: {error}. It is written to {folder} while it "
            "runs; is there room? Notebooks that had finished are kept."
        ) from error
    finally:
        running.unlink(missing_ok=True)
        _unfinished.discard(running)


def remove_unfinished() -> None:
    """What notebooks that this process ran have left half done."""
    while _unfinished:
        _unfinished.pop().unlink(missing_ok=True)
    remove_folders()
