"""The book as one PDF, built and printed page by page by a browser: ``python -m
faithnb.book.pdf``."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory

from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

from faithnb.book import build
from faithnb.book.contents import ROOT, pages
from faithnb.book.processes import print_anything, run
from faithnb.common.errors import ParameterError
from faithnb.common.files import BusyError, alone, write_whole
from faithnb.common.progress import progress_bar

BROWSERS = (
    "chromium", "google-chrome", "google-chrome-stable", "chromium-browser", "chrome",
    "microsoft-edge", "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)  # fmt: skip
SECONDS = 120
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
    """All pages in the order of the table of contents, with an outline. A link to another page
    leads to where it is printed, and one to a file that only the built book has is none.

    Args:
        html: the rendered book.
        into: the file to write; one that is there is replaced when all is printed.

    Raises:
        NoPdf: if the book is not built, or cannot be printed.
        OSError: if the file cannot be written; what was there before is kept.
    """
    browser = find_browser()
    names = pages(ROOT / "_toc.yml")
    if missing := [name for name in names if not (html / f"{name}.html").exists()]:
        raise NoPdf(f"{html / missing[0]}.html is missing: build the book first (make book)")
    printed, first = PdfWriter(), {}
    with TemporaryDirectory() as folder, progress_bar(len(names), "page", progress) as bar:
        for k, name in enumerate(names):
            page, sheet = html / f"{name}.html", Path(folder) / f"{k}.pdf"
            print_page(browser, page, sheet)
            first[page.as_uri()] = at = len(printed.pages)
            printed.append(PdfReader(sheet), import_outline=False)
            printed.add_outline_item(title=_title(page), page_number=at)
            bar.update(1)
        _lead_inside(printed, first)
        printed.add_metadata({"/Title": _title(html / f"{names[0]}.html")})
        written = io.BytesIO()
        printed.write(written)
    write_whole(into, written.getvalue())
    return into


def _lead_inside(printed: PdfWriter, first: Mapping[str, int]) -> None:
    """Links to files on this machine lead to the printed pages, or are none."""
    for page in printed.pages:
        kept = ArrayObject()
        for reference in page.annotations or ():
            link = reference.get_object()
            address = str(link.get("/A", {}).get("/URI", "")).partition("#")[0]
            if address in first:
                goal = printed.pages[first[address]].indirect_reference
                link[NameObject("/Dest")] = ArrayObject([goal, NameObject("/Fit")])
                del link["/A"]
            elif address.startswith("file:"):
                continue
            kept.append(reference)
        page.annotations = kept


def _title(page: Path) -> str:
    heading = re.search(r'<h1>([^\n]*?)<a class="headerlink"', page.read_text(encoding="utf-8"))
    return unescape(re.sub("<[^>]+>", "", heading[1])).strip() if heading else page.stem


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
