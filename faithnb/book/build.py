"""Run the notebooks through papermill and render the book: ``python -m faithnb.book``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from faithnb.book.about import about_build
from faithnb.book.cells import read_notebook
from faithnb.book.choosing import choose_sentences
from faithnb.book.citation import identify
from faithnb.book.contents import ROOT, BuildError, pages
from faithnb.book.costs import Costs, today, write_last
from faithnb.book.machine import measured
from faithnb.book.planned import PUBLISHED, paper_here, plan
from faithnb.book.processes import print_anything, say_at_once
from faithnb.book.published import as_markdown, read_published
from faithnb.book.rendering import check, render
from faithnb.book.running import in_order, is_kept, remove_unfinished, side_by_side
from faithnb.book.so_far import SoFar, title_of
from faithnb.book.staging import announce, fill, lay_out
from faithnb.book.telling import RENDERING, Telling, in_minutes
from faithnb.book.verdict_boxes import complete_boxes
from faithnb.book.without import without_links
from faithnb.claims.ledger import read_ledger, to_json
from faithnb.common.errors import ParameterError
from faithnb.common.files import BusyError, alone, write_whole
from faithnb.common.store import default_folder
from faithnb.notebook import PROFILES

PICTURES = ("truth.svg", "memorising.svg", "matched.svg", "beyond.svg")
"""Figures that prose pages and the README show; a cell names its file in its metadata."""

WORTH_A_PAGE = 60
"""Seconds of a build from which on chapters can be read before its end."""


def build_book(profile: str = "paper", build: Path = ROOT / "_build") -> Path:
    """Run, render and check the book; the path of its first page. Nothing is written outside of
    ``build`` and the store.

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
    from_empty = not any(default_folder().glob("results/*"))
    src, left_out = lay_out(build)
    parameters = {"profile": profile, "interactive": False}
    here, workers = measured(), side_by_side()
    together, last = in_order(src / "_toc.yml")
    kept = {path.stem for path in together if is_kept(path, parameters)}
    names = [path.stem for path in together], [path.stem for path in last]
    todo = plan(profile, *names, here, workers, kept)
    say_at_once(todo.sentence(profile, here))
    page = _first_page(build, [*together, *last]) if todo.expected > WORTH_A_PAGE else None
    with Telling(todo.weights, todo.costs, todo.expected, page) as told:
        costs = fill(src, parameters, told)
        here_too = as_markdown(read_published(), read_ledger(build / "records"))
        write_whole(src / "book" / "verify.md", here_too)
        choose_sentences(src, build / "records")
        complete_boxes(src, build / "records")
        identify(src, ROOT / "CITATION.cff")
        without_links(src, left_out)
        if profile != PUBLISHED:
            announce(src, draft_of(profile, paper_here(*names, here, workers)))
        told.begins(RENDERING)
        started = time.monotonic()
        whole = pages(src / "_toc.yml") == pages(ROOT / "_toc.yml")
        html = render(src, build, whole)
        check(html, src, whole)
        rows = read_ledger(build / "records")
        write_whole(html / "claims.json", to_json(rows, about_build(profile, rows)))
        told.ends(RENDERING)
    took = Costs(today(), here, round(time.monotonic() - started, 1), costs)
    write_last(build, profile, took, sorted(kept), from_empty)
    return html / "index.html"


def _first_page(build: Path, paths: Sequence[Path]) -> SoFar:
    """The page that lists chapters as they are finished; its address is printed."""
    titles = {path.stem: title_of(read_notebook(path)) or path.stem for path in paths}
    page = SoFar(build / "html-so-far", titles)
    say_at_once(f"Chapters can be read as they are finished: {page.first.resolve().as_uri()}")
    return page


def draft_of(profile: str, seconds: float) -> str:
    """What stands above the pages of a build that is not the published one.

    Args:
        profile: of the build.
        seconds: that the published one takes on this machine; 0 if that is not known.
    """
    takes = f", which takes {in_minutes(seconds)} on the machine that built this" if seconds else ""
    return (
        f"This is a draft: profile {profile}, with fewer seeds and steps than what is "
        f"published. “make book PROFILE={PUBLISHED}” builds that{takes}."
    )


def keep_pictures(build: Path) -> None:
    """Put the pictures of a build where the README shows them, in place of those that are there.

    Raises:
        OSError: if one cannot be read or written.
    """
    for picture in PICTURES:
        drawn = (build / "src" / "book" / "static" / picture).read_bytes()
        write_whole(ROOT / "book" / "static" / picture, drawn)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if the book was built, 1 with a message if not."""
    print_anything()
    parser = argparse.ArgumentParser(prog="python -m faithnb.book", description=__doc__)
    parser.add_argument("--profile", default="paper", choices=PROFILES)
    parser.add_argument("--pictures", action="store_true", help="renew those of book/static too")
    options = parser.parse_args(arguments)
    folder = ROOT / "_build"
    try:
        print(build_book(options.profile, folder).relative_to(ROOT))
        if options.pictures:
            keep_pictures(folder)
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
