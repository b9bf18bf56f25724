"""A recipe over seeds: what fails is said, and the rest is kept."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from strangers import Gives, Relu, small
from torch import nn

from faithnb import InputError
from faithnb.benchmark import TASKS, evaluate
from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.controls import controls
from faithnb.book.contents import ROOT

TASK = small()


def test_a_row_for_each_task_point_and_seed():
    tasks = [small(), small("abs-point-v1")]
    made = [Gives(lambda seed: Relu(), sparsity=s) for s in (0.1, 0.2)]
    done = evaluate(made, tasks, seeds=[3, 5], progress=False)
    rows = done.rows
    assert list(zip(rows.task, rows.sparsity, rows.seed, strict=True)) == [
        (task.name, s, seed) for task in tasks for s in (0.1, 0.2) for seed in (3, 5)
    ]
    assert (rows.failed == "").all()
    assert (rows.samples == 64).all()
    assert (rows.seconds > 0).all()
    assert (rows.parameters == 16 * 40 * 2 + 56).all()
    assert done.failures() == []
    assert len(done.summary()) == 4


def boom(seed):
    if seed == 1:
        raise RuntimeError("the disk is full\nand more")
    return Relu()


class Cold(nn.Module):
    """On another device, which holds no values."""

    def forward(self, x):
        return x.to("meta")


@pytest.mark.parametrize(("make", "sentence"), [
    (boom, "fit raised RuntimeError: the disk is full."),
    (lambda seed: Relu() if seed != 1 else None, "fit gave a NoneType, not a module."),
    (lambda seed: Relu() if seed != 1 else nn.Linear(16, 8),
     "Linear is not allowed: it maps [8192, 16] to [8192, 8], and must map it to [8192, 16]."),
    (lambda seed: Relu() if seed != 1 else (lambda x: x / 0),
     "function is not allowed: what it gives is not finite on 8192 of 8192 inputs."),
    (lambda seed: Relu() if seed != 1 else Cold(), "NotImplementedError: Cannot copy out of meta"),
    (lambda seed: Relu() if seed != 1 else nn.Linear(16, 16, device="meta"),
     "Linear is not allowed: it must map [B, 16] to [B, 16] (NotImplementedError"),
])  # fmt: skip
def test_a_seed_that_fails_keeps_its_sentence_and_the_others_their_scores(make, sentence):
    done = evaluate(Gives(make), TASK, seeds=range(3), progress=False)
    failed = done.rows.failed.tolist()
    assert failed[0] == failed[2] == ""
    assert sentence in failed[1]
    assert "\n" not in failed[1]
    assert np.isfinite(done.rows.fvu.to_numpy(float)).tolist() == [True, False, True]
    assert done.failures() == [f"abs-v1, seed 1: {failed[1]}"]
    assert done.summary().failed.tolist() == [1]
    assert failed[1] in str(done)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_scored(dtype):
    done = evaluate(Gives(lambda seed: Relu().to(dtype)), TASK, seeds=[0], progress=False)
    full = evaluate(Gives(lambda seed: Relu()), TASK, seeds=[0], progress=False)
    assert done.rows.failed.tolist() == [""]
    assert done.rows.fvu[0] == pytest.approx(full.rows.fvu[0], rel=0.05)


class Many:
    """Trains all seeds at once."""

    name = "many"

    def __init__(self, give):
        self.give = give

    def fit_many(self, task, seeds):
        return self.give(seeds)

    def fit(self, task, seed):
        raise AssertionError


def test_many_at_once():
    ideal = controls(TASK)["ideal"]
    one_is_bad = Many(lambda seeds: [ideal, InputError("training diverged"), ideal])
    rows = evaluate(one_is_bad, TASK, seeds=range(3), progress=False).rows
    assert rows.failed.tolist() == ["", "training diverged.", ""]
    assert rows.fvu[2] < 1e-12
    assert np.isnan(rows.samples[0])  # it was given none, and says nothing
    too_few = evaluate(Many(lambda seeds: [ideal]), TASK, seeds=range(3), progress=False).rows
    assert set(too_few.failed) == {"fit_many raised fit_many gave 1 modules for 3 seeds."}


class Greedy:
    def fit(self, task, seed):
        for step in range(100):
            task.sample(64, seed, step)
        return Relu()


def test_a_recipe_sees_no_more_than_the_task_allows():
    rows = evaluate(Greedy(), TASK, seeds=[0], progress=False).rows
    assert rows.failed[0] == (
        "fit raised the recipe saw 2560 samples and asked for 64 more; abs-v1 allows 2560."
    )


@pytest.mark.parametrize(("recipe", "seeds", "sentence"), [
    (Greedy, [0], "must be an object with fit"),
    (nn.Linear(2, 2), [0], "must be an object with fit"),
    (Greedy(), [], "a recipe, a task and a seed"),
])  # fmt: skip
def test_what_is_no_recipe_is_said_before_any_work(recipe, seeds, sentence):
    with pytest.raises(InputError, match=sentence):
        evaluate(recipe, TASK, seeds)


def test_the_readmes_recipe_goes_through(monkeypatch, capsys):
    """As it stands there, on less data."""
    (block,) = [
        code
        for code in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
        if "evaluate(" in code
    ]
    recipe = block.split("class L1:")[1].split("print(")[0]
    assert len(recipe.strip().splitlines()) <= 20
    assert "faithnb" not in recipe
    monkeypatch.setitem(TASKS, "abs-v1", replace(TASKS["abs-v1"], samples=200 * 512))
    exec(block, {"__name__": "readme"})
    shown = capsys.readouterr()
    assert "4/4" in shown.err
    for column in ("seeds", "fvu", "l0", "mechanism_error"):
        assert column in shown.out
    (row,) = [line.split() for line in shown.out.splitlines() if line.startswith("abs-v1")]
    assert row[3:5] == ["4", "0"]


def test_every_column_is_in_the_rows():
    rows = evaluate(Gives(boom), TASK, seeds=[1], progress=False).rows
    assert {*COLUMNS, "state", "failed", "point", "sparsity", "seed", "task"} <= set(rows)
