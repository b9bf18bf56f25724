"""Who wrote the book, and where it is: from CITATION.cff alone."""

import json
import shutil

import pytest
from pybtex.database import parse_string

from faithnb.book.citation import identify, read_citation
from faithnb.book.contents import ROOT, plain_yaml

WHERE = "https://example.org/faithnb"


def staged(tmp_path, more=""):
    """The configuration after a CITATION.cff with some lines more, and the page's entries."""
    (tmp_path / "book").mkdir()
    shutil.copy(ROOT / "_config.yml", tmp_path)
    citation = tmp_path / "CITATION.cff"
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation.write_text(text + more, encoding="utf-8")
    identify(tmp_path, citation)
    config = json.loads((tmp_path / "_config.yml").read_text(encoding="utf-8"))
    return config, (tmp_path / "book" / "cite_as.md").read_text(encoding="utf-8")


def test_a_repository_is_linked_on_every_page(tmp_path):
    more = f'repository-code: "{WHERE}"\ndoi: "10.1/2"\ndate-released: 2030-01-02\n'
    config, entries = staged(tmp_path, more)
    assert config["repository"]["url"] == WHERE
    theme = config["sphinx"]["config"]["html_theme_options"]
    assert theme["repository_url"] == WHERE
    assert theme["use_repository_button"]
    assert theme["use_issues_button"]
    assert f'<a href="{WHERE}">Code</a>' in theme["extra_footer"]
    links = config["parse"]["myst_substitutions"]["links"]
    assert f"[Code]({WHERE}) · [DOI](https://doi.org/10.1/2)" in links
    assert "The faithnb contributors (2030). Does it compute the same way? Version" in entries


def test_what_is_not_known_is_left_out(tmp_path):
    book, note = read_citation(ROOT / "CITATION.cff")
    if book.repository or book.doi:
        pytest.skip("it is known by now")
    config, entries = staged(tmp_path)
    assert "repository" not in config
    assert "<a" not in config["sphinx"]["config"]["html_theme_options"]["extra_footer"]
    assert config["parse"]["myst_substitutions"]["links"].startswith(f"[The note]({note.url})")
    assert "Code" not in json.dumps(config["parse"])
    assert config["sphinx"]["config"]["html_theme_options"]["use_repository_button"] is False
    assert entries.count("```bibtex") == 2


@pytest.mark.parametrize("doi", ["", "10.1/2"])
def test_entries_are_bibtex(tmp_path, doi):
    _, entries = staged(tmp_path, f"doi: {doi}\n" if doi else "")
    bibtex = "\n".join(part.split("```")[0] for part in entries.split("```bibtex")[1:])
    found = parse_string(bibtex, "bibtex").entries
    assert [str(p) for p in found["olah2025faithfulness"].persons["author"]] == ["Olah, Chris"]
    assert [str(p) for p in found["faithnb"].persons["author"]] == ["{the faithnb contributors}"]
    assert found["faithnb"].fields.get("doi", "") == doi


def test_the_book_has_one_name():
    book, _ = read_citation(ROOT / "CITATION.cff")
    config = plain_yaml().load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert (config["title"], config["author"]) == (book.title, book.authors[0])
    root = plain_yaml().load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["root"]
    page = ROOT / f"{root}.md"
    if page.exists():
        first = page.read_text(encoding="utf-8")
    else:
        notebook = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
        first = "".join(notebook["cells"][0]["source"])
    assert first.splitlines()[0] == f"# {book.title}"
