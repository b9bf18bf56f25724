"""What ``claims.json`` says of its build."""

import json

import faithnb
from faithnb.book.about import about_build

ROWS = [{"seeds": {"first": 300, "n": 3}}, {"seeds": None}, {"seeds": {"first": 200, "n": 3}}]


def test_a_build_that_is_repeated_has_its_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    found = about_build("quick", ROWS)
    assert found["date"] == "1970-01-02T00:00:00+00:00"
    assert found["seeds"] == {"n": 3, "first": [200, 300]}
    assert found["versions"]["faithnb"] == faithnb.__version__
    assert found["processor"]
    assert json.loads(json.dumps(found)) == found


def test_without_a_date_it_is_now(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert about_build("paper", [])["date"] > "2025"


def test_outside_of_a_clone_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setattr("faithnb.book.about.ROOT", tmp_path)
    assert about_build("paper", [])["commit"] is None
