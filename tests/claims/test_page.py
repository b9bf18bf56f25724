"""Verdicts on a page: icons and colours, marks, and text that stays text."""

import re

from faithnb.book.contents import ROOT
from faithnb.claims import CLAIMS, as_html, as_rows, changes
from faithnb.claims.evidence import Evidence
from faithnb.claims.page import PARTS, box, chip
from faithnb.claims.verdicts import LOOKS, VERDICTS


def rows(**outcomes):
    evidence = {name: [vars(Evidence(o, 0.5, (0.1, 0.9), 16, o)) for o in of]
                for name, of in outcomes.items()}  # fmt: skip
    found = {name: {"kind": "empirical", "statement": "", "evidence": of}
             for name, of in evidence.items()}  # fmt: skip
    return [row for row in as_rows(found) if row["id"] in found]


def test_each_verdict_has_a_colour_in_both_themes_and_only_what_holds_is_green():
    style = (ROOT / "book" / "static" / "book.css").read_text(encoding="utf-8")
    colours = {}
    for names, colour in re.findall(r"^ *(\.v-[^{]*) \{ --verdict: (#\w+); \}", style, re.M):
        for name in re.findall(r"v-(\w+)", names):
            colours.setdefault(name, []).append(colour)
    assert set(colours) == {look.key for look in (*LOOKS.values(), *PARTS.values())}

    def green(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        r, g, b = (int(digits[k : k + 2], 16) for k in (0, 2, 4))
        return g > max(r, b)

    for name, both in colours.items():
        assert len(both) == 2, name
        assert [green(c) for c in both] == [name == "holds"] * 2, name


def test_a_chip_has_icon_words_and_mark():
    (marked,) = rows(C19=["weaker"])
    assert chip(marked).startswith('<span class="chip v-weaker"><i class="icon"')
    assert "weaker <abbr" in chip(marked)
    assert CLAIMS["C19"].changed in chip(marked)
    (plain,) = rows(C1=["holds"])
    assert "abbr" not in chip(plain)


def test_a_box_shows_every_part_with_its_own_icon():
    (one,) = rows(C1=["holds", "contradicted", "missing", "reported"])
    shown = box(one)
    assert shown.startswith('<div class="verdict v-contradicted" data-claim="C1">')
    assert re.findall(r'<li class="v-(\w+)">', shown) == [
        "holds", "contradicted", "unmeasured", "untestable",
    ]  # fmt: skip


def test_the_ledger_has_the_verdict_before_the_statement_and_the_worst_part_last():
    table = as_html(rows(C1=["holds"], C19=["weaker"]))
    assert re.findall("<th>(.*?)</th>", table) == ["claim", "verdict", "statement", "worst part"]
    assert table.count("<tr class=") == 2
    assert "0.5 <br>[0.1, 0.9]" in table
    assert table.count("Changed after its seeds were seen") == 2  # as a hint, and in the row


def test_changes_are_listed():
    listed = changes().splitlines()
    assert f"- **C19**: {CLAIMS['C19'].changed}" in listed
    assert len(listed) == sum(bool(claim.changed) for claim in CLAIMS.values())
    assert len(LOOKS) == len(VERDICTS)
