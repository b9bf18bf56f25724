"""The book's pages."""

from faithnb.book.contents import ROOT, pages


def test_pages_are_read_from_the_table_of_contents():
    assert pages(ROOT / "_toc.yml")[:3] == [
        "notebooks/index", "notebooks/story", "book/background"
    ]  # fmt: skip
