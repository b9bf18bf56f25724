"""One notebook over many sets of parameters: ``python -m faithnb.runs``, ``make sweep``.

Each row is a papermill run of its own. Rows that ran before, with the same notebook, package and
parameters, are not run again.
"""

from __future__ import annotations

import argparse
import ast
import csv
import html
import math
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from faithnb.book import ROOT, BuildError, environment, execute, remove_unfinished
from faithnb.claims import ledger
from faithnb.errors import ParameterError
from faithnb.experiment import Allowed, unknown_name
from faithnb.notebook import RECORD, handed_over, read_parameters
from faithnb.progress import progress_bar
from faithnb.workers import cores

MANY = 100_000
"""Rows above which a product of lists must be meant, and said to be."""

SECONDS_BETWEEN_TABLES = 2.0

Row = dict[str, Any]


class RowsError(Exception):
    """The notebook or its parameters cannot be used; nothing has been started."""


def find_notebook(name: str) -> Path:
    """The notebook of a path, or the one of ``notebooks/`` whose name begins so or has this number.

    Raises:
        RowsError: if there is none, or several.
    """
    if (path := Path(name)).suffix == ".ipynb" and path.exists():
        return path.resolve()
    there = sorted((ROOT / "notebooks").glob("*.ipynb"))
    begins = f"{int(name):02d}_" if name.isdecimal() else name
    found = [p for p in there if p.stem == name] or [
        p for p in there if name and p.stem.startswith(begins)
    ]
    if len(found) != 1:
        raise RowsError(
            f"NB = {name!r} is not allowed: it must begin the name of exactly one notebook, of "
            + ", ".join(p.stem for p in there) + "."
        )  # fmt: skip
    return found[0]


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number, as in YAML 1.2, and no name may stand twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for k, name in enumerate(names):
            if name in names[:k]:
                raise yaml.constructor.ConstructorError(
                    problem=f"{name} stands there twice", problem_mark=node.value[k][0].start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), "-+.0123456789"
)


def read_rows(path: Path, many: bool = False) -> list[Row]:
    """The rows of a YAML file: a list with a mapping for each, or one mapping from names to lists
    of values, which stands for every combination of them.

    Raises:
        RowsError: in a sentence, whatever is wrong with the file.
    """
    try:
        given = yaml.load(path.read_text(), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise RowsError(f"{path} cannot be read: {error}.") from None
    except Exception as error:  # explicit tags make its constructors raise anything
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        reason = " ".join(str(getattr(error, "problem", error)).split()).rstrip(".")
        raise RowsError(f"{path} is not YAML{where}: {reason}.") from None
    if not given:
        raise RowsError(f"{path} is empty: it needs a list of rows, or names with lists of values.")
    if isinstance(given, Mapping):
        lists = {str(k): v if isinstance(v, list) else [v] for k, v in given.items()}
        if empty := [k for k, v in lists.items() if not v]:
            raise RowsError(f"{path}: {empty[0]} has no values.")
        if (size := math.prod(map(len, lists.values()))) > MANY and not many:
            raise RowsError(
                f"{path} asks for {size:,} runs, more than {MANY:,}. If that is meant, say MANY=1."
            )
        rows = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    elif isinstance(given, list):
        for k, row in enumerate(given, start=1):
            if not isinstance(row, Mapping) or not row:
                raise RowsError(f"{path}: row {k} is {row!r}, not names with values.")
        rows = [{str(k): v for k, v in row.items()} for row in given]
    else:
        raise RowsError(f"{path} holds {given!r}: it needs rows, or names with lists of values.")
    seen: dict[str, int] = {}
    for k, row in enumerate(rows, start=1):
        if (first := seen.setdefault(repr(sorted(row.items())), k)) != k:
            raise RowsError(f"{path}: rows {first} and {k} are the same.")
    return rows


def check(notebook: NotebookNode, name: str, rows: Sequence[Row]) -> None:
    """Whether every row is what the notebook's own first cells would take.

    Raises:
        RowsError: naming the first row that is not, the parameter, and what is allowed.
    """
    defaults, limits = _what_it_takes(notebook, name)
    for k, row in enumerate(rows, start=1):
        try:
            for parameter, value in row.items():
                if parameter not in defaults:
                    raise unknown_name(parameter, value, defaults)
            read_parameters(defaults | row, **limits)
        except ParameterError as error:
            raise RowsError(f"row {k}: {error}") from None


def _what_it_takes(notebook: NotebookNode, name: str) -> tuple[Row, dict[str, Allowed]]:
    """The defaults of a notebook's parameters, and the limits it sets for them itself."""
    defaults: Row = {}
    namespace: Row = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if "parameters" in cell.metadata.get("tags", []):
            exec(cell.source, {}, defaults)
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:  # a line for IPython only
            continue
        if all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in tree.body):
            exec(cell.source, namespace)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_parameters":
                given = {k.arg: ast.Expression(k.value) for k in node.keywords if k.arg}
                return defaults, {
                    k: eval(compile(v, name, "eval"), namespace) for k, v in given.items()
                }
    raise RowsError(f"{name} reads no parameters with read_parameters(globals()).")


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
    verdicts = {row["id"]: row["verdict"] for row in ledger(recorded) if row["id"] in recorded}
    return found | verdicts


def run(
    path: Path, rows: Sequence[Row], out: Path, jobs: int = 1, progress: bool = True
) -> list[Row]:
    """Run the notebook for every row, ``jobs`` of them at a time.

    Writes into ``out`` each row's notebook and page, ``table.csv`` with parameters and numbers of
    all, and ``index.html``; both are written anew while rows finish, and at the end.

    Returns:
        a record a row: its number, parameters, ``error`` ("" if it ran), and numbers.
    """
    out.mkdir(parents=True, exist_ok=True)
    digits = len(str(len(rows)))
    names = [f"row-{k:0{digits}d}" for k in range(1, len(rows) + 1)]
    records: list[Row] = [
        {"row": name, **row, "error": "not run yet"} for name, row in zip(names, rows, strict=True)
    ]
    threads = str(max(1, cores() // jobs))
    quiet = {"interactive": False} if "interactive" in papermill.inspect_notebook(path) else {}
    written = 0.0
    with (
        environment(OMP_NUM_THREADS=threads),
        progress_bar(len(rows), "row", progress) as bar,
    ):
        pool = ThreadPoolExecutor(jobs)
        try:
            futures = {
                pool.submit(_run_row, path, quiet | row, out, name): k
                for k, (name, row) in enumerate(zip(names, rows, strict=True))
            }
            for future in as_completed(futures):
                k = futures[future]
                ended, found = future.result()
                known = {"row": names[k], **rows[k], **ended}
                records[k] = known | {n: v for n, v in found.items() if n not in known}
                bar.update()
                if time.monotonic() > written + SECONDS_BETWEEN_TABLES:
                    _write(records, out, path.stem)
                    written = time.monotonic()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            _write(records, out, path.stem)
    return records


def _run_row(path: Path, parameters: Row, out: Path, name: str) -> tuple[Row, Row]:
    """How a row ended, and its numbers."""
    try:
        return _row_of(path, parameters, out, name)
    except (BuildError, OSError) as error:
        return {"error": str(error)}, {}


def _row_of(path: Path, parameters: Row, out: Path, name: str) -> tuple[Row, Row]:
    """An executed row, with its notebook and its page in the folder."""
    failed = out / "failed" / name
    notebook = execute(path, parameters, failed, say=lambda _: None, cell_timeout=None)
    seconds = notebook.metadata.pop("seconds")
    nbformat.write(notebook, out / f"{name}.ipynb")
    found = numbers(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # what is meant for programs is not for the page
            cell.outputs = [o for o in cell.outputs if not _for_programs(o)]
    page, _ = HTMLExporter(exclude_input_prompt=True).from_notebook_node(notebook)
    (out / f"{name}.html").write_text(page)
    return {"error": "", "seconds": round(seconds, 1)}, found


def _for_programs(output: NotebookNode) -> bool:
    return "scrapbook" in output.get("metadata", {}) or RECORD in output.get("data", {})


def _write(records: Sequence[Row], out: Path, title: str) -> None:
    _write_table(records, out)
    _write_index(records, out, title)


def _write_table(records: Sequence[Row], out: Path) -> None:
    columns = list(dict.fromkeys(name for record in records for name in record))
    with (out / "table.part").open("w", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(records)
    (out / "table.part").replace(out / "table.csv")


def _write_index(records: Sequence[Row], out: Path, title: str) -> None:
    known = {"row", "error", "seconds"}
    names = list(dict.fromkeys(n for r in records for n in r if n not in known))
    lines = []
    for record in records:
        name, error = record["row"], record["error"]
        link = f'<a href="{name}.html">{name}</a>' if not error else name
        said = f"{record['seconds']} s" if not error else error.splitlines()[0]
        cells = "".join(f"<td>{html.escape(str(record.get(n, '')))}</td>" for n in names)
        lines.append(f"<tr><td>{link}</td><td>{html.escape(said)}</td>{cells}</tr>")
    head = "".join(f"<th>{html.escape(n)}</th>" for n in ["row", "result", *names])
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        "<style>:root{color-scheme:light dark}body{font:15px system-ui,sans-serif;margin:2em}"
        "table{border-collapse:collapse}td,th{padding:.3em .8em;text-align:left;"
        "border-bottom:1px solid #8885;vertical-align:top}th{position:sticky;top:0;"
        f"background:Canvas}}</style><h1>{html.escape(title)}</h1>"
        f'<p>{len(records)} rows; all of it in <a href="table.csv">table.csv</a>.</p>'
        f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div></html>\n"
    )
    (out / "index.part").write_text(page)
    (out / "index.part").replace(out / "index.html")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if every row ran, 1 if some failed, 2 if nothing could be started."""
    parser = argparse.ArgumentParser(prog="python -m faithnb.runs", description=__doc__)
    parser.add_argument("notebook", help="a path, or how the name of one in notebooks/ begins")
    parser.add_argument("params", help="a YAML file of rows, or of names with lists")
    parser.add_argument("--jobs", type=int, default=1, help="rows run at a time")
    parser.add_argument("--out", type=Path, help="folder for the outputs")
    parser.add_argument("--many", action="store_true", help=f"more than {MANY:,} rows are meant")
    options = parser.parse_args(arguments)
    try:
        if options.jobs < 1:
            raise RowsError(f"JOBS = {options.jobs} is not allowed: it must be at least 1.")
        path = find_notebook(options.notebook)
        if not options.params:
            raise RowsError("PARAMS is missing: it names a YAML file of rows.")
        params = Path(options.params)
        rows = read_rows(params, options.many)
        try:
            notebook = nbformat.read(path, as_version=4)
        except Exception as error:  # no JSON, or no notebook
            raise RowsError(f"{path} cannot be read as a notebook: {error}.") from None
        check(notebook, path.name, rows)
        out = options.out or ROOT / "_build" / "runs" / path.stem / params.stem
        out.mkdir(parents=True, exist_ok=True)
    except (RowsError, OSError) as error:
        print(f"Nothing was started: {error}", file=sys.stderr)
        return 2
    try:
        records = run(path, rows, out, options.jobs)
    except KeyboardInterrupt:
        print("Interrupted; rows that had finished are kept.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"Stopped, what had finished is kept: {error}.", file=sys.stderr)
        return 1
    finally:
        remove_unfinished()
    failed = [record for record in records if record["error"]]
    for record in failed:
        print(f"{record['row']} failed: {record['error']}", file=sys.stderr)
    print(f"{len(records) - len(failed)} of {len(records)} rows ran: {out / 'index.html'}")
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: rows that still run, after an interruption, end with this process
