"""The ledger: evidence against its rules, verdicts from evidence, and what travels to the page."""

import dataclasses
import json
import random
import re

import nbformat
import numpy as np
import pytest

from faithnb.book.build import ROOT, gather
from faithnb.claims import rules as ev
from faithnb.claims import statements
from faithnb.notebook import (
    RECORD,
    Run,
    handed_over,
    read_records,
    read_runs,
    write_records,
)

YES, NO = [True] * 16, [False] * 16
RUN = Run()


def some(k, n=16):
    return [True] * k + [False] * (n - k)


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        (ev.induced("", YES, NO), "yes"),
        (ev.induced("", some(1), NO), "no"),
        (ev.induced("", some(60, 300), [False] * 300), "partly"),  # clear, but small
        (ev.induced("", NO, YES), "no"),
        (ev.cured("", NO, YES), "yes"),
        (ev.cured("", some(6), YES), "partly"),  # half of them are left
        (ev.cured("", YES, YES), "no"),
        (ev.often("", some(15), 0.9), "yes"),
        (ev.often("", some(14), 0.9), "partly"),
        (ev.often("", some(4), 0.9), "no"),
        (ev.often("", [], 0.9), "missing"),
        (ev.never("", []), "missing"),
        (ev.marginal("", []), "missing"),
        (ev.never("", NO), "yes"),
        (ev.never("", some(1, 100)), "partly"),
        (ev.never("", some(2)), "no"),
        (ev.marginal("", some(7)), "yes"),
        (ev.marginal("", NO), "no"),
        (ev.marginal("", YES), "no"),
        (ev.above("", 1.0, 0.0, (0.5, 2.0), 5), "yes"),
        (ev.above("", 1.0, 0.0, (-0.5, 2.0), 5), "no"),
        (ev.above("", -1.0, 0.0, (-2.0, 2.0), 5), "no"),
        (ev.above("", float("nan"), 0.0, (float("nan"),) * 2, 5), "missing"),
        (ev.within("", 1.0, (float("nan"), 1.2), (0.67, 1.5), 5), "missing"),
        (ev.below("", 0.0, 1.0, None, 5), "yes"),
        (ev.below("", 0.0, 1.0, (-1.0, 2.0), 5), "no"),
        (ev.within("", 1.0, (0.8, 1.4), (0.67, 1.5), 5), "yes"),
        (ev.within("", 1.0, (0.5, 1.4), (0.67, 1.5), 5), "partly"),
        (ev.within("", 2.0, (1.4, 2.4), (0.67, 1.5), 5), "no"),
        (ev.exact("", 1e-8, 1e-7, 5), "yes"),
        (ev.exact("", 1e-6, 1e-7, 5), "no"),
        (ev.exact("", float("nan"), 1e-7, 5), "no"),
        (ev.shown("", [1, 2, 3]), "shown"),
        (ev.shown("", []), "shown"),
    ],
)
def test_rules(found, outcome):
    assert found.outcome == outcome


def test_larger_needs_size_and_certainty():
    rng, seeds = np.random.default_rng(0), np.arange(30)
    a, b = rng.normal(3, 1, 30), rng.normal(0, 1, 30)
    assert ev.larger("", a, b, seeds, seeds).outcome == "yes"
    assert ev.larger("", a - 2, b, seeds, seeds).outcome == "partly"
    assert ev.larger("", b, a, seeds, seeds).outcome == "no"
    assert ev.larger("", [], b, [], seeds).outcome == "missing"
    assert ev.larger("", a, b, seeds, seeds).n == 30
    assert ev.larger("", a[:2], b, seeds[:2], seeds).outcome == "missing"
    assert ev.larger("", a, b, seeds * 0, seeds).outcome == "missing"
    with_nan = ev.larger("", [*a, np.nan], b, [*seeds, 99], seeds)
    assert (with_nan.outcome, with_nan.n) == ("yes", 30)


def evidence(*outcomes, n=16):
    return [ev.Evidence("x", 0.5, (0.1, 0.9), n, o) for o in outcomes]


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (("yes", "yes"), "reproduced"),
        (("yes", "shown"), "reproduced"),
        (("yes", "no"), "partly"),
        (("partly",), "partly"),
        (("no", "no"), "not reproduced"),
        (("shown",), "not measured"),
        (("yes", "missing"), "partly"),
        (("no", "missing"), "not reproduced"),
        (("missing",), "not measured"),
        ((), "not measured"),
    ],
)
def test_a_verdict_follows_from_all_of_the_evidence(outcomes, verdict):
    assert statements.verdict(statements.CLAIMS["C1"], evidence(*outcomes)) == verdict


def test_an_opinion_is_never_judged():
    for claim in statements.CLAIMS.values():
        if claim.kind in ("argument", "opinion"):
            assert statements.verdict(claim, evidence("yes")) == "not testable as stated"
            assert claim.rule.startswith("Not judged")


def test_all_claims_are_there_in_order():
    ids = [f"C{k}" for k in range(1, 29)] + [f"B{k}" for k in range(1, 22)]
    assert list(statements.CLAIMS) == ids
    empirical = [c.id[0] for c in statements.CLAIMS.values() if c.kind == "empirical"]
    assert (empirical.count("C"), empirical.count("B")) == (18, 21)


def test_each_claim_is_recorded_in_exactly_one_notebook_and_no_verdict_is_typed_in():
    found = []
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        code = "\n".join(
            c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"
        )
        found += re.findall(r'claims\.record\(\s*run,\s*"([CB]\d+)"', code)
        assert "outcome" not in code, path
        assert "ev.Evidence(" not in code, path
    assert len(found) == len(statements.CLAIMS)
    assert set(found) == set(statements.CLAIMS)


def test_where_a_claim_does_not_hold_is_said_in_few_words():
    grid = [{"d": d, "q": q} for d in (8, 16) for q in (0.05, 0.1, 0.3)]
    assert statements.where_not(grid, [1] * 6) == []
    assert statements.where_not(grid, [0] * 6) == ["every setting with something to judge (6)"]
    assert statements.where_not(grid, [0, 0, 0, 1, 1, 1]) == ["d = 8"]
    assert statements.where_not(grid, [1, 0, 1, 1, 0, 1]) == ["q = 0.1"]
    assert statements.where_not(grid, [1, 0, 0, 1, 0, 1]) == ["q = 0.1", "d = 8, q = 0.3"]
    assert statements.where_not(grid, [1, 0, 1, 1, np.nan, 1]) == ["d = 8, q = 0.1"]
    assert statements.where_not(grid, [0, np.nan] * 3) == [
        "every setting with something to judge (3)"
    ]
    assert statements.where_not(grid, [np.nan] * 6) == []


def test_caveats():
    assert statements.caveats(evidence("yes", n=3), 200) == ["too few seeds"]
    assert statements.caveats(evidence("yes", "missing", n=0), 200) == [
        "too few seeds", "a part could not be measured",
    ]  # fmt: skip
    assert statements.caveats(evidence("yes"), 200) == []
    assert statements.caveats(evidence("yes"), 199) == ["seeds that chose settings or rules"]


def test_recording_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="no claim 'C99'"):
        statements.record(RUN, "C99", *evidence("yes"))
    with pytest.raises(ValueError, match="C1 needs evidence"):
        statements.record(RUN, "C1")


def test_what_is_recorded_reaches_the_ledger(tmp_path, monkeypatch):
    published = []
    monkeypatch.setattr("IPython.display.publish_display_data", published.append)
    statements.record(RUN, "C10", *evidence("yes"))
    assert published == []  # no notebook, nobody to hand over to
    shell = "IPython.core.interactiveshell.InteractiveShell.initialized"
    monkeypatch.setattr(shell, lambda: True)
    nan = ev.Evidence("y", float("nan"), (float("nan"), 1.0), 0, "shown")
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    statements.record(RUN, "C10", *evidence("yes", "no"), nan)
    assert str(shown[0]) == "partly"
    assert "C10: partly" in shown[0]._repr_html_()

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
    rows = {row["id"]: row for row in statements.read_ledger(tmp_path)}
    assert list(rows) == list(statements.CLAIMS)
    row = rows["C10"]
    assert (row["verdict"], row["value"], row["interval"], row["n"], row["share_of_grid"]) == (
        "partly", 0.5, [0.1, 0.9], 16, 0.75,
    )  # fmt: skip
    assert row["chapter"] == "notebooks/02_x"
    assert (row["fails_at"], rows["C1"]["fails_at"]) == (["d_in = 8"], [])
    assert statements.as_html([row]).count("Its core does not hold at: d_in = 8.") == 1
    assert [statements.of_grid(rows[k]) for k in ("C10", "C1")] == ["3 of 4", "–"]
    assert "<td>3 of 4</td>" in statements.as_html([row])
    assert rows["C1"]["verdict"] == "not measured"
    text = statements.to_json(list(rows.values()))
    assert {"id", "kind", "verdict", "value", "interval", "n"} <= set(json.loads(text)[0])
    assert "NaN" not in text
    assert statements.headline(rows.values())["partly"] == 1
    assert statements.headline(rows.values(), whose="B")["not measured"] == 21
    assert statements.as_html(list(rows.values())).count("<tr>") == len(rows) + 1


def test_whatever_a_claim_is_called_it_is_text_on_a_page(tmp_path):
    bad = "<script>&"
    row = statements.read_ledger(tmp_path)[0] | {"id": bad, "kind": bad}
    shown = statements.Verdict(
        dataclasses.replace(statements.CLAIMS["C1"], id=bad), evidence("yes")
    )
    for page in (statements.as_html([row]), shown._repr_html_()):
        assert "<script" not in page
        assert "&lt;script&gt;&amp;" in page


def test_only_empirical_claims_count_in_the_headline():
    rows = [
        {"id": "C2", "kind": "identity", "verdict": "reproduced"},
        {"id": "C1", "kind": "empirical", "verdict": "partly"},
    ]
    count = statements.headline(rows)
    assert (count["empirical"], count["reproduced"], count["partly"]) == (1, 0, 1)


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
