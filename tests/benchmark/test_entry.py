"""Entries: files that say how their numbers come out again, and are refused if they do not."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from strangers import small

from faithnb import InputError
from faithnb.benchmark import again, entry, results
from faithnb.benchmark.columns import BEFORE, CERTIFIED, COLUMNS, NOT_CERTIFIED
from faithnb.benchmark.evaluate import evaluate as evaluated
from faithnb.benchmark.recipes import recipes_named
from faithnb.benchmark.tasks import TASKS

SOURCE = """
import torch

class Mine:
    sparsities = (0.1, 0.2)
    def __init__(self, sparsity=0.3):
        self.sparsity = sparsity
    def fit(self, task, seed):
        if seed == 2:
            raise ValueError("no luck")
        torch.manual_seed(seed)
        next(iter(task.batches(64, seed)))
        return torch.nn.Linear(task.d_in, task.d_out).requires_grad_(False)
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """An entry in a folder, on small tasks."""
    for name in list(TASKS):
        monkeypatch.setitem(TASKS, name, small(name))
    (tmp_path / "mine.py").write_text(SOURCE, encoding="utf-8")
    done = entry.run("mine.py:Mine", ["abs-v1"], range(4), progress=False, folder=tmp_path)
    return done.save(tmp_path)


def test_what_is_read_is_what_was_written(made):
    read = entry.Entry.load(made)
    assert made.name == f"Mine@{read.hash}.json"
    assert read.recipe == "mine.py:Mine"
    assert read.configurations == ({"sparsity": 0.1}, {"sparsity": 0.2})
    assert {"torch", "faithnb", "measures", "python", "processor"} <= set(read.versions["abs-v1"])
    assert read.rows.failed.tolist() == (["", "", "fit raised ValueError: no luck.", ""]) * 2
    assert np.isfinite(read.rows.fvu).tolist() == [True, True, False, True] * 2
    assert made.read_text(encoding="utf-8").count("\n") > 8  # a row a line
    path = read.save(made.parent)
    assert path == made
    pd.testing.assert_frame_equal(entry.Entry.load(path).rows, read.rows)


def test_an_entry_comes_out_again(made):
    assert again.check(made, progress=False) == []


def test_some_points_of_an_entry_come_out(made):
    assert again.check(changed(made, better), progress=False, points=[1]) == []
    (said,) = again.check(made, progress=False, points=[0])
    assert said.startswith("abs-v1, point 0: fvu is ")


def changed(path, change):
    found = json.loads(path.read_text(encoding="utf-8"))
    change(found)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def better(found):
    rows = found["rows"]
    fvu, point = (rows["columns"].index(name) for name in ("fvu", "point"))
    for row in rows["data"]:
        if row[fvu] is not None and row[point] == 0:
            row[fvu] *= 0.5


def test_numbers_that_do_not_come_out_are_refused(made):
    (said,) = again.check(changed(made, better), progress=False)
    assert said.startswith("abs-v1, point 0: fvu is ")
    assert "the entry says" in said


@pytest.mark.parametrize(("there", "words"), [
    ("Other 1", "the entry was run on Other 1, and this is "),
    (None, "the entry does not say on which processor it was run, and this is "),
])  # fmt: skip
def test_numbers_of_another_processor_are_refused_with_its_name(made, there, words):
    def moved(found):
        found["versions"]["abs-v1"]["processor"] = there

    assert again.check(changed(made, moved), progress=False) == []
    _, said = again.check(changed(made, better), progress=False)
    assert said.startswith(f"abs-v1: {words}")


def test_failures_that_were_hidden_are_said(made):
    def hide(found):
        rows = found["rows"]
        for row in rows["data"]:
            row[rows["columns"].index("failed")] = ""

    said = again.check(changed(made, hide), progress=False)
    assert "abs-v1, point 0: 1 seeds failed, the entry says 0." in said


def test_a_recipe_that_has_changed_cannot_be_compared(made):
    mine = made.parent / "mine.py"
    mine.write_text(SOURCE.replace("batches(64", "batches(32"), encoding="utf-8")
    with pytest.raises(InputError, match=r"the code of mine.py:Mine has changed since"):
        again.check(made, progress=False)


def test_a_task_that_it_does_not_have(made):
    with pytest.raises(InputError, match="has no rows on abs-point-v1; it has abs-v1"):
        again.check(made, ["abs-point-v1"], progress=False)


def seeds_of(path):
    return entry.Entry.load(path).rows.seed.tolist()


def test_only_the_seeds_that_are_missing_are_run(made, monkeypatch):
    recipe, run = "mine.py:Mine", []
    recipes = recipes_named(str(made.parent / recipe))

    def evaluate(made, task, seeds, executor):
        run.append(list(seeds))
        return evaluated(made, task, seeds, progress=False)

    monkeypatch.setattr(entry, "evaluate", evaluate)

    def add(*seeds):
        return list(entry.run_into(made.parent, recipe, recipes, [TASKS["abs-v1"]], seeds))

    assert add(1, 3) == [f"abs-v1: {made.name} has it already."]
    first = entry.Entry.load(made).rows
    add(3, 4)
    assert run == [[4]]
    said = json.loads(made.read_text(encoding="utf-8"))["rows"]
    assert isinstance(said["data"][0][said["columns"].index("seed")], int)
    assert seeds_of(made) == [0, 1, 2, 3, 4] * 2
    kept = entry.Entry.load(made).rows.query("seed < 4").reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)
    monkeypatch.setattr(entry, "source_hash", lambda what: "another")
    add(5)  # the package has changed: one table is of one package
    assert run == [[4], [0, 1, 2, 3, 4, 5]]
    assert seeds_of(made) == [0, 1, 2, 3, 4, 5] * 2


def test_tasks_may_have_seeds_of_their_own(made):
    recipe = "mine.py:Mine"
    recipes = recipes_named(str(made.parent / recipe))
    list(entry.run_into(made.parent, recipe, recipes, [TASKS["abs-point-v1"]], [7]))
    assert again.check(made, progress=False) == []


def renamed(columns):
    columns[columns.index("fvu")] = "other"


def no_seed(found):
    return ["sown" if name == "seed" else name for name in found["rows"]["columns"]]


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda found: found.update(format="x"), "its format is not 'faithnb entry 1'"),
    (lambda found: found.pop("code"), "it lacks code"),
    (lambda found: renamed(found["rows"]["columns"]), "its rows lack fvu"),
    (lambda found: found["rows"]["data"][0].__setitem__(3, "one"), "is no entry: "),
    (lambda found: found["rows"].update(columns=no_seed(found)), "its rows lack seed"),
    (lambda found: found["rows"]["columns"].pop(), "its table cannot be read"),
    (lambda found: found.update(rows=[{}]), "its table cannot be read"),
    (lambda found: found.update(code="0"), "what it holds belongs into Mine@"),
    (lambda found: found.update(name="Yours"), "what it holds belongs into Yours@"),
])  # fmt: skip
def test_a_file_that_is_no_entry_gets_a_sentence(made, change, sentence):
    with pytest.raises(InputError, match=sentence):
        entry.Entry.load(changed(made, change))


def test_what_cannot_be_read_gets_a_sentence(tmp_path):
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        entry.Entry.load(tmp_path / "a.json")


def rows(fvu, **more):
    n = len(fvu)
    of = dict.fromkeys(COLUMNS, 0.0) | {"task": "t", "point": 0, "failed": "", "fvu": fvu} | more
    return pd.DataFrame(of | {"seed": range(n)})


BASE = np.linspace(0.9, 1.1, 16)


@pytest.mark.parametrize(("found", "agrees"), [
    (BASE, True),
    (BASE * (1 + 1e-5), True),
    (BASE + 0.01, True),  # within one standard error, 0.0159
    (BASE + 0.03, False),
    (BASE[::-1], True),  # the same mean
])  # fmt: skip
def test_what_another_machine_may_change(found, agrees):
    assert (list(again.unlike(rows(BASE), rows(found))) == []) == agrees


def test_one_seed_may_end_elsewhere_but_not_two():
    said = rows(BASE, memorized=[1.0] * 16)
    for k, agrees in (0, True), (1, True), (2, False):
        found = rows(BASE, memorized=[0.0] * k + [1.0] * (16 - k))
        assert (list(again.unlike(said, found)) == []) == agrees


def test_an_entry_cannot_widen_what_it_may_differ_by():
    spread = BASE - 0.2 + np.tile([-0.05, 0.05], 8)
    assert list(again.unlike(rows(spread), rows(BASE)))


def test_a_measure_that_was_not_defined_must_not_be_now():
    assert list(again.unlike(rows(BASE * np.nan), rows(BASE)))
    assert not list(again.unlike(rows(BASE * np.nan), rows(BASE * np.nan)))


def test_all_entries_are_one_table(made):
    found = results.entries(made.parent)
    table = results.table(found)
    assert set(table.recipe) == {"Mine"}
    assert len(table) == 8
    grid = results.grid(table)
    assert dict(grid.sizes) == {"task": 1, "recipe": 1, "point": 2, "seed": 4}
    assert grid.fvu.isnull().sum() == 2
    assert results.table([]).empty
    with pytest.raises(InputError, match="Mine has several entries"):
        results.table([found[0], replace(found[0], code="0")])


def test_two_are_run_where_none_is_named(made):
    with pytest.raises(InputError, match="holds no entry of relu, which is to be run again"):
        again.usual(made.parent)
    paths = [
        (
            entry.run(name, [task], [0], [0.1], progress=False).save(made.parent),
            [task],
            again.USUAL_POINTS,
        )
        for name, task in again.USUAL
    ]
    assert again.usual(made.parent) == paths


def test_what_the_package_does_elsewhere_is_not_in_an_entrys_hash(made, monkeypatch):
    def run():
        return entry.run("relu", ["abs-v1"], [0], [0.1], progress=False)

    before = run()
    monkeypatch.setattr(entry, "source_hash", lambda what: "another")
    assert run().hash == before.hash
    assert run().versions["abs-v1"]["training"] == "another"


def without_certificates(found):
    rows = found["rows"]
    for name in (CERTIFIED, NOT_CERTIFIED):
        at = rows["columns"].index(name)
        rows["columns"].pop(at)
        for row in rows["data"]:
            row.pop(at)


def test_an_entry_from_before_worst_errors_were_certified_is_read_and_comes_out(made):
    read = entry.Entry.load(changed(made, without_certificates))
    assert read.rows[CERTIFIED].isna().all()
    assert set(read.rows[NOT_CERTIFIED]) == {BEFORE}
    assert again.check(made, progress=False) == []
    assert list(again.unlike(rows(BASE * np.nan), rows(BASE)))  # any other column
