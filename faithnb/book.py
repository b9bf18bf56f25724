"""Run the notebooks through papermill and render the book: ``python -m faithnb.book``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import papermill
import torch
import yaml
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from faithnb.claims import read_ledger, to_json
from faithnb.experiment import PROFILES
from faithnb.notebook import RECORD, default_records, handed_over
from faithnb.store import default_folder
from faithnb.vendor import NoParts, vendor
from faithnb.workers import cores

ROOT = Path(__file__).parent.parent
CACHE = default_folder() / "notebooks"
START_TIMEOUT, CELL_TIMEOUT = 120, 3600
"""Seconds a kernel may take to start and a cell to run, so that no build hangs for ever."""

PICTURES = ("truth.svg", "memorising.svg", "matched.svg", "beyond.svg")
"""Figures that prose pages and the README show; a cell names its file in its metadata."""


WIDGET = "application/vnd.jupyter.widget-view+json"
NO_SCRIPTS = {"text/html": (
    "<noscript><p><em>Here a widget computes in the page, for which it needs scripts. The figures "
    "of this page show what was computed when the book was built.</em></p></noscript>"
)}  # fmt: skip


class BuildError(Exception):
    """The book cannot be built; the message says why and what to do."""


def pages(toc: Path) -> list[str]:
    """The pages of a table of contents, without extension, in order."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, Mapping):
            found.extend(str(node[key]) for key in ("root", "file") if key in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for value in node:
                walk(value)

    walk(yaml.safe_load(toc.read_text()))
    return found


def code_key(notebook: NotebookNode, parameters: Mapping[str, Any]) -> str:
    """What an executed notebook depends on: its code and parameters, the package, the pins, and the
    benchmark if it runs that."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
    package = ROOT / "faithnb"
    files = [*sorted(package.glob("*.py")), *sorted((package / "page").glob("*"))]
    files.append(ROOT / "requirements.txt")
    if any("benchmarks" in cell.source for cell in notebook.cells if cell.cell_type == "code"):
        files += sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
        files += (ROOT / "book" / "static").glob("gpu.json")
    if any(_reads_records(cell.source) for cell in notebook.cells):
        files += sorted(default_records().glob("*.json"))
    for path in files:
        digest.update(path.read_bytes() + b"\0")
    digest.update(f"{torch.__version__} {platform.python_version()}".encode())
    return digest.hexdigest()[:16]


def _reads_records(code: str) -> bool:
    """Whether a notebook reads what the others hand over, and so runs after them."""
    return "read_records(" in code or "read_ledger(" in code


def _wants_the_machine(code: str) -> bool:
    """Whether a notebook measures time, and so runs alone."""
    return "from benchmarks" in code


def execute_all(parameters: Mapping[str, Any], build: Path) -> Iterator[tuple[Path, NotebookNode]]:
    """All notebooks of the book with their outputs: as many side by side as there are cores, up to
    four, then one after the other those that measure time or read what the others hand over."""
    paths = [p for page in pages(ROOT / "_toc.yml") if (p := ROOT / f"{page}.ipynb").exists()]
    code = {path: path.read_text() for path in paths}
    last = [p for p in paths if _wants_the_machine(code[p]) and not _reads_records(code[p])]
    last += [p for p in paths if _reads_records(code[p])]
    together = [p for p in paths if p not in last]
    workers = min(4, cores())

    records = build / "records"
    shutil.rmtree(records, ignore_errors=True)
    records.mkdir(parents=True)
    with environment(FAITHNB_RECORDS=str(records)):
        with environment(OMP_NUM_THREADS=str(max(1, cores() // workers))):
            pool = ThreadPoolExecutor(workers)
            try:
                run = partial(execute, parameters=parameters, failed=build / "failed")
                for path, notebook in zip(together, pool.map(run, together), strict=True):
                    gather(notebook, records / f"{path.stem}.json")
                    yield path, notebook
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        for path in last:
            notebook = execute(path, parameters, build / "failed")
            gather(notebook, records / f"{path.stem}.json")
            yield path, notebook


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
    say: Callable[[str], None] | None = None,
    cell_timeout: int | None = CELL_TIMEOUT,
) -> NotebookNode:
    """The notebook with its outputs, from the cache if nothing that it depends on changed.

    Only code counts: prose and captions may change without running anything again.

    Args:
        path: of the notebook.
        parameters: for its parameters cell.
        failed: where the report of a failure goes.
        say: what to do with a line about what is done; by default it is printed.
        cell_timeout: seconds that a cell may take; ``None`` for as long as it takes.

    Raises:
        BuildError: if a parameter does not exist or a cell fails; ``failed`` keeps the report.
    """
    say = say or _say
    source = nbformat.read(path, as_version=4)
    known = papermill.inspect_notebook(str(path))
    if unknown := sorted(set(parameters) - set(known)):
        raise BuildError(
            f"{path.name} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    key = code_key(source, parameters)
    kept = CACHE / f"{path.stem}-{key}.ipynb"
    executed = _read_kept(kept)
    if executed:
        say(f"{path.stem}: nothing changed, outputs reused")
    else:
        say(f"{path.stem}: running {dict(parameters)}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        running = kept.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part.ipynb")
        started = time.monotonic()
        try:
            papermill.execute_notebook(
                str(path), str(running), parameters=dict(parameters), cwd=str(path.parent),
                kernel_name="python3", progress_bar=False,
                start_timeout=START_TIMEOUT, execution_timeout=cell_timeout,
                # it warns of sockets on this very machine and calls being shut down an error
                extra_arguments=["--log-level=CRITICAL"],
            )  # fmt: skip
        except (PapermillExecutionError, RuntimeError, TimeoutError) as error:
            what = str(error)
            if isinstance(error, PapermillExecutionError):
                what = f"{error.ename}: {error.evalue}"
            failed.mkdir(parents=True, exist_ok=True)
            report = shutil.move(running, failed / path.name)
            raise BuildError(
                f"{path.name} failed in a cell with {what}\n"
                f"The notebook as far as it ran is kept in {report}."
            ) from error
        say(f"{path.stem}: {time.monotonic() - started:.0f} s")
        executed = nbformat.read(running, as_version=4)
        if code_key(source, parameters) == key:
            os.replace(running, kept)
        else:
            running.unlink()
            say(f"{path.stem}: not kept, because the package changed while it ran")
    return merge(source, executed)


def remove_unfinished() -> None:
    """What notebooks that this process ran have left half done."""
    for unfinished in CACHE.glob(f"*.{os.getpid()}-*.part.ipynb"):
        unfinished.unlink(missing_ok=True)


def _say(line: str) -> None:
    """One line at once, whichever notebook of several it comes from."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read_kept(kept: Path) -> NotebookNode | None:
    """An executed notebook from the cache; ``None`` if there is none, or it is damaged."""
    if not kept.exists():
        return None
    try:
        return nbformat.read(kept, as_version=4)
    except (ValueError, OSError, nbformat.ValidationError):
        aside = kept.with_suffix(".damaged")
        os.replace(kept, aside)
        _say(f"{kept} cannot be read; set aside as {aside.name} and run again")
        return None


def merge(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """Today's prose and metadata with the executed cells' outputs; papermill's traces removed."""
    ran = iter(cell for cell in executed.cells if cell.cell_type == "code")
    cells = []
    for cell in source.cells:
        if cell.cell_type == "code":
            result = next(ran)
            cell.outputs, cell.execution_count = result.outputs, result.execution_count
            if any(WIDGET in output.get("data", {}) for output in cell.outputs):
                cell.outputs.append(nbformat.v4.new_output("display_data", NO_SCRIPTS))
            if "parameters" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("hide-input")
                injected = next(ran)
                injected.metadata = NotebookNode(tags=["injected-parameters", "remove-cell"])
                cells += [cell, injected]
                continue
        cells.append(cell)
    source.cells = cells
    source.metadata["seconds"] = executed.metadata.papermill.duration
    if "widgets" in executed.metadata:
        source.metadata["widgets"] = executed.metadata.widgets
    return source


def stage(profile: str, build: Path) -> Path:
    """Executed notebooks, prose and configuration side by side, ready to render.

    Pages that prose refers to are always those of this run: pictures come from the notebooks just
    executed, ``freeze.txt`` from this environment, ``run.md`` from this machine.
    """
    src = build / "src"
    shutil.rmtree(src, ignore_errors=True)
    src.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, src)
    shutil.copytree(ROOT / "book", src / "book")
    _serve_what_pages_run(src)
    (src / "notebooks").mkdir()
    parameters = {"profile": profile, "interactive": False}
    seconds = {}
    for path, notebook in execute_all(parameters, build):
        for cell in notebook.cells:
            if file := cell.metadata.get("faithnb", {}).get("file"):
                (src / "book" / "static" / file).write_text(_svg(cell))
        seconds[path.stem] = notebook.metadata.pop("seconds")
        nbformat.write(notebook, src / "notebooks" / path.name)
    (src / "book" / "freeze.txt").write_text(_freeze())
    (src / "book" / "run.md").write_text(_this_run(profile, seconds))
    return src


def _serve_what_pages_run(src: Path) -> None:
    """Formulas and widgets without a network; where their scripts cannot be had, from the public
    CDN."""
    try:
        wanted = vendor(src / "book" / "static")
    except (NoParts, OSError) as error:
        _say(f"Pages will need a network for formulas and widgets: {error}.")
        return
    config = yaml.safe_load((src / "_config.yml").read_text())
    config["sphinx"]["config"] |= wanted
    (src / "_config.yml").write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False))


def gather(notebook: NotebookNode, into: Path) -> None:
    """Keep what a notebook hands over, and take it out of the outputs, which the page shows."""
    if found := handed_over(notebook):
        into.write_text(json.dumps(found, sort_keys=True))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if RECORD not in o.get("data", {})]


def _svg(cell: NotebookNode) -> str:
    for output in cell.outputs:
        if "image/svg+xml" in output.get("data", {}):
            return "".join(output.data["image/svg+xml"])
    raise BuildError(f"the cell for {cell.metadata.faithnb.file} shows no figure.")


def _freeze() -> str:
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
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


def render(src: Path, build: Path) -> Path:
    """Render with Jupyter Book, warnings as errors, into an empty folder.

    Raises:
        BuildError: if Jupyter Book reports anything.
    """
    for stale in ("html", ".doctrees", "jupyter_execute"):
        shutil.rmtree(build / stale, ignore_errors=True)
    command = [
        str(Path(sys.executable).parent / "jupyter-book"), "build", str(src),
        "--path-output", str(build.parent), "-W", "--keep-going", "-n",
    ]  # fmt: skip
    environment = os.environ | {"NO_COLOR": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        log = build / "jupyter-book.log"
        log.write_text(result.stdout + result.stderr)
        said = [line for line in log.read_text().splitlines() if re.search("WARNING|ERROR", line)]
        raise BuildError(
            "Jupyter Book reports:\n" + "\n".join(dict.fromkeys(said)) + f"\nThe whole log: {log}"
        )
    return build / "html"


def check(html: Path, src: Path) -> None:
    """Every page is there, with as many pictures as its source asks for, nothing unresolved, no
    warnings, and nothing that it would load from elsewhere if it can do without.

    Raises:
        BuildError: naming the pages and what they lack.
    """
    wrong = []
    if (html / "_static" / "vendor").exists():
        for file in sorted(html.rglob("*.html")):
            for address in FromElsewhere(file.read_text()).found:
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
        for file in sorted(html.rglob("*.css")):
            for address in FromElsewhere.STYLE.findall(file.read_text()):
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
    for page in pages(src / "_toc.yml"):
        built = html / f"{page}.html"
        if not built.exists():
            wrong.append(f"{page}: the page is missing")
            continue
        text = built.read_text()
        article = text[text.find("<article") : text.find("</article>")]
        expected, found = _count_pictures(src / page), len(re.findall("<img ", article))
        if found != expected:
            wrong.append(f"{page}: {found} pictures where {expected} belong")
        if re.search(r"\{glue|\{numref|\{cite|pasted-missing|undefined label", article):
            wrong.append(f"{page}: a value or a reference was not filled in")
        if 'class="output stderr' in article:
            wrong.append(f"{page}: a cell prints warnings, which readers would see")
    if wrong:
        raise BuildError("the book is not complete:\n" + "\n".join(wrong))


class FromElsewhere(HTMLParser):
    """Gathers addresses on other hosts that a page loads, or that a script in it names. Links that
    a reader may follow are none, nor are the names of XML's vocabularies."""

    LOAD = ("src", "srcset", "href", "xlink:href", "data", "poster")
    ADDRESS = re.compile(r"(?:^|\s)((?:https?:)?//\S+)")
    STYLE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^\s"')]+)""")
    SCRIPT = re.compile(r"""(?:https?|wss?)://(?!www\.w3\.org/)[^\s"'`<>)\\]+""")

    def __init__(self, page: str):
        super().__init__()
        self.inside, self.found = "", list[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        for name, value in attributes:
            if name == "style":
                self.found += self.STYLE.findall(value or "")
            elif name in self.LOAD and tag not in ("a", "area"):
                self.found += self.ADDRESS.findall(value or "")

    def handle_data(self, text: str) -> None:
        if self.inside == "script":
            self.found += self.SCRIPT.findall(text)
        elif self.inside == "style":
            self.found += self.STYLE.findall(text)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def _count_pictures(page: Path) -> int:
    in_prose = re.compile(r"!\[|^:*`*\{(?:figure|image)\}", re.MULTILINE)
    if (markdown := page.with_suffix(".md")).exists():
        return len(in_prose.findall(markdown.read_text()))
    count = 0
    for cell in nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells:
        if cell.cell_type == "markdown":
            count += len(in_prose.findall(cell.source))
        elif "image" in cell.metadata.get("mystnb", {}):  # a table has a caption, but no image
            count += 1
    return count


def build_book(profile: str = "paper", build: Path = ROOT / "_build") -> Path:
    """Run, render and check the book; the path of its first page."""
    build.mkdir(parents=True, exist_ok=True)
    src = stage(profile, build)
    html = render(src, build)
    check(html, src)
    (html / "claims.json").write_text(to_json(read_ledger(build / "records")))
    if profile == "paper" and build == ROOT / "_build":
        for picture in PICTURES:
            shutil.copy(src / "book" / "static" / picture, ROOT / "book" / "static" / picture)
    return html / "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if the book was built, 1 with a message if not."""
    parser = argparse.ArgumentParser(prog="python -m faithnb.book", description=__doc__)
    parser.add_argument("--profile", default="paper", choices=PROFILES)
    options = parser.parse_args(arguments)
    try:
        print(build_book(options.profile).relative_to(ROOT))
        return 0
    except BuildError as error:
        print(f"The book was not built: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"The book was not built: {error}. Is the disk full or read-only?", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; notebooks that had finished are kept.", file=sys.stderr)
        return 130
    finally:
        remove_unfinished()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once: notebooks that still run, after another failed, end with this process
