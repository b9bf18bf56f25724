"""What a task gives to a recipe."""

from dataclasses import replace

import pytest
import torch

from faithnb.benchmark.tasks import TASKS


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_gives_what_its_layer_does_to_its_data(task):
    x, y = next(task.batches(256, seed=1))
    assert x.shape == (256, task.d_in)
    assert y.shape == (256, task.d_out)
    assert torch.equal(y, task.layer(x))
    repeated = (x == task.setting.p).all(1).double().mean()
    assert abs(repeated - task.setting.repeat_frac) < 0.08
    assert repeated > 0
    assert not (task.held_out() == task.setting.p).all(1).any()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_twin_of_a_twin_is_the_task(task):
    twin = TASKS[task.twin]
    assert twin.twin == task.name
    assert twin.has_mechanism != task.has_mechanism


def test_the_budget_is_what_a_recipe_sees():
    task = replace(TASKS["abs-v1"], samples=1000)
    assert [len(x) for x, _ in task.batches(300, seed=0)] == [300] * 3


def test_steps_and_seeds_are_independent_and_come_again():
    task = TASKS["abs-v1"]
    first = task.sample(64, seed=1)
    assert torch.equal(first, task.sample(64, seed=1))
    for other in (task.sample(64, seed=2), task.sample(64, seed=1, step=1)):
        assert not torch.equal(first, other)
