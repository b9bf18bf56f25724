"""What the benchmark's page is made from."""

import pytest
from strangers import small

from faithnb.benchmark import audited, entry
from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.controls import IDEAL, controls
from faithnb.benchmark.entry import RESULTS
from faithnb.benchmark.page import counts, page_of, state_of, table_of_tasks
from faithnb.benchmark.score import score
from faithnb.benchmark.tasks import TASKS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two entries with 16 seeds on a small task, and its columns."""
    for name in list(TASKS):
        monkeypatch.setitem(TASKS, name, small(name, steps=4))
    audited.Audited.of(TASKS["abs-v1"]).save(tmp_path)
    for name in ("relu", "relu-skip"):
        entry.run(name, ["abs-v1"], range(16), [0.1, 0.2], progress=False).save(tmp_path)
    return tmp_path


def test_what_the_folder_says(folder):
    page = page_of(folder)
    assert state_of(page) == f"The folder holds 2 entries, on 1 of {len(TASKS)} tasks."
    assert [row["recipe"] for row in page["rows"]].count("relu") == 2
    ideal = next(row for row in page["rows"] if row["recipe"] == IDEAL)
    assert ideal["control"]
    assert ideal["values"][[*COLUMNS].index("mechanism_error")] == [0.0]
    mean, low, high = page["rows"][-1]["values"][0]
    assert low <= mean <= high
    assert set(page["lenses"]["abs-v1"]) < set(COLUMNS)
    earned = {name for name, of in page["lenses"]["abs-v1"].items() if of["earned"]}
    assert {d["column"] for d in page["differences"]} <= earned
    assert {(d["first"], d["second"]) for d in page["differences"]} <= {("relu", "relu-skip")}
    assert page["entries"][0]["failures"] == []


def test_an_empty_folder_says_so(tmp_path):
    page = page_of(tmp_path)
    assert state_of(page) == "The folder holds no entry yet."
    assert page["rows"] == []
    assert counts(page).empty


def test_every_task_is_told():
    found = table_of_tasks()
    assert [*found.index] == [*TASKS]
    assert found["what it is"].str.endswith(".").all()


def test_the_folder_of_this_checkout_can_be_read_and_its_controls_come_out():
    page = page_of(RESULTS)
    for name, each in audited.audits(RESULTS).items():
        found = {k: score(module, TASKS[name]) for k, module in controls(TASKS[name]).items()}
        for control, said in each.controls.iterrows():
            for column in COLUMNS:
                assert said[column] == pytest.approx(
                    found[control][column], rel=1e-4, abs=1e-6, nan_ok=True
                ), (name, control, column)
    assert {of["name"] for of in page["tasks"]} == {*TASKS}
