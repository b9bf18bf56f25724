"""The book as a paper in one PDF."""

import shutil

import pytest
from pypdf import PdfReader

from faithnb.book import pdf

PAGE = """<html><head></head><body><div hidden><h1>not of the article</h1></div><article>
<section id="x"><h1><span>7.</span> {0} &amp; more<a class="headerlink" href="#x">#</a></h1>
<div class="abstract"><p>What {0} finds.</p></div><div><p>{0} text</p></div>
<pre class="cell_input">code</pre><a href="two.html#x">to two</a>
<a href="data.json">b</a> <a href="https://example.org/">c</a></section></article></body></html>"""

STYLE = """@page { @bottom-center { content: "page " counter(page); } }
.chapter { break-before: page; }"""


def small_book(folder, patch):
    """Two pages as Jupyter Book would leave them."""
    patch.setattr(pdf, "pages", lambda _: ["one", "two"])
    (folder / "_static").mkdir()
    (folder / "_static" / "paper.css").write_text(STYLE)
    for name in ("one", "two"):
        (folder / f"{name}.html").write_text(PAGE.format(name))
    return folder


@pytest.fixture
def built(tmp_path, monkeypatch):
    return small_book(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def printed(tmp_path_factory, browser):
    """The paper of two pages."""
    with pytest.MonkeyPatch.context() as patch:
        folder = small_book(tmp_path_factory.mktemp("pdf"), patch)
        return PdfReader(pdf.print_book(folder, folder / "book.pdf", progress=False))


def words(page):
    """Without spaces, which are guessed from where letters stand."""
    return "".join(page.extract_text().split())


def test_a_paper_has_a_front_and_then_its_chapters_in_order(printed):
    front, one, two = map(words, printed.pages)
    assert "7.one&moreBy" in front
    assert "Whatonefinds.Contents" in front
    assert "Inshort2" in front
    assert "7.two&more3" in front
    assert "Inshortonetexttotwo" in one
    assert "7.two&moreWhattwofinds.twotext" in two
    assert not any("code" in page for page in (front, one, two))
    assert ["page1" in front, "page2" in one, "page3" in two] == [True] * 3


def test_it_has_an_outline_and_says_what_it_is(printed):
    numbers = [printed.get_destination_page_number(item) for item in printed.outline]
    assert [item.title for item in printed.outline] == ["In short", "7. two & more"]
    assert numbers == [1, 2]
    assert printed.metadata.title == "7. one & more"
    assert printed.metadata.author


def test_links_lead_to_printed_pages_or_elsewhere_but_not_to_this_machine(printed):
    links = [a.get_object() for a in printed.pages[1]["/Annots"]]
    (inside,) = (a for a in links if "/Dest" in a)
    name = inside["/Dest"]
    assert printed.get_destination_page_number(printed.named_destinations[name]) == 2
    assert [a["/A"]["/URI"] for a in links if "/A" in a] == ["https://example.org/"]
    printed.stream.seek(0)
    assert b"file:" not in printed.stream.read()


def test_its_fonts_are_in_it(printed):
    fonts = [font.get_object() for font in printed.pages[0]["/Resources"]["/Font"].values()]
    assert fonts
    for font in fonts:
        inner = font.get("/DescendantFonts", [font])[0].get_object()
        assert {"/FontFile", "/FontFile2", "/FontFile3", "/CharProcs"} & {
            *inner, *inner.get("/FontDescriptor", {})
        }  # fmt: skip


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
    with pytest.raises(pdf.NoPdf, match=r"did not print paper.html: it gave no reason"):
        pdf.print_book(built, built / "book.pdf", progress=False)
    assert (built / "book.pdf").read_text() == "before"
    monkeypatch.undo()
    monkeypatch.setattr(pdf, "BROWSERS", ("no-such-browser",))
    with pytest.raises(pdf.NoPdf, match="looked for no-such-browser"):
        pdf.find_browser()
