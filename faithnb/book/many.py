"""One notebook over many sets of parameters: ``python -m faithnb.book.many``, ``make sweep``.

Each row is a papermill run of its own. Rows that ran before, with the same notebook, package and
parameters, are not run again.
"""

from __future__ import annotations

import argparse
import ast
import csv
import html
import io
import math
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.resolver import VersionedResolver

from faithnb.book.assets import NoParts, vendor
from faithnb.book.build import ROOT, BuildError, cache, environment, execute, remove_unfinished
from faithnb.book.cells import NotebookError, defaults, parameter_names, parsed, read_notebook
from faithnb.book.processes import leave, print_anything
from faithnb.claims.ledger import as_rows
from faithnb.common.errors import ParameterError, shown
from faithnb.common.files import BusyError, alone, clear_parts, folder_named, read_file, write_whole
from faithnb.common.progress import progress_bar
from faithnb.experiment import Experiment
from faithnb.notebook import RECORD, Run, handed_over, read_parameters
from faithnb.parameters import Allowed, unknown_name
from faithnb.sweeps.workers import cores

MANY = 100_000
"""Rows above which a product of lists must be meant, and said to be."""

MANY_TO_CHECK, MUCH_TO_READ = 2_000, 500_000
"""Rows, and bytes of a file, from which on checking and reading takes so long that it is shown."""

DEEPEST = 20
"""Lists within lists that a file of parameters may have."""

SECONDS_BETWEEN_TABLES = 2.0
SHARE_OF_TABLES = 0.02
"""Of the time, what writing the table may take."""

Row = dict[str, Any]


class RowsError(Exception):
    """The notebook or its parameters cannot be used; nothing has been started."""


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


class _Refused(MarkedYAMLError):
    """What YAML allows and a file of parameters has no use for."""


class _Composer(Composer):
    """No aliases, which write out much from little, and no deep nesting."""

    nested = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.parser.peek_event().start_mark
        if self.parser.check_event(AliasEvent):
            raise _Refused(problem="it has an alias; write out its value", problem_mark=mark)
        if self.nested > DEEPEST:
            many = f"it has more than {DEEPEST} lists within lists"
            raise _Refused(problem=many, problem_mark=mark)
        self.nested += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.nested -= 1


class _Constructor(SafeConstructor):
    """No name may stand twice in a mapping."""

    def check_mapping_key(
        self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any
    ) -> bool:
        if key in mapping:
            mark = key_node.start_mark
            raise MarkedYAMLError(problem=f"{key} stands there twice", problem_mark=mark)
        return True


class _Resolver(VersionedResolver):
    """YAML 1.2 whatever the file says: 010 is ten, 1:30 is text, .5e1 is a number."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        _ = self.versioned_resolver  # which fills in what it knows itself
        number = re.compile(r"[-+]?\.\d+[eE]\d+$")
        self.add_version_implicit_resolver((1, 2), "tag:yaml.org,2002:float", number, "-+.")

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 2)


def _load(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor, yaml.Resolver = _Composer, _Constructor, _Resolver
    return yaml.load(text)


def read_rows(path: Path, many: bool = False) -> list[Row]:
    """The rows of a YAML file: a list with a mapping for each, or one mapping from names to lists
    of values, which stands for every combination of them.

    Raises:
        RowsError: in a sentence, whatever is wrong with the file.
    """
    try:
        given = _load(read_file(path).decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise RowsError(f"{path} cannot be read: {error}.") from None
    except Exception as error:  # explicit tags make its constructors raise anything
        place = getattr(error, "problem_mark", None)
        where = f" in line {place.line + 1}" if place else ""
        reason = " ".join(str(getattr(error, "problem", error)).split()).rstrip(".")
        wrong = "is not allowed" if isinstance(error, _Refused) else "is not YAML"
        raise RowsError(f"{path} {wrong}{where}: {reason}.") from None
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
        return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    if not isinstance(given, list):
        raise RowsError(
            f"{path} holds {shown(given)}: it needs rows, or names with lists of values."
        )
    for k, row in enumerate(given, start=1):
        if not isinstance(row, Mapping) or not row:
            raise RowsError(f"{path}: row {k} is {shown(row)}, not names with values.")
    return [{str(k): v for k, v in row.items()} for row in given]


def check(notebook: NotebookNode, name: str, rows: Sequence[Row], progress: bool = False) -> None:
    """Whether every row is what the notebook's own first cells would take, and no two rows run the
    same.

    Args:
        notebook: as it is before a run.
        name: of the notebook, for messages.
        rows: parameters.
        progress: whether to show a bar where the rows are many.

    Raises:
        RowsError: naming the first row that is not, the parameter, and what is allowed.
    """
    known, limits = _what_it_takes(notebook, name)
    seen: dict[tuple[Experiment, Run], int] = {}
    show = progress and len(rows) >= MANY_TO_CHECK
    with progress_bar(len(rows), "row", show, desc="checking") as bar:
        for k, row in enumerate(rows, start=1):
            try:
                for parameter, value in row.items():
                    if parameter not in known:
                        raise unknown_name(parameter, value, known)
                asked = read_parameters(known | row, **limits)
            except ParameterError as error:
                raise RowsError(f"row {k}: {error}") from None
            if (first := seen.setdefault(asked, k)) != k:
                raise RowsError(f"rows {first} and {k} are the same.")
            bar.update()


def _what_it_takes(notebook: NotebookNode, name: str) -> tuple[Row, dict[str, Allowed]]:
    """The defaults of a notebook's parameters, and the limits it sets for them itself."""
    namespace: Row = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or (tree := parsed(cell.source)) is None:
            continue
        calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
        try:
            for line in tree.body:
                if isinstance(line, (ast.Import, ast.ImportFrom)):
                    exec(compile(ast.Module([line], []), name, "exec"), namespace)
            for call in calls:
                if "read_parameters" in (getattr(call.func, k, "") for k in ("id", "attr")):
                    given = {k.arg: ast.Expression(k.value) for k in call.keywords if k.arg}
                    limits = {
                        k: eval(compile(v, name, "eval"), namespace) for k, v in given.items()
                    }
                    return defaults(notebook, name), limits
        except NotebookError as error:
            raise RowsError(str(error)) from None
        except Exception as error:
            raise RowsError(
                f"what {name} takes cannot be read without running it "
                f"({type(error).__name__}: {error}): give read_parameters limits made of imports."
            ) from None
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
    scripts = _scripts_of_pages(out)
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


PAGE = """\
{%- extends "index.html.j2" -%}
{%- block html_head_js_requirejs -%}
{%- if "widgets" in nb.metadata and resources.scripts -%}
<script src="vendor/require.js"></script>
<script src="vendor/widget-paths.js"></script>
<script src="vendor/embed-amd.js" data-jupyter-widgets-cdn="/no-cdn/"></script>
{%- endif -%}
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
{%- if resources.scripts -%}
<script>
window.MathJax = {
  tex: { inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]], processEscapes: true, tags: "ams" },
};
</script>
<script defer src="vendor/mathjax/tex-svg.js"></script>
{%- endif -%}
{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""
"""nbconvert's page with the scripts that lie beside it, and none from elsewhere."""


def page(notebook: NotebookNode, title: str, scripts: bool) -> str:
    """An executed notebook as a page that asks nothing of a network.

    Args:
        notebook: with its outputs; what is meant for programs is left out.
        title: of the page.
        scripts: whether the folder ``vendor`` lies beside the page. Without it formulas are text,
            and there are no widgets.
    """
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if not _for_programs(o)]
    exporter = HTMLExporter(exclude_input_prompt=True, raw_template=PAGE)
    about = {"scripts": scripts, "metadata": {"name": title}}
    return exporter.from_notebook_node(notebook, about)[0]


def _scripts_of_pages(out: Path) -> bool:
    """Put what pages run beside them, if it was fetched."""
    try:
        vendor(out, fetch=False)
    except (NoParts, OSError) as error:
        print(f"Pages show formulas as text, and no widgets: {error}.", file=sys.stderr)
        return False
    return True


def _for_programs(output: NotebookNode) -> bool:
    return "scrapbook" in output.get("metadata", {}) or RECORD in output.get("data", {})


def _write(records: Sequence[Row], out: Path, title: str) -> None:
    with _said_where(out):
        _write_table(records, out)
        _write_index(records, out, title)


def _write_table(records: Sequence[Row], out: Path) -> None:
    columns = list(dict.fromkeys(name for record in records for name in record))
    written = io.StringIO(newline="")
    table = csv.DictWriter(written, columns)
    table.writeheader()
    table.writerows(records)
    _write_text(out / "table.csv", written.getvalue())


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
    _write_text(out / "index.html", page)


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
