"""The built book as a paper."""

import re

import pytest
from browsing import ON_PAPER, opened
from bs4 import BeautifulSoup
from pypdf import PdfReader

from faithnb.book.citation import read_citation
from faithnb.book.contents import ROOT, pages
from faithnb.book.paper import compose, on_paper
from faithnb.book.pdf import print_book

pytestmark = pytest.mark.book

SHEET = 627  # pixels of A4 between the paper's margins

CODE = (
    "Show code",
    "Hide code",
    "read_parameters(",
    "import numpy",
    "from faithnb",
    "claims.judge(",
)


@pytest.fixture(scope="module")
def printed(html, browser, tmp_path_factory):
    file = tmp_path_factory.mktemp("paper") / "book.pdf"
    return PdfReader(print_book(html, file, progress=False))


@pytest.fixture(scope="module")
def words(printed):
    """Of every sheet."""
    return [" ".join(sheet.extract_text().split()) for sheet in printed.pages]


def test_it_can_be_mailed(printed):
    assert printed.stream.seek(0, 2) < 20_000_000
    assert 80 < len(printed.pages) < 400


def test_it_begins_with_title_authors_abstract_and_contents(html, printed, words):
    work, _ = read_citation(ROOT / "CITATION.cff")
    landing = BeautifulSoup((html / "notebooks" / "index.html").read_text(), "html.parser")
    first = landing.select_one(".abstract em").get_text()  # the note's title
    front = words[0]
    positions = [front.index(part) for part in (work.title, work.authors[0], "Abstract", first)]
    assert positions == sorted(positions)
    start = next(k for k, text in enumerate(words) if text.startswith(f"{k + 1} In short"))
    assert "Contents" in " ".join(words[:start])
    numbered = re.findall(r" (\d+)(?= |$)", " ".join(words[:start]).partition("Contents")[2])
    assert numbered.count(str(start + 1)) >= 1
    assert printed.metadata.title == work.title


def test_its_outline_has_the_chapters_in_order_and_the_references_last(printed, words):
    starts = [printed.get_destination_page_number(item) for item in printed.outline]
    assert len(starts) == len(on_paper(pages(ROOT / "_toc.yml"))) + 1
    assert starts == sorted(set(starts))
    assert printed.outline[-1].title == "References"
    assert words[starts[-1]].startswith(f"{starts[-1] + 1} References ")
    assert "arXiv" in words[-1]


def test_it_has_no_code(words):
    assert [(part, k) for part in CODE for k, text in enumerate(words) if part in text] == []


def test_no_link_leads_to_the_machine_that_built_it(printed):
    addresses = [
        str(note.get_object().get("/A", {}).get("/URI", ""))
        for sheet in printed.pages
        for note in sheet.annotations or ()
    ]
    assert [address for address in addresses if address and not address.startswith("http")] == []
    assert sum(not address for address in addresses) > 100  # within the paper


def test_nothing_is_cut_off_and_all_is_dark_on_white(html, browser, tmp_path):
    work, _ = read_citation(ROOT / "CITATION.cff")
    page = tmp_path / "paper.html"
    page.write_text(str(compose(html, on_paper(pages(ROOT / "_toc.yml")), work)), encoding="utf-8")
    tab, _ = opened(browser, page.as_uri(), SHEET)
    tab.emulate_media(media="print")
    if (html / "_static" / "vendor").exists():
        tab.wait_for_function("MathJax.startup && MathJax.startup.promise.then(() => true)")
    images = "[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
    assert tab.evaluate(images) == []
    found = tab.evaluate(ON_PAPER)
    assert found["cut"] == []
    assert found["pale"] == []
    tab.context.close()
