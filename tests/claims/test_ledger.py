"""The ledger: verdicts from evidence, and what is handed over to the page."""

import dataclasses
import json
import random
import re
from unittest.mock import ANY

import nbformat
import numpy as np
import pytest

from faithnb import Experiment
from faithnb.book.contents import ROOT
from faithnb.book.running import gather
from faithnb.claims import ledger
from faithnb.claims.evidence import Evidence
from faithnb.claims.registry import CLAIMS, Claim
from faithnb.claims.rules import Never, Often, Reported
from faithnb.notebook import RECORD, Run, handed_over, read_records, read_runs, write_records

RUN = Run()


def evidence(*outcomes, n=16):
    return [Evidence("x", 0.5, (0.1, 0.9), n, o) for o in outcomes]


def test_an_opinion_is_never_judged():
    for claim in CLAIMS.values():
        if claim.kind in ("argument", "opinion"):
            assert ledger.verdict(claim, evidence("holds")) == "not testable as stated"
            assert claim.rule.startswith("Reported, not judged: ")


def test_all_claims_are_there_in_order():
    ids = [f"C{k}" for k in range(1, 29)] + [f"B{k}" for k in range(1, 22)]
    ids += [f"A{k}" for k in [*range(1, 9), *range(21, 25)]]
    ids += [f"P{k}" for k in range(1, 7)]
    assert list(CLAIMS) == ids + [f"L{k}" for k in range(1, 21)]
    empirical = [c.id[0] for c in CLAIMS.values() if c.kind == "empirical"]
    assert [empirical.count(letter) for letter in "CBAPL"] == [18, 21, 12, 6, 19]


def test_each_claim_is_recorded_in_exactly_one_notebook_and_no_verdict_is_typed_in():
    found = []
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        code = "\n".join(
            c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"
        )
        found += re.findall(r'claims\.judge\(\s*run,\s*"([CBAPL]\d+)"', code)
        assert not re.search(r"\boutcome\b", code), path
        assert "Evidence(" not in code, path
    assert len(found) == len(CLAIMS)
    assert set(found) == set(CLAIMS)


def test_where_a_claim_does_not_hold_is_said_in_few_words():
    grid = [{"d": d, "q": q} for d in (8, 16) for q in (0.05, 0.1, 0.3)]
    assert ledger.where_not(grid, [1] * 6) == []
    assert ledger.where_not(grid, [0] * 6) == ["every setting with something to judge (6)"]
    assert ledger.where_not(grid, [0, 0, 0, 1, 1, 1]) == ["d = 8"]
    assert ledger.where_not(grid, [1, 0, 1, 1, 0, 1]) == ["q = 0.1"]
    assert ledger.where_not(grid, [1, 0, 0, 1, 0, 1]) == ["q = 0.1", "d = 8, q = 0.3"]
    assert ledger.where_not(grid, [1, 0, 1, 1, np.nan, 1]) == ["d = 8, q = 0.1"]
    assert ledger.where_not(grid, [0, np.nan] * 3) == ["every setting with something to judge (3)"]
    assert ledger.where_not(grid, [np.nan] * 6) == []


def test_caveats():
    assert ledger.caveats(evidence("holds", n=3), 1000) == ["too few seeds"]
    assert ledger.caveats(evidence("holds", "missing", n=0), 1000) == [
        "too few seeds", "a part could not be measured",
    ]  # fmt: skip
    assert ledger.caveats(evidence("holds"), 1000) == []
    assert ledger.caveats(evidence("holds"), 199) == ["seeds that chose settings or rules"]


def test_judging_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="no claim 'C99'"):
        ledger.judge(RUN, "C99", {})
    with pytest.raises(ValueError, match="C14 needs data for 'memorizing'"):
        ledger.judge(RUN, "C14", {})
    with pytest.raises(ValueError, match="C14 has no rule for 'L0'; it has rules for 'memorizing'"):
        ledger.judge(RUN, "C14", {"memorizing": [True], "L0": [1.0]})


GIVEN = {
    "slope on log λ": (0.5, (0.1, 0.9), 16),
    "memorizing, λ = 0": [True] * 16,
    "a datapoint feature's part of p written, λ = 0": {"sparse": [False] * 16},
}


def test_what_is_recorded_reaches_the_ledger(tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr("IPython.display.publish_display_data", published.append)
    ledger.judge(RUN, "C10", GIVEN)
    assert published == []  # no notebook, nobody to hand over to
    shell = "IPython.core.interactiveshell.InteractiveShell.initialized"
    monkeypatch.setattr(shell, lambda: True)
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    at = dataclasses.replace(RUN, experiment=Experiment(repeat_frac=0.1))
    ledger.judge(at, "C10", GIVEN, {"nothing": []})
    assert str(shown[0]) == "contradicted"
    assert "✕</i> contradicted<" in shown[0]._repr_html_()

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data=published[0])]
    nbformat.validate(notebook)
    assert list(handed_over(notebook)["claims"]) == ["C10"]
    gather(notebook, tmp_path / "02_x.json")
    assert notebook.cells[0].outputs == []
    assert RECORD not in json.dumps(notebook)

    grid = {"C10": {"share": 0.75, "n": 4, "fails": ["d_in = 8"]}}
    write_records(tmp_path / "grid.json", {"grid": grid})
    assert "C10" in read_records(tmp_path)["claims"]["02_x"]
    rows = {row["id"]: row for row in ledger.read_ledger(tmp_path)}
    assert list(rows) == list(CLAIMS)
    row = rows["C10"]
    assert (row["verdict"], row["value"], row["interval"], row["n"], row["share_of_grid"]) == (
        "contradicted", 1.0, [ANY, 1.0], 16, 0.75,
    )  # fmt: skip
    assert (row["parts"], row["parts_met"], len(row["evidence"])) == (3, 2, 4)
    part = row["evidence"][2]
    assert part["statistic"] == "a datapoint feature's part of p written, λ = 0, sparse"
    assert (part["value"], part["low"], part["threshold"], part["null"]) == (0, 0, 0, 0.05)
    assert (part["n"], part["unit"], part["outcome"]) == (16, "transcoders", "holds")
    assert part["text"].startswith(f"{part['statistic']}: 0 [0, ")
    assert (row["seeds"], row["setting"]) == ({"first": 1000, "n": 16}, {"repeat_frac": 0.1})
    assert row["rule"] == CLAIMS["C10"].rule
    assert row["chapter"] == "notebooks/02_x"
    assert (row["fails_at"], rows["C1"]["fails_at"]) == (["d_in = 8"], [])
    assert ledger.as_html([row]).count("On the grid it does not hold at: d_in = 8.") == 1
    assert [ledger.of_grid(rows[k]) for k in ("C10", "C1")] == ["3 of 4", "–"]
    assert "2 of 3 parts, 1 contradicted, 3 of 4 settings" in ledger.as_html([row])
    assert rows["C1"]["verdict"] == "not measured"
    text = ledger.to_json(list(rows.values()), {"profile": "quick"})
    assert json.loads(text) == {"build": {"profile": "quick"}, "claims": list(rows.values())}
    assert "NaN" not in text
    assert ledger.headline(rows.values())["contradicted"] == 1
    assert ledger.headline(rows.values(), whose="B")["not measured"] == 21
    assert ledger.headline(rows.values(), whose=("B", "A", "L"))["not measured"] == 52
    assert ledger.as_html(list(rows.values())).count("<tr") == len(rows) + 1


def test_a_claim_that_was_added_in_a_notebook_stands_at_the_end_of_the_ledger(monkeypatch):
    handed = {}
    monkeypatch.setattr(ledger, "hand_over", lambda kind, data: handed.update(data))
    added = [
        Claim("D1", "empirical", "Nothing.", {"L0 is odd": Often()}, {"never": Never()}),
        Claim("D2", "opinion", "Anything.", {"L0": Reported()}),
    ]
    with monkeypatch.context() as here:
        for one in added:
            here.setitem(CLAIMS, one.id, one)
        ledger.judge(RUN, "D1", {"L0 is odd": [True] * 9, "never": [False] * 9})
        ledger.judge(RUN, "D2", {"L0": [1.0, 2.0]})
    assert not {"D1", "D2"} & set(CLAIMS)
    *_, first, second = ledger.as_rows(json.loads(json.dumps(handed)))
    assert (first["id"], first["verdict"], first["value"]) == ("D1", "holds", 1.0)
    assert (second["verdict"], second["value"]) == ("not testable as stated", 1.5)
    for row, one in zip((first, second), added, strict=True):
        assert (row["statement"], row["rule"]) == (one.statement, one.rule)


def test_whatever_a_claim_is_called_it_is_text_on_a_page(tmp_path):
    bad = "<script>&"
    row = ledger.read_ledger(tmp_path)[0] | {"id": bad, "kind": bad}
    shown = ledger.Verdict(dataclasses.replace(CLAIMS["C1"], id=bad), evidence("holds"))
    for page in (ledger.as_html([row]), shown._repr_html_()):
        assert "<script" not in page
        assert "&lt;script&gt;&amp;" in page


def test_only_empirical_claims_count_in_the_headline():
    rows = [
        {"id": "C2", "kind": "identity", "verdict": "holds"},
        {"id": "C1", "kind": "empirical", "verdict": "mixed"},
    ]
    count = ledger.headline(rows)
    assert (count["empirical"], count["holds"], count["mixed"]) == (1, 0, 1)


def test_no_flipped_bit_of_a_record_gives_another_number(tmp_path):
    records = {"claims": {"C10": {"value": 0.25, "interval": [0.125, None], "n": 16, "to": "é"}}}
    path, lot = tmp_path / "02_x.json", random.Random(0)
    write_records(path, records)
    whole = path.read_bytes()
    assert read_records(tmp_path)["claims"]["02_x"] == records["claims"]
    for _ in range(1000):
        content = bytearray(whole)
        content[lot.randrange(len(content))] ^= 1 << lot.randrange(8)
        path.write_bytes(content)
        with pytest.raises(ValueError, match="02_x.json is damaged: build the book again"):
            read_records(tmp_path)


def test_a_transcoder_that_two_chapters_share_is_read_once(tmp_path):
    one = {"fvu": [0.1, 0.2], "l0": [1, 2], "jacobian_error_at_p": [0.5, None],
           "state": ["pair", "other"]}  # fmt: skip
    more = {"fvu": [0.2, 0.3], "l0": [2, 3]}
    write_records(tmp_path / "01_a.json", {"runs": {"x": one}})
    write_records(tmp_path / "02_b.json", {"runs": {"again": one, "y": more}})
    write_records(tmp_path / "03_c.json", {"claims": {}})
    found = read_runs(tmp_path)
    assert found.fvu.tolist() == [0.1, 0.2, 0.2, 0.3]
    assert found.condition.tolist() == [0, 0, 1, 1]
    assert found.state.tolist()[:2] == ["pair", "other"]
    assert found.jacobian_error_at_p.isna().tolist() == [False, True, True, True]
    assert len(read_runs(tmp_path / "nothing")) == 0
