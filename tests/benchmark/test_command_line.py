"""The benchmark's commands."""

from dataclasses import replace

import pytest
from strangers import small

from faithnb import AbsoluteValue, Transcoder
from faithnb.benchmark import __main__ as commands
from faithnb.benchmark import again, audited, entry
from faithnb.benchmark.controls import IDEAL
from faithnb.benchmark.evaluate import evaluate
from faithnb.benchmark.page import _versions
from faithnb.benchmark.tasks import TASKS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    for name in list(TASKS):
        monkeypatch.setitem(TASKS, name, small(name))
    monkeypatch.setattr(commands, "RESULTS", tmp_path / "results")
    return tmp_path


def test_the_list(capsys):
    assert commands.main(["list"]) == 0
    out = capsys.readouterr().out
    assert "abs-v1  abs, 16 → 16; twin: abs-point-v1" in out
    assert "relu, relu-matched, relu-skip, topk" in out


def test_a_folder_is_scored(here, capsys):
    ideal = Transcoder.from_circuits(AbsoluteValue(16).circuits())
    Transcoder.cat([ideal, ideal]).save(here / "t")
    assert commands.main(["score", str(here / "t"), "--task", "abs-v1", "abs-point-v1"]) == 0
    shown = capsys.readouterr()
    assert "mechanism_error_at_p" in shown.out
    assert "generalising" in shown.out
    assert "4/4" in shown.err


def test_an_entry_takes_in_one_task_after_the_other(here, capsys, monkeypatch):
    """Also after an interruption, and what it has is not run again."""
    asked = ["run", "relu", "--seeds", "2-3", "--sparsity", "0.1", "--save", "--task"]
    assert commands.main([*asked, "smooth-v1"]) == 0
    ran = []

    def interrupted(made, task, seeds, executor):
        ran.append(task.name)
        if task.name == "abs-point-v1" and ran.count("abs-point-v1") == 1:
            raise KeyboardInterrupt
        return evaluate(made, task, seeds, progress=False)

    monkeypatch.setattr(entry, "evaluate", interrupted)
    assert commands.main([*asked, "abs-v1", "abs-point-v1"]) == 130
    (path,) = (here / "results").glob("relu@*.json")
    assert [*entry.Entry.load(path).rows.task] == ["abs-v1"] * 2 + ["smooth-v1"] * 2
    assert commands.main([*asked, "abs-v1", "abs-point-v1", "smooth-v1"]) == 0
    assert ran == ["abs-v1", "abs-point-v1", "abs-point-v1"]
    assert f"abs-v1: {path.name} has it already." in capsys.readouterr().out
    tasks = [*entry.Entry.load(path).rows.task.unique()]
    assert tasks == ["abs-v1", "abs-point-v1", "smooth-v1"]
    monkeypatch.setattr(entry, "versions", lambda recipe: {"torch": "0"})
    assert commands.main([*asked, "rotated-v1"]) == 0
    kept = entry.Entry.load(path)
    assert [*kept.rows.task.unique()] == ["abs-v1", "abs-point-v1", "rotated-v1", "smooth-v1"]
    assert kept.versions["rotated-v1"] == {"torch": "0"}
    assert kept.versions["abs-v1"]["torch"] != "0"
    said = _versions(kept)
    assert said[1] == "torch 0 (on rotated-v1)"


def test_a_run_becomes_an_entry_that_comes_out(here, capsys, monkeypatch):
    asked = ["run", "relu", "--task", "abs-v1", "--seeds", "2-3", "--sparsity", "0.1", "0.2"]
    assert commands.main([*asked, "--save"]) == 0
    assert "Written: " in capsys.readouterr().out
    (path,) = (here / "results").glob("relu@*.json")
    assert set(entry.Entry.load(path).rows.seed) == {2, 3}
    monkeypatch.setattr(again, "USUAL", (("relu", "abs-v1"),))
    assert commands.main(["check"]) == 2
    assert "has no point 2; it has 2, from 0" in capsys.readouterr().err
    monkeypatch.setattr(again, "USUAL_POINTS", (1,))
    assert commands.main(["check"]) == 0
    assert "comes out" in capsys.readouterr().out
    kept = entry.Entry.load(path)
    replace(kept, rows=kept.rows.assign(parameters=1.0)).save(path.parent)
    assert commands.main(["check", str(path), "--task", "abs-v1"]) == 1
    out = capsys.readouterr().out
    assert "refused" in out
    assert "parameters is 2" in out


def test_a_file_of_an_entry_lies_beside_it(here, capsys):
    mine = "import torch\nclass Mine:\n    def fit(self, task, seed):\n        "
    mine += "torch.manual_seed(seed)\n        return torch.nn.Linear(16, 16)\n"
    (here / "results").mkdir()
    for folder in (here, here / "results"):
        (folder / "mine.py").write_text(mine, encoding="utf-8")
    asked = ["--task", "abs-v1", "--seeds", "2", "--save"]
    assert commands.main(["run", f"{here}/mine.py:Mine", *asked]) == 2
    assert "put the file into" in capsys.readouterr().err
    assert commands.main(["run", f"{here}/results/mine.py:Mine", *asked]) == 0
    (path,) = (here / "results").glob("Mine@*.json")
    assert commands.main(["check", str(path)]) == 0


def test_nothing_to_check(capsys):
    assert commands.main(["check"]) == 2
    assert "holds no entry" in capsys.readouterr().err


@pytest.mark.parametrize(("asked", "sentence"), [
    (["run", "nothing", "--task", "abs-v1"], "recipe = 'nothing' is not allowed"),
    (["run", "relu", "--task", "abs-v9"], "task = 'abs-v9' is not allowed: it must be one of abs"),
    (["run", "relu", "--task", "abs-v1", "--seeds", "few"], "seeds = 'few' is not allowed"),
    (["run", "relu", "--task", "abs-v1", "--seeds", "0"], "there is none"),
    (["run", "relu", "--task", "abs-v1", "--hidden", "3", "--save"], "leave --hidden or --save"),
    (["score", "nowhere", "--task", "abs-v1"], "nowhere"),
    (["check", "nothing.json"], "nothing.json cannot be read"),
])  # fmt: skip
def test_what_cannot_be_done_is_said(asked, sentence, capsys):
    assert commands.main(asked) == 2
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err


def test_an_audit_is_shown_and_kept(here, capsys):
    assert commands.main(["audit", "--task", "abs-v1", "--save"]) == 0
    out = capsys.readouterr().out
    assert "order: the layer's own mechanism has 0.05" in out
    found = audited.audits(here / "results")["abs-v1"]
    assert found.controls.index[0] == IDEAL
    assert "masking_index" not in found.earned
    assert found.verdicts.loc["masking_index", "reasons"]


def test_seeds():
    assert commands.seeds_named("3") == [0, 1, 2]
    assert commands.seeds_named("300-301") == [300, 301]
