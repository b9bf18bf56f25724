"""Links of the rendered book that lead nowhere."""

from faithnb.book.links import broken_links


def test_a_link_must_lead_to_a_page_and_to_a_place_on_it(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "b c.html").write_text('<h1 id="é"></h1><a name="old"></a>', "utf-8")
    (tmp_path / "data.json").write_text("{}", "utf-8")
    good = ["book/b%20c.html", "book/b%20c.html#%C3%A9", "book/b%20c.html#old", "#here", "#",
            "data.json", "book/b%20c.html#r=0.1&amp;x=2", "https://example.org/none.html#x",
            "mailto:a@example.org"]  # fmt: skip
    bad = ["none.html", "book/b%20c.html#e", "#there", "book/none.json#x"]
    script = "<script>'<a href=\"in-a-script.html\">'</script>"
    links = "".join(f'<a class="x" href="{address}">y</a>' for address in good + bad)
    (tmp_path / "a.html").write_text(f'<p id="here">{script}{links}</p>', "utf-8")
    assert broken_links(tmp_path) == [f"a.html: {address}" for address in bad]
