"""What was published against what came out here."""

import json

import pytest

from faithnb.book import published
from faithnb.book.contents import ROOT, BuildError
from faithnb.claims.registry import CLAIMS

THERE = [
    {"id": "C1", "verdict": "holds", "value": 0.5, "interval": [0.4, 0.6]},
    {"id": "C2", "verdict": "mixed", "value": 0.5, "interval": None},
    {"id": "C3", "verdict": "holds", "value": 0.5, "interval": [0.4, None]},
    {"id": "C4", "verdict": "holds", "value": None, "interval": None},
]


def here(**changes):
    return [row | changes.get(row["id"], {}) for row in THERE]


def test_the_same_ledger_agrees():
    rows = published.compared(THERE, here())
    assert [row.id for row in rows] == ["C1", "C2", "C3", "C4"]
    assert all(row.agrees for row in rows)
    assert [row.within for row in rows] == [True, None, None, None]
    assert "4 of 4 verdicts are the same. 1 of 1 numbers" in published.in_short(rows)


@pytest.mark.parametrize(
    ("value", "agrees"), [(0.4, True), (0.6, True), (0.61, False), (0.39, False), (None, True)]
)
def test_a_number_outside_of_its_interval_does_not_agree(value, agrees):
    assert published.compared(THERE, here(C1={"value": value}))[0].agrees is agrees


def test_another_verdict_does_not_agree_and_neither_does_a_claim_that_is_missing():
    rows = published.compared(THERE, [*here(C2={"verdict": "contradicted"})[:3], {"id": "N1"}])
    assert {row.id: row.agrees for row in rows} == {
        "C1": True, "C2": False, "C3": True, "C4": False, "N1": True,
    }  # fmt: skip


def test_numbers_of_one_statistic_are_compared():
    there = [{"id": "C1", "statistic": "a", "value": 0.5, "interval": [0.4, 0.6]}]
    parts = [{"statistic": "b", "value": 9.0}, {"statistic": "a", "value": 0.7}]
    other = {"id": "C1", "statistic": "b", "value": 9.0}
    assert published.compared(there, [other | {"evidence": parts}])[0].number_here == 0.7
    assert published.compared(there, [other | {"evidence": ["a: 0.7"]}])[0].number_here is None


def built(folder, profile):
    machine = {"name": "a processor", "cores": 2, "speed": 1.0}
    (folder / "src" / "book").mkdir(parents=True)
    (folder / "src" / "book" / "freeze.txt").write_text("torch==2\nnumpy==2\n")
    (folder / "costs.json").write_text(json.dumps({"profile": profile, "machine": machine}))
    return folder


def test_the_record_is_made_from_a_build_of_the_published_profile_alone(tmp_path):
    into = tmp_path / "record.json"
    with pytest.raises(BuildError, match="build the book first"):
        published.keep(tmp_path, into)
    with pytest.raises(BuildError, match="has the profile quick; what is published is paper"):
        published.keep(built(tmp_path / "quick", "quick"), into)
    assert published.read_published(into) is None
    published.keep(built(tmp_path / "paper", "paper"), into)
    record = published.read_published(into)
    assert record["processor"] == "a processor"
    assert record["packages"] == ["torch==2", "numpy==2"]
    assert {row["id"] for row in record["claims"]} == set(CLAIMS)


def test_the_exit_status_says_whether_all_agrees(tmp_path, monkeypatch, capsys):
    build = built(tmp_path / "b", "paper")
    monkeypatch.setattr(published, "read_published", lambda: None)
    assert published.main(["compare"], build) == 2
    assert "on record yet" in capsys.readouterr().err
    record = {"claims": THERE}
    monkeypatch.setattr(published, "read_published", lambda: record)
    for rows, status in ((here(), 0), (here(C1={"value": 9.0}), 1)):
        monkeypatch.setattr(published, "read_ledger", lambda _, rows=rows: rows)
        assert published.main(["compare"], build) == status
    assert capsys.readouterr().out.splitlines()[1].startswith("C1 | holds | holds |")


def test_the_page_shows_both_columns_or_says_that_there_is_no_record():
    assert published.as_markdown(None, here()) == f"{published.NONE_YET}\n"
    about = dict.fromkeys(("date", "python", "torch", "processor"), "x")
    page = published.as_markdown(about | {"claims": THERE}, here(C1={"value": 0.7}))
    assert "| C1 | holds | holds | 0.5 | [0.4, 0.6] | 0.7 | no |" in page
    assert page.count("\n| C") == 4


def test_a_record_in_the_repository_is_of_the_published_profile():
    record = published.read_published()
    assert record is None or record["profile"] == "paper"
    assert "```{include} verify.md" in (ROOT / "book" / "reproduce.md").read_text(encoding="utf-8")
