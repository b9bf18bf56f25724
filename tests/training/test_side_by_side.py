"""Who trains what, and that nothing but the time depends on it."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faithnb import Experiment, Store, train
from faithnb.training import ensemble
from faithnb.training.side_by_side import divided, side_by_side

SMALL = Experiment(d_in=6, d_sae=12, batch_size=32, steps=30, repeat_frac=0.1)


@given(st.lists(st.integers(1, 64), max_size=40), st.integers(1, 16))
def test_every_instance_has_one_place(sizes, n_threads):
    first = [sum(sizes[:k]) for k in range(len(sizes))]
    groups = [list(range(a, a + n)) for a, n in zip(first, sizes, strict=True)]
    parts = divided(groups, n_threads)
    assert [i for part in parts for i in part] == list(range(sum(sizes)))
    assert all(part for part in parts)


@pytest.mark.parametrize(
    ("sizes", "n_threads", "expected"),
    [
        ([64], 2, [32, 32]),
        ([64], 1, [64]),
        ([16, 16], 2, [16, 16]),
        ([48, 48, 48], 2, [24] * 6),
        ([33], 2, [17, 16]),
        ([16, 16, 16], 2, [16] * 3),
        ([5], 2, [5]),
        ([1], 4, [1]),
        ([8] * 8, 2, [8] * 8),
    ],
)
def test_threads_get_as_many_instances_as_each_other(sizes, n_threads, expected):
    assert [len(part) for part in divided([list(range(n)) for n in sizes], n_threads)] == expected


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_threads_change_no_weight(three_threads, tmp_path):
    forms = SMALL, replace(SMALL, d_sae=16), replace(SMALL, architecture="topk", k=3,
                                                     sparsity_penalty="none",
                                                     sparsity_coefficient=0.0)  # fmt: skip
    experiments = [replace(form, seed=s) for form in forms for s in range(4)]
    many = train(experiments, progress=False, device="cpu", store=Store(tmp_path))
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    one = train(experiments, progress=False, device="cpu")
    for a, b in zip(many, one, strict=True):
        torch.testing.assert_close(a.W_dec, b.W_dec, rtol=0, atol=1e-6)
    kept = train(experiments, progress=False, device="cpu", store=Store(tmp_path))
    assert all(torch.equal(a.W_dec, b.W_dec) for a, b in zip(kept, many, strict=True))


def test_new_threads_begin_as_before(three_threads):
    train([replace(SMALL, seed=s) for s in range(4)], progress=False, device="cpu")
    found = []
    other = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert found == [3]


def test_a_task_has_several_threads_if_it_is_large_and_there_are_enough():
    def threads(*_):
        return torch.get_num_threads()

    assert dict(side_by_side(threads, ["a"], 4, large=True)) == {"a": 4}
    assert dict(side_by_side(threads, ["a", "b"], 4, large=True)) == {"a": 2, "b": 2}
    assert dict(side_by_side(threads, ["a"], 4)) == {"a": 1}


def test_a_failure_stops_the_others_at_once():
    begun = threading.Event()

    def work(task, stop):
        if task == "fails":
            begun.wait()
            raise RuntimeError("no")
        begun.set()
        assert stop.wait(60)
        stopped.append(task)

    stopped = []
    with pytest.raises(RuntimeError, match="no"):
        list(side_by_side(work, ["goes on", "fails", "never begins"], 2))
    assert stopped == ["goes on"]


def test_an_interruption_keeps_what_is_done(three_threads, tmp_path, monkeypatch):
    short, long = replace(SMALL, steps=3), replace(SMALL, steps=100_000)
    saved = threading.Event()
    save = Store.save

    def saving(store, *given):
        save(store, *given)
        saved.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", saving)
    with pytest.raises(KeyboardInterrupt, match=r"interrupted after \d+ of 100003 steps; nothing"):
        train([short, long], progress=False, device="cpu", store=Store(tmp_path))
    assert saved.is_set()
    monkeypatch.setattr(ensemble, "_train_ensemble", None)
    train([short], progress=False, device="cpu", store=Store(tmp_path))
