"""One notebook over many sets of parameters: ``python -m faithnb.book.many``, ``make sweep``.

Each row is a papermill run of its own. Rows that ran before, with the same notebook, package and
parameters, are not run again.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import nbformat
import pandas as pd
from nbformat import NotebookNode

from faithnb.book.cells import NotebookError, parameter_names, read_notebook
from faithnb.book.contents import ROOT, BuildError
from faithnb.book.kept import cache
from faithnb.book.processes import leave, print_anything
from faithnb.book.row_pages import index, page, scripts_of_pages
from faithnb.book.rows import MANY, Row, RowsError, check, read_rows
from faithnb.book.running import environment, execute, remove_unfinished
from faithnb.claims.ledger import as_rows
from faithnb.common.errors import ParameterError
from faithnb.common.files import BusyError, alone, clear_parts, folder_named, write_whole
from faithnb.common.progress import progress_bar
from faithnb.notebook import handed_over
from faithnb.sweeps.workers import cores

MUCH_TO_READ = 500_000
"""Bytes of a file from which on reading takes so long that it is shown."""

SECONDS_BETWEEN_TABLES = 2.0
SHARE_OF_TABLES = 0.02
"""Of the time, what writing the table may take."""


def find_notebook(name: str) -> Path:
    """The notebook of a path, or the one of ``notebooks/`` whose name begins so or has this number.

    Raises:
        RowsError: if there is none, or several.
    """
    with suppress(OSError, RuntimeError, ValueError):  # a name that no file can have
        if (path := Path(name).expanduser()).suffix == ".ipynb" and path.exists():
            return path.resolve()
    there = sorted((ROOT / "notebooks").glob("*.ipynb"))
    begins = f"{int(name):02d}_" if re.fullmatch(r"\d{1,4}", name) else name
    found = [p for p in there if p.stem == name] or [
        p for p in there if name and p.stem.startswith(begins)
    ]
    if len(found) != 1:
        raise RowsError(
            f"NB = {name!r} is not allowed: it must begin the name of exactly one notebook, of "
            + ", ".join(p.stem for p in there) + "."
        )  # fmt: skip
    return found[0]


def numbers(notebook: NotebookNode) -> Row:
    """What an executed notebook gave: the values glued for its prose, and its claims' verdicts."""
    found: Row = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for kind, text in output.get("data", {}).items():
                if name and kind.endswith("text/plain"):
                    found[name] = "".join(text).strip("'")
    recorded = handed_over(notebook).get("claims", {})
    verdicts = {row["id"]: row["verdict"] for row in as_rows(recorded) if row["id"] in recorded}
    return found | verdicts


def run(
    path: Path, rows: Sequence[Row], out: Path, jobs: int = 1, progress: bool = True
) -> list[Row]:
    """Run the notebook for every row, ``jobs`` of them at a time.

    Writes into ``out`` each row's notebook and page, ``table.csv`` with parameters and numbers of
    all, and ``index.html``; both are written anew while rows finish, and at the end.

    Returns:
        a record a row: its number, parameters, ``error`` ("" if it ran), and numbers.

    Raises:
        BusyError: if another process, or another thread, runs rows into the same folder.
        NotebookError: if the notebook cannot be read.
        OSError: if the table cannot be written.
        ParameterError: if ``out`` is no folder.
    """
    out = folder_named("out", out)
    with alone(out, "sweep"):
        return _run(path, rows, out, jobs, progress)


def _run(path: Path, rows: Sequence[Row], out: Path, jobs: int, progress: bool) -> list[Row]:
    clear_parts(out)
    digits = len(str(len(rows)))
    names = [f"row-{k:0{digits}d}" for k in range(1, len(rows) + 1)]
    records: list[Row] = [
        {"row": name, **row, "error": "not run yet"} for name, row in zip(names, rows, strict=True)
    ]
    threads = str(max(1, cores() // jobs))
    quiet = {"interactive": False} if "interactive" in parameter_names(read_notebook(path)) else {}
    scripts = scripts_of_pages(out)
    next_table = 0.0
    with (
        environment(OMP_NUM_THREADS=threads),
        progress_bar(len(rows), "row", progress) as bar,
    ):
        pool = ThreadPoolExecutor(jobs)
        try:
            futures = {
                pool.submit(_run_row, path, quiet | row, out, name, scripts): k
                for k, (name, row) in enumerate(zip(names, rows, strict=True))
            }
            for future in as_completed(futures):
                k = futures[future]
                ended, found = future.result()
                known = {"row": names[k], **rows[k], **ended}
                records[k] = known | {n: v for n, v in found.items() if n not in known}
                bar.update()
                if time.monotonic() > next_table:
                    began = time.monotonic()
                    _write(records, out, path.stem)
                    next_table = when_next(began, time.monotonic())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            _write(records, out, path.stem)
    return records


def when_next(began: float, ended: float) -> float:
    """When to write the table again, after writing it took so long."""
    return ended + max(SECONDS_BETWEEN_TABLES, (ended - began) / SHARE_OF_TABLES)


def _run_row(path: Path, parameters: Row, out: Path, name: str, scripts: bool) -> tuple[Row, Row]:
    """How a row ended, and its numbers; whatever happens to one, the others run."""
    try:
        return _row_of(path, parameters, out, name, scripts)
    except (BuildError, OSError, ParameterError) as error:
        return {"error": str(error)}, {}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}, {}


def _row_of(path: Path, parameters: Row, out: Path, name: str, scripts: bool) -> tuple[Row, Row]:
    """An executed row, with its notebook and its page in the folder."""
    failed = out / "failed" / name
    notebook = execute(path, parameters, failed, say=lambda _: None, cell_timeout=None)
    seconds = notebook.metadata.pop("seconds")
    found = numbers(notebook)
    with _said_where(out):
        write_whole(out / f"{name}.ipynb", nbformat.writes(notebook))
        _write_text(out / f"{name}.html", page(notebook, f"{path.stem}, {name}", scripts))
    return {"error": "", "seconds": round(seconds, 1)}, found


@contextmanager
def _said_where(out: Path) -> Iterator[None]:
    """An error that names the folder."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{out} cannot be written ({error.strerror or error})") from error


def _write_text(path: Path, text: str) -> None:
    """Text as UTF-8, also where it names a file whose name is none."""
    write_whole(path, text.encode("utf-8", "backslashreplace"))


def _write(records: Sequence[Row], out: Path, title: str) -> None:
    table = pd.DataFrame(records, dtype=object)  # whole numbers stay whole where others are missing
    with _said_where(out):
        _write_text(out / "table.csv", table.to_csv(index=False, lineterminator="\r\n"))
        _write_text(out / "index.html", index(table, title))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if every row ran, 1 if some failed, 2 if nothing could be started."""
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m faithnb.book.many", description=__doc__)
    parser.add_argument("notebook", help="a path, or how the name of one in notebooks/ begins")
    parser.add_argument("params", help="a YAML file of rows, or of names with lists")
    parser.add_argument("--jobs", type=int, default=1, help="rows run at a time")
    parser.add_argument("--out", help="folder for the outputs")
    parser.add_argument("--many", action="store_true", help=f"more than {MANY:,} rows are meant")
    options = parser.parse_args(arguments)
    with ExitStack() as held:
        try:
            path, rows, out = _what_to_run(options)
            held.enter_context(alone(out, "sweep"))
        except (RowsError, ParameterError, BusyError, OSError) as error:
            print(f"Nothing was started: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("Interrupted; nothing was started.", file=sys.stderr)
            return 130
        return _run_and_say(path, rows, out, options.jobs)


def _what_to_run(options: argparse.Namespace) -> tuple[Path, list[Row], Path]:
    """The notebook, its rows and the folder for what they give, all checked."""
    if options.jobs < 1:
        raise RowsError(f"JOBS = {options.jobs} is not allowed: it must be at least 1.")
    path = find_notebook(options.notebook)
    if not options.params:
        raise RowsError("PARAMS is missing: it names a YAML file of rows.")
    params = Path(options.params)
    with suppress(RuntimeError):  # ~ without a home
        params = params.expanduser()
    with suppress(OSError):
        if (size := params.stat().st_size) > MUCH_TO_READ:
            print(f"Reading {params} ({size / 1e6:.1f} MB) …", file=sys.stderr, flush=True)
    rows = read_rows(params, options.many)
    try:
        notebook = read_notebook(path)
    except NotebookError as error:
        raise RowsError(str(error)) from None
    check(notebook, path.name, rows, progress=True)
    cache()  # which says it if the store is no folder
    out = ROOT / "_build" / "runs" / path.stem / params.stem
    return path, rows, out if options.out is None else folder_named("OUT", options.out)


def _run_and_say(path: Path, rows: Sequence[Row], out: Path, jobs: int) -> int:
    try:
        records = _run(path, rows, out, jobs, progress=True)
    except KeyboardInterrupt:
        print("Interrupted; rows that had finished are kept.", file=sys.stderr)
        return 130
    except OSError as error:
        print(
            f"Stopped: {error}. What had finished is kept, there and in {cache()}.", file=sys.stderr
        )
        return 1
    finally:
        remove_unfinished()
    failed = [record for record in records if record["error"]]
    for record in failed:
        print(f"{record['row']} failed: {record['error']}", file=sys.stderr)
    print(f"{len(records) - len(failed)} of {len(records)} rows ran: {out / 'index.html'}")
    return 1 if failed else 0


if __name__ == "__main__":
    leave(main())  # at once: rows that still run, after an interruption, end with this process
