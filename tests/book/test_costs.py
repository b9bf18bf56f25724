"""What notebooks cost: the table, and what it says of another machine."""

import json

import pytest

from faithnb.book import costs, planned
from faithnb.book.contents import ROOT, BuildError, pages
from faithnb.book.costs import Cost, Costs
from faithnb.book.machine import Machine
from faithnb.notebook import PROFILES

THERE = Machine("slow", 2, speed=1000.0)
TOOK = Costs(
    "2026-01-01", THERE, 40.0, {"a": Cost(80.0, (0.25, 0.75)), "b": Cost(40.0), "c": Cost(10.0)}
)


def test_a_machine_twice_as_fast_takes_half_as_long():
    twice = Machine("fast", 2, speed=2000.0)
    for here, factor in ((THERE, 1.0), (twice, 0.5)):
        assert TOOK.seconds_on(here, 2)["a"] == pytest.approx(80 * factor)
        assert TOOK.rendering_on(here) == pytest.approx(40 * factor)
    many = Machine("many cores", 64, speed=1000.0)
    assert TOOK.seconds_on(many, 4)["a"] == pytest.approx(80 / 2)  # not 64 times as fast


def test_work_done_follows_the_cells_that_took_it():
    assert Cost(1.0, (0.25, 0.75)).done(1, 2) == 0.25
    assert Cost(1.0, (0.25, 0.75)).done(1, 4) == 0.25  # cells have changed: evenly
    assert Cost(1.0).done(3, 4) == 0.75


def test_tasks_are_begun_in_order_by_whoever_is_free():
    assert costs.makespan([3, 1, 1, 4], 2) == 6
    assert costs.makespan([3, 1], 1) == 4
    assert costs.makespan([], 2) == 0


def test_a_plan_counts_what_is_not_kept(monkeypatch):
    monkeypatch.setattr(planned, "recorded", lambda _: TOOK)
    todo = planned.plan("quick", ["a", "b"], ["c", "new"], THERE, 2, kept={"b"})
    alone = 0.5  # one notebook has both cores
    assert todo.weights == {
        "a": 40.0, "b": 0.0, "c": 10 * alone, "new": 40 * alone, "rendering": 40.0,
    }  # fmt: skip
    assert todo.expected == 80 + 25 + 40
    assert "at quick, the book takes about 2 min or less" in todo.sentence("quick", THERE)
    assert planned.paper_here(["a"], [], THERE, 1) == 80 * alone + 40


def test_a_profile_that_was_never_recorded_is_said(monkeypatch):
    monkeypatch.setattr(planned, "recorded", lambda _: None)
    todo = planned.plan("large", ["a", "b"], ["c"], THERE, 2, kept={"b"})
    assert todo.weights == {"a": 1.0, "b": 0.0, "c": 1.0, "rendering": 1.0}
    assert "never recorded" in todo.sentence("large", THERE)


def test_what_a_build_took_is_kept_if_it_did_all_of_it(tmp_path):
    table = tmp_path / "table.json"
    with pytest.raises(BuildError, match="build the book first"):
        costs.keep(tmp_path, table)
    for reused, from_empty in ((["a"], True), ([], False)):
        costs.write_last(tmp_path, "quick", TOOK, reused, from_empty)
        with pytest.raises(BuildError, match="used again what was kept"):
            costs.keep(tmp_path, table)
    for profile in ("quick", "draft"):
        costs.write_last(tmp_path, profile, TOOK, [], True)
        assert "2.2 core-minutes" in costs.keep(tmp_path, table)
    assert list(json.loads(table.read_text())) == ["quick", "draft"]
    assert costs.recorded("draft", table) == TOOK
    assert costs.recorded("paper", table) is None


def test_the_table_knows_only_profiles_and_notebooks_that_there_are():
    entries = json.loads(costs.TABLE.read_text(encoding="utf-8"))
    assert set(entries) <= set(PROFILES)
    there = {page.rpartition("/")[2] for page in pages(ROOT / "_toc.yml") if "notebooks" in page}
    for entry in entries.values():
        assert set(entry["notebooks"]) <= there
