"""The book on paper."""

import shutil

import pytest
from pypdf import PdfReader

from faithnb.book import pdf

PAGE = """<html><body><div hidden><h1>on paper only</h1></div>
<h1><span>7.</span> {0} &amp; more<a class="headerlink">#</a></h1><p>{0} text</p>
<a href="two.html#x">a</a> <a href="data.json">b</a> <a href="https://example.org/">c</a></body></html>"""


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "pages", lambda _: ["one", "two"])
    for name in ("one", "two"):
        (tmp_path / f"{name}.html").write_text(PAGE.format(name))
    return tmp_path


def test_pages_are_printed_in_order_with_an_outline(built, browser):
    done = pdf.print_book(built, built / "book.pdf", progress=False)
    book = PdfReader(done)
    assert [page.extract_text().split()[-5] for page in book.pages] == ["one", "two"]
    assert [item.title for item in book.outline] == ["7. one & more", "7. two & more"]
    assert book.metadata.title == "7. one & more"


def test_links_lead_to_printed_pages_or_elsewhere_but_not_to_this_machine(built, browser):
    book = PdfReader(pdf.print_book(built, built / "book.pdf", progress=False))
    first = [a.get_object() for a in book.pages[0]["/Annots"]]
    assert [a.get("/A", {}).get("/URI") for a in first] == [None, "https://example.org/"]
    assert book.get_page_number(first[0]["/Dest"][0].get_object()) == 1
    assert b"file:" not in (built / "book.pdf").read_bytes()


def test_without_a_browser_nothing_is_built(monkeypatch, capsys):
    monkeypatch.setattr(pdf, "BROWSERS", ())
    monkeypatch.setattr(pdf.build, "main", None)
    assert pdf.main(["--profile", "quick"]) == 1
    assert "no browser was found" in capsys.readouterr().err


def test_a_book_that_is_not_built_is_said(built, monkeypatch):
    monkeypatch.setattr(pdf, "find_browser", lambda: "browser")
    (built / "two.html").unlink()
    with pytest.raises(pdf.NoPdf, match="two.html is missing: build the book first"):
        pdf.print_book(built, built / "book.pdf")


def test_no_browser_and_one_that_fails_are_said(built, monkeypatch):
    (built / "book.pdf").write_text("before")
    monkeypatch.setattr(pdf, "find_browser", lambda: shutil.which("false"))
    with pytest.raises(pdf.NoPdf, match=r"did not print one.html: it gave no reason"):
        pdf.print_book(built, built / "book.pdf", progress=False)
    assert (built / "book.pdf").read_text() == "before"
    monkeypatch.undo()
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    with pytest.raises(pdf.NoPdf, match="looked for no-such-browser"):
        pdf.find_browser()
