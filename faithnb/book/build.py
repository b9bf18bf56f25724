"""Run the notebooks through papermill and render the book: ``python -m faithnb.book``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from faithnb.book.choosing import choose_sentences
from faithnb.book.citation import identify
from faithnb.book.contents import ROOT, BuildError, pages
from faithnb.book.processes import print_anything
from faithnb.book.rendering import check, render
from faithnb.book.running import remove_unfinished
from faithnb.book.staging import stage
from faithnb.claims.ledger import read_ledger, to_json
from faithnb.common.errors import ParameterError
from faithnb.common.files import BusyError, alone, write_whole
from faithnb.notebook import PROFILES

PICTURES = ("truth.svg", "memorising.svg", "matched.svg", "beyond.svg")
"""Figures that prose pages and the README show; a cell names its file in its metadata."""


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
    src = stage(profile, build)
    choose_sentences(src, build / "records")
    identify(src, ROOT / "CITATION.cff")
    whole = pages(src / "_toc.yml") == pages(ROOT / "_toc.yml")
    html = render(src, build, whole)
    check(html, src, whole)
    write_whole(html / "claims.json", to_json(read_ledger(build / "records")))
    return html / "index.html"


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
