"""Processes that train beside one another give the same rows as one."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from strangers import Gives, Relu, small

from faithnb import InputError, ParameterError
from faithnb.benchmark import __main__ as commands
from faithnb.benchmark import evaluate
from faithnb.benchmark.pool import pool
from faithnb.benchmark.recipes import recipes_named

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


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "mine.py"
    path.write_text(SOURCE, encoding="utf-8")
    return f"{path}:Mine"


@pytest.mark.parametrize("own", [True, False])
def test_the_rows_of_two_processes_are_those_of_one(own, mine, capsys):
    tasks = [small(steps=20), small("abs-point-v1", steps=20)]
    spec, sweep = ("relu", [0.05, 0.1]) if own else (mine, None)
    made = recipes_named(spec, sweep)
    alone = evaluate(made, tasks, range(3), progress=False).rows.drop(columns="seconds")
    with pool(spec, 2) as executor:
        found = evaluate(made, tasks, range(3), executor=executor)
    assert "12/12" in capsys.readouterr().err
    pd.testing.assert_frame_equal(found.rows.drop(columns="seconds"), alone, rtol=1e-4, atol=1e-6)
    assert (found.rows.seconds > 0).all()


def test_one_process_is_this_one():
    with pool("relu", 1) as executor:
        assert executor is None


def test_a_process_computes_on_one_thread():
    with pool("relu", 2) as executor:
        assert executor.submit(torch.get_num_threads).result() == 1


@pytest.mark.parametrize("workers", [0, -1])
def test_no_process_at_all(workers, capsys):
    refused = pytest.raises(ParameterError, match=f"workers = {workers} is not allowed")
    with refused, pool("relu", workers):
        pass
    asked = ["run", "relu", "--task", "abs-v1", "--seeds", "1", "--workers", str(workers)]
    assert commands.main(asked) == 2
    assert "must be 1 or more" in capsys.readouterr().err


class Fatal:
    def fit(self, task, seed):
        os._exit(1)


def test_a_process_that_is_lost_is_said():
    context = multiprocessing.get_context("fork")
    lost = pytest.raises(InputError, match="a process that trained was lost")
    with ProcessPoolExecutor(1, context) as executor, lost:
        evaluate(Fatal(), small(), [0, 1], progress=False, executor=executor)


def test_a_recipe_that_no_other_process_can_have():
    recipe = Gives(lambda seed: Relu())
    with pool("relu", 2) as executor, pytest.raises(InputError, match="no other process can run"):
        evaluate(recipe, small(), [0], progress=False, executor=executor)


def test_any_executor_will_do():
    with ThreadPoolExecutor(2) as executor:
        found = evaluate(
            Gives(lambda seed: Relu()), small(), range(4), progress=False, executor=executor
        )
    assert found.rows.seed.tolist() == [0, 1, 2, 3]
    assert (found.rows.failed == "").all()
