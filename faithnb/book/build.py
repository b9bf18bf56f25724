"""Run the notebooks through papermill and render the book: ``python -m faithnb.book``."""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import sys
import time
import uuid
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
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from ruamel.yaml import YAML

from faithnb.book.assets import NoParts, vendor
from faithnb.book.cells import (
    NotebookError,
    asked_for,
    code,
    merge,
    parameter_names,
    plain,
    read_notebook,
)
from faithnb.book.processes import (
    clean_environment,
    leave,
    print_anything,
    remove_folders,
    this_python,
)
from faithnb.book.processes import run as run_command
from faithnb.claims.ledger import read_ledger, to_json
from faithnb.common.errors import ParameterError
from faithnb.common.files import (
    CHECKOUT,
    BusyError,
    alone,
    clear_parts,
    part_of,
    read_file,
    write_whole,
)
from faithnb.common.meaning import meaning
from faithnb.experiment import PROFILES
from faithnb.notebook import RECORD, default_records, handed_over, write_records
from faithnb.sweeps.workers import cores
from faithnb.training.store import default_folder

ROOT = CHECKOUT
START_TIMEOUT, CELL_TIMEOUT = 120, 3600
"""Seconds a kernel may take to start and a cell to run, so that no build hangs for ever."""

PICTURES = ("truth.svg", "memorising.svg", "matched.svg", "beyond.svg")
"""Figures that prose pages and the README show; a cell names its file in its metadata."""


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

    walk(_yaml().load(toc.read_text(encoding="utf-8")))
    return found


def _yaml() -> YAML:
    return YAML(typ="safe", pure=True)


def code_key(notebook: NotebookNode, parameters: Mapping[str, Any]) -> str:
    """What an executed notebook depends on: its code and parameters, the package without docstrings
    and comments, the pins, and the benchmark if it runs that."""
    values = {name: plain(value) for name, value in parameters.items()}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, default=repr).encode())
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
    files = [f for f in sorted((ROOT / "faithnb").rglob("*")) if f.suffix in (".py", ".js", ".css")]
    files.append(ROOT / "requirements.txt")
    if any("benchmarks" in cell.source for cell in notebook.cells if cell.cell_type == "code"):
        files += sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
        files += (ROOT / "book" / "static").glob("gpu.json")
    if any(_reads_records(cell.source) for cell in notebook.cells):
        files += sorted(default_records().glob("*.json"))
    for path in files:
        content = path.read_bytes()
        digest.update(meaning(content).encode() if path.suffix == ".py" else content + b"\0")
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
    text = {path: path.read_text(encoding="utf-8") for path in paths}
    last = [p for p in paths if _wants_the_machine(text[p]) and not _reads_records(text[p])]
    last += [p for p in paths if _reads_records(text[p])]
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
    """The notebook with its outputs, from the cache if nothing that it depends on changed. Its
    parameters cell says what ran.

    Only code counts: prose and captions may change without running anything again.

    Args:
        path: of the notebook.
        parameters: for its parameters cell.
        failed: where the report of a failure goes.
        say: what to do with a line about what is done; by default it is printed.
        cell_timeout: seconds that a cell may take; ``None`` for as long as it takes.

    Raises:
        BuildError: if a parameter does not exist, a cell fails or there is no room to run;
            ``failed`` keeps the report.
        OSError: if nothing can be written.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    say = say or _say
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
    beginning = folder / f"{_short(path.stem)}-{key}"
    for kept in sorted(folder.glob(f"{glob.escape(beginning.name)}-*.ipynb")):
        if executed := read_kept(kept, source, asked, parameters):
            say(f"{path.stem}: nothing changed, outputs reused")
            return executed
    say(f"{path.stem}: running {dict(parameters)}")
    started = time.monotonic()
    content = _run(asked, path, beginning, failed, cell_timeout)
    say(f"{path.stem}: {time.monotonic() - started:.0f} s")
    if code_key(source, parameters) == key:
        try:
            write_whole(kept_as(beginning, content), content)
        except OSError as error:
            _say(f"{path.stem}: not kept, because {folder} cannot be written ({error})")
    else:
        say(f"{path.stem}: not kept, because the package changed while it ran")
    return _verified(content, source, asked, parameters)


def cache() -> Path:
    """The folder of executed notebooks, beside the results that ``$FAITHNB_STORE`` names.

    Raises:
        ParameterError: if that is no folder.
    """
    folder = default_folder() / "notebooks"
    if folder not in _opened:
        _opened.add(folder)
        clear_parts(folder)
    return folder


_opened: set[Path] = set()
_unfinished: set[Path] = set()


def _short(stem: str) -> str:
    """A notebook's name where a hash follows, for people; as long as names of files may be."""
    return stem.replace(".", "_").encode(errors="replace")[:80].decode(errors="ignore")


def kept_as(beginning: Path, content: bytes) -> Path:
    """Where an executed notebook is kept: the name tells its content, so that damage shows, and so
    does a file under another's name.

    Args:
        beginning: the folder, the notebook's name and the key of what it depends on.
        content: of the file.
    """
    key = beginning.name.rpartition("-")[2]
    digest = hashlib.sha256(key.encode() + b"\0" + content).hexdigest()[:32]
    return beginning.with_name(f"{beginning.name}-{digest}.ipynb")


def read_kept(
    kept: Path, source: NotebookNode, asked: NotebookNode, parameters: Mapping[str, Any]
) -> NotebookNode | None:
    """The source with the outputs of a kept run; ``None`` if the file is damaged or is another
    notebook's, and then it is set aside.

    Args:
        kept: the file.
        source: the notebook as it is before a run.
        asked: what would be run.
        parameters: with which values.
    """
    try:
        content = read_file(kept)
        beginning, _, _ = kept.stem.rpartition("-")
        if kept_as(kept.with_name(beginning), content) != kept:
            raise ValueError("its content is not what its name says")
        return _verified(content, source, asked, parameters)
    except FileNotFoundError:  # another process was quicker
        return None
    except Exception as error:  # whatever a damaged file makes its readers raise
        aside = kept.with_name(f"{kept.name}.{uuid.uuid4().hex[:8]}.damaged")
        try:
            kept.replace(aside)
            done = f"it was set aside as {aside.name}"
        except OSError:
            done = "it is ignored"
        why = (str(error) or type(error).__name__).splitlines()[0]
        _say(f"{kept} cannot be used ({why}); {done}, and its notebook runs again.")
        return None


def _verified(
    content: bytes, source: NotebookNode, asked: NotebookNode, parameters: Mapping[str, Any]
) -> NotebookNode:
    executed = nbformat.reads(content.decode(), as_version=4)
    if code(executed) != code(asked):
        raise ValueError("its cells are not those asked for")
    return merge(source, executed, parameters)


def _run(
    asked: NotebookNode, path: Path, beginning: Path, failed: Path, cell_timeout: int | None
) -> bytes:
    """What papermill makes of a notebook. While it runs it stands in the cache."""
    folder = beginning.parent
    folder.mkdir(parents=True, exist_ok=True)
    running = part_of(beginning, ".ipynb")
    _unfinished.add(running)
    try:
        write_whole(running, nbformat.writes(asked))
        name = str(running).replace("{", "{{").replace("}", "}}")  # papermill fills in braces
        with clean_environment() as environment:
            executed = papermill.execute_notebook(
                name, name,
                kernel_name="python3", progress_bar=False,
                kernel_manager_class=this_python(environment, path.parent),
                start_timeout=START_TIMEOUT, execution_timeout=cell_timeout,
                # it warns of sockets on this very machine and calls being shut down an error
                extra_arguments=["--log-level=CRITICAL"],
            )  # fmt: skip
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


def _say(line: str) -> None:
    """One line at once, whichever notebook of several it comes from."""
    print(line + "\n", end="", flush=True)


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
                write_whole(src / "book" / "static" / file, _svg(cell))
        seconds[path.stem] = notebook.metadata.pop("seconds")
        write_whole(src / "notebooks" / path.name, nbformat.writes(notebook))
    write_whole(src / "book" / "freeze.txt", _freeze())
    write_whole(src / "book" / "run.md", _this_run(profile, seconds))
    return src


def _serve_what_pages_run(src: Path) -> None:
    """Formulas and widgets without a network; where their scripts cannot be had, from the public
    CDN."""
    try:
        wanted = vendor(src / "book" / "static")
    except (NoParts, OSError) as error:
        _say(f"Pages will need a network for formulas and widgets: {error}.")
        return
    config = _yaml().load((src / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"] |= wanted
    # JSON is YAML in which every reader takes "off" for text
    write_whole(src / "_config.yml", json.dumps(config, indent=1, ensure_ascii=False))


def gather(notebook: NotebookNode, into: Path) -> None:
    """Keep what a notebook hands over, and take it out of the outputs, which the page shows."""
    if found := handed_over(notebook):
        write_records(into, found)
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
    done = run_command(command)
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
    result = run_command(command, NO_COLOR="1")
    if result.returncode:
        log = build / "jupyter-book.log"
        whole = result.stdout + result.stderr
        write_whole(log, whole)
        said = [line for line in whole.splitlines() if re.search("WARNING|ERROR", line)]
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
            for address in FromElsewhere(file.read_text(encoding="utf-8")).found:
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
        for file in sorted(html.rglob("*.css")):
            for address in FromElsewhere.STYLE.findall(file.read_text(encoding="utf-8")):
                wrong.append(f"{file.relative_to(html)}: it would load {address}")
    for page in pages(src / "_toc.yml"):
        built = html / f"{page}.html"
        if not built.exists():
            wrong.append(f"{page}: the page is missing")
            continue
        text = built.read_text(encoding="utf-8")
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
        return len(in_prose.findall(markdown.read_text(encoding="utf-8")))
    count = 0
    for cell in nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells:
        if cell.cell_type == "markdown":
            count += len(in_prose.findall(cell.source))
        elif "image" in cell.metadata.get("mystnb", {}):  # a table has a caption, but no image
            count += 1
    return count


def build_book(profile: str = "paper", build: Path = ROOT / "_build") -> Path:
    """Run, render and check the book; the path of its first page.

    Raises:
        BuildError: if it cannot be built, or another process builds into the same folder.
        OSError: if something cannot be written.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    try:
        with alone(build, "build"):
            return _build(profile, build)
    except BusyError as error:
        raise BuildError(f"{error}.") from None


def _build(profile: str, build: Path) -> Path:
    src = stage(profile, build)
    html = render(src, build)
    check(html, src)
    write_whole(html / "claims.json", to_json(read_ledger(build / "records")))
    if profile == "paper" and build == ROOT / "_build":
        for picture in PICTURES:
            drawn = (src / "book" / "static" / picture).read_bytes()
            write_whole(ROOT / "book" / "static" / picture, drawn)
    return html / "index.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if the book was built, 1 with a message if not."""
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m faithnb.book", description=__doc__)
    parser.add_argument("--profile", default="paper", choices=PROFILES)
    options = parser.parse_args(arguments)
    try:
        print(build_book(options.profile).relative_to(ROOT))
        return 0
    except (BuildError, ParameterError) as error:
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
    leave(main())  # at once: notebooks that still run, after another failed, end with this process
