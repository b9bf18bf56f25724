"""The book as a paper, built, composed and printed by a browser: ``python -m faithnb.book.pdf``."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pypdf import PdfReader, PdfWriter

from faithnb.book import build
from faithnb.book.citation import read_citation
from faithnb.book.contents import ROOT, pages
from faithnb.book.paper import compose, number_contents, on_paper
from faithnb.book.processes import print_anything, run
from faithnb.common.errors import ParameterError
from faithnb.common.files import BusyError, alone, write_whole
from faithnb.common.progress import progress_bar

BROWSERS = (
    "chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome",
    "microsoft-edge", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
SECONDS = 600
PATIENCE_MS = 20_000  # of the page's own clock, for formulas and widgets to be drawn


class NoPdf(Exception):
    """The PDF could not be made; the message says why."""


def find_browser() -> str:
    """A browser that prints without a window.

    Raises:
        NoPdf: if there is none.
    """
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise NoPdf(f"no browser was found that could print (looked for {', '.join(BROWSERS)})")


def print_page(browser: str, page: Path, into: Path) -> None:
    """One page, in light colours.

    Raises:
        NoPdf: if the browser fails.
    """
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
        f"--user-data-dir={into.parent / 'profile'}", f"--virtual-time-budget={PATIENCE_MS}",
        f"--print-to-pdf={into}", page.as_uri(),
    ]  # fmt: skip
    try:
        done = run(command, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise NoPdf(f"{browser} did not print {page.name} within {SECONDS} s") from None
    except OSError as error:
        raise NoPdf(f"{browser} could not be started: {error}") from None
    if done.returncode or not into.exists():
        said = (done.stderr.strip() or "it gave no reason").splitlines()[-1]
        raise NoPdf(f"{browser} did not print {page.name}: {said}")


def print_book(html: Path, into: Path, progress: bool = True) -> Path:
    """The paper that :func:`faithnb.book.paper.compose` makes, with an outline.

    It is printed twice: only a print shows on which pages the chapters of the contents begin.

    Args:
        html: the rendered book.
        into: the file to write; one that is there is replaced when all is printed.

    Raises:
        NoPdf: if the book is not built, or cannot be printed.
        OSError: if the file cannot be written; what was there before is kept.
    """
    browser = find_browser()
    names = on_paper(pages(ROOT / "_toc.yml"))
    if missing := [name for name in names if not (html / f"{name}.html").exists()]:
        raise NoPdf(f"{html / missing[0]}.html is missing: build the book first (make book)")
    work, _ = read_citation(ROOT / "CITATION.cff")
    paper = compose(html, names, work)
    with TemporaryDirectory() as folder, progress_bar(2, "print", progress) as bar:
        page, sheets = Path(folder) / "paper.html", Path(folder) / "paper.pdf"
        for _ in range(2):
            page.write_text(str(paper), encoding="utf-8")
            print_page(browser, page, sheets)
            starts = first_pages(PdfReader(sheets))
            number_contents(paper, starts)
            bar.update(1)
        printed = PdfWriter(sheets, incremental=True)
    for entry in paper.select("nav a"):
        if at := starts.get(entry["href"][1:]):
            printed.add_outline_item(title=entry.span.get_text(), page_number=at - 1)
    printed.add_metadata({"/Title": paper.title.string, "/Author": " and ".join(work.authors)})
    written = io.BytesIO()
    printed.write(written)
    write_whole(into, written.getvalue())
    return into


def first_pages(printed: PdfReader) -> dict[str, int]:
    """The page, counted from 1, of every anchor that a link of a PDF leads to."""
    return {
        name.removeprefix("/"): number + 1
        for name, goal in printed.named_destinations.items()
        if (number := printed.get_destination_page_number(goal)) is not None
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the book, as ``python -m faithnb.book`` does with the same arguments, and print it."""
    print_anything()
    folder = ROOT / "_build"
    try:
        find_browser()
        if failed := build.main(arguments):
            return failed
        with alone(folder, "build"):
            print(print_book(folder / "html", folder / "faithnb.pdf"))
    except (NoPdf, BusyError, OSError, ParameterError) as error:
        print(f"No PDF was made: {str(error).rstrip('.')}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
