"""Verdicts in chapters: boxes with both counts."""

import json

from faithnb.book.verdict_boxes import complete_boxes, completed
from faithnb.claims.evidence import Evidence
from faithnb.claims.ledger import Verdict, as_rows
from faithnb.claims.registry import CLAIMS
from faithnb.notebook import write_records

PARTS = [Evidence("x", 0.5, (0.1, 0.9), 16, "holds")] * 2


def shown(name="C7"):
    return Verdict(CLAIMS[name], tuple(PARTS))._repr_html_()


def test_a_box_gets_the_grids_count(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "records").mkdir()
    found = {
        "kind": "empirical",
        "statement": "",
        "caveats": [],
        "evidence": list(map(vars, PARTS)),
    }
    write_records(tmp_path / "records" / "01.json", {"claims": {"C7": found}})
    grid = {"C7": {"share": 0.25, "n": 8, "fails": []}}
    write_records(tmp_path / "records" / "elsewhere.json", {"grid": grid})
    outputs = [{"data": {"text/html": [shown()], "text/plain": "C7"}}, {"name": "stdout"}]
    page = tmp_path / "notebooks" / "01.ipynb"
    page.write_text(json.dumps({"cells": [{"outputs": outputs}, {"source": "x"}]}), "utf-8")
    assert "holds</span>" in shown()
    complete_boxes(tmp_path, tmp_path / "records")
    new = json.loads(page.read_text("utf-8"))["cells"][0]["outputs"][0]["data"]["text/html"]
    assert "at the headline setting only" in new
    assert "2 of 2 parts, 2 of 8 settings" in new


def test_what_is_beside_a_box_stays():
    row = {"C7": None}
    text = f"<p>before</p>{shown()}<p>between</p>{shown('C3')}<p>after</p>"
    assert completed(text, {}) == text
    again = completed(text, {k: _row("C7") for k in row})
    assert again.startswith("<p>before</p>")
    assert again.endswith(f"<p>between</p>{shown('C3')}<p>after</p>")
    assert "1 of 8 settings" in again


def _row(name):
    grid = {name: {"share": 0.125, "n": 8, "fails": []}}
    found = {"kind": "empirical", "statement": "", "evidence": list(map(vars, PARTS))}
    return next(row for row in as_rows({name: found}, grid=grid) if row["id"] == name)
