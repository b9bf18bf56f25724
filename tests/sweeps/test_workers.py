"""Who works on a sweep may fail, fall silent or leave: each ends in a sentence, nothing is lost."""

import threading
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context

import pytest
import torch

from faithnb import Experiment, sweep
from faithnb.sweeps import tasks, workers
from faithnb.sweeps.tasks import SweepError
from faithnb.training.ensemble import DivergenceWarning
from faithnb.training.store import Store

SMALL = Experiment(d_in=6, d_sae=16, batch_size=32, steps=5, repeat_frac=0.1)
AXES = {"d_sae": [8, 10, 12, 14], "seed": range(2)}
CPU = torch.device("cpu")
RUN_AGAIN = "experiments were done and are kept; run it again to go on."


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(tasks, "SECONDS_BETWEEN_LOOKS", 0.02)


def kept_in(store):
    cells = [replace(SMALL, d_sae=h, seed=s) for h in AXES["d_sae"] for s in AXES["seed"]]
    return sum(Store(store.folder).holds(Store.keys(cells, CPU)))


def swept(tmp_path, executor=None, **axes):
    return sweep(SMALL, executor, Store(tmp_path), "cpu", progress=False, **(axes or AXES))


def test_an_executor_that_is_shut_down_in_the_middle(tmp_path, monkeypatch):
    """Its tasks are cancelled, and nobody is told."""
    handed_out = threading.Semaphore(0)

    class Pool(ThreadPoolExecutor):
        def submit(self, call, *given, **named):
            future = super().submit(call, *given, **named)
            handed_out.release()
            return future

    pool, task = Pool(1), workers._task

    def last(*given):
        for _ in range(5):
            handed_out.acquire()
        pool.shutdown(wait=False, cancel_futures=True)
        return task(*given)

    monkeypatch.setattr(workers, "_task", last)
    sentence = rf"3 of 4 groups .* failed \(the executor was shut down\). 2 of 8 {RUN_AGAIN}"
    with pytest.raises(SweepError, match=sentence):
        swept(tmp_path, pool)
    assert kept_in(Store(tmp_path)) == 2


def test_an_executor_that_was_shut_down_before(tmp_path):
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    sentence = "cannot help: RuntimeError: cannot schedule .* shutdown. Nothing was trained."
    with pytest.raises(SweepError, match=sentence):
        swept(tmp_path, pool)


def test_an_executor_that_is_shut_down_while_it_is_given_its_tasks(tmp_path):
    class Pool(ThreadPoolExecutor):
        given = 0

        def submit(self, call, *given, **named):
            self.given += 1
            if self.given == 4:
                self.shutdown(wait=False)
            return super().submit(call, *given, **named)

    sentence = rf"2 of 4 groups .* \(RuntimeError: cannot schedule .*\). 4 of 8 {RUN_AGAIN}"
    with pytest.raises(SweepError, match=sentence):
        swept(tmp_path, Pool(1))
    assert kept_in(Store(tmp_path)) == 4


class Silent(Executor):
    """Does so many tasks, then nothing more."""

    def __init__(self, tasks=0):
        self.left = tasks

    def submit(self, call, /, *given, **named):
        future = Future()
        if self.left:
            self.left -= 1
            future.set_result(call(*given, **named))
        return future


def test_nobody_is_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "SECONDS_WITHOUT_A_RESULT", 0.3)
    monkeypatch.setattr(workers, "SECONDS_OF_SILENCE", 0.1)
    monkeypatch.setattr(workers, "SECONDS_OF_WORK", 0.1)
    with (
        pytest.warns(UserWarning, match="No worker has answered for 0 seconds; waiting for one"),
        pytest.raises(SweepError, match="cannot help: no worker has answered for .* Nothing was"),
    ):
        swept(tmp_path, Silent())
    sentence = rf"2 of 4 groups .* \(no worker has answered for .*\). 4 of 8 {RUN_AGAIN}"
    with (
        pytest.warns(UserWarning, match="No worker has answered"),
        pytest.raises(SweepError, match=sentence),
    ):
        swept(tmp_path, Silent(3))
    assert kept_in(Store(tmp_path)) == 4


def test_what_was_handed_out_is_taken_back_when_a_sweep_is_interrupted(tmp_path, monkeypatch):
    futures = []

    class Recording(Silent):
        def submit(self, *given):
            futures.append(super().submit(*given))
            return futures[-1]

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", interrupted)
    executor = Recording(2)
    with pytest.raises(KeyboardInterrupt) as held:
        swept(tmp_path, executor)
    assert [future.cancelled() for future in futures] == [False, False]
    assert "0 of 8 experiments were done" in str(held.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(), "ValueError"),
        (ValueError("a\nb."), "ValueError: a\nb"),
        (SystemExit(3), "a worker was stopped by SystemExit: 3"),
        (KeyboardInterrupt(), "a worker was stopped by KeyboardInterrupt"),
    ],
)
def test_whatever_a_worker_raises_has_a_name(error, reason, tmp_path, monkeypatch):
    def fails(*_):
        raise error

    monkeypatch.setattr(workers, "measure", fails)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SweepError) as raised:
        swept(tmp_path, pool)
    assert f"4 of 4 groups of experiments failed ({reason}). 0 of 8" in str(raised.value)


@pytest.mark.parametrize("answer", [None, ("2.0", "no device"), 3])
def test_a_worker_that_introduces_itself_as_nobody(answer, monkeypatch):
    monkeypatch.setattr(workers, "_introduction", lambda *_: answer)
    with ThreadPoolExecutor(1) as pool, pytest.raises(SweepError, match="executor cannot help"):
        workers.OtherWorkers("auto", pool)


@pytest.mark.parametrize(
    ("width", "expected"),
    [(3, 3), (None, 1), (0, 1), (-2, 1), ("many", 1), (float("nan"), 1), ([2], 1), (2.5, 2)],
)
def test_how_wide_an_executor_seems(width, expected):
    executor = Silent()
    assert workers.width(executor) == 1
    executor._max_workers = width
    assert workers.width(executor) == expected
    executor._client = object()  # of something that is not Dask
    assert workers.width(executor) == 1


@pytest.fixture
def fails(monkeypatch):
    """Groups with few features."""
    measure = workers.measure

    def failing(experiments, *given):
        if experiments[0].d_sae < 12:
            raise IndexError("amax(): no elements")
        return measure(experiments, *given)

    monkeypatch.setattr(workers, "measure", failing)


def test_a_group_that_fails_in_this_process_does_not_stop_the_others(tmp_path, fails):
    sentence = rf"2 of 4 groups .* failed \(IndexError: amax\(\): no elements\). 4 of 8 {RUN_AGAIN}"
    with pytest.raises(SweepError, match=sentence) as raised:
        swept(tmp_path)
    assert isinstance(raised.value.__cause__, IndexError)
    assert kept_in(Store(tmp_path)) == 4


def test_without_a_store_nothing_is_said_to_be_kept(fails):
    with pytest.raises(SweepError, match="4 of 8 experiments were done; no store keeps them.$"):
        sweep(SMALL, device="cpu", progress=False, **AXES)


def test_the_only_group_that_fails(tmp_path, fails):
    with pytest.raises(SweepError, match=r"1 of 1 groups .* \(IndexError: .* 0 of 2 ") as raised:
        swept(tmp_path, d_sae=[8], seed=[0, 1])
    assert isinstance(raised.value.__cause__, IndexError)


def test_what_failed_holds_no_memory(tmp_path, monkeypatch):
    def fails(experiments, *_):
        large = torch.zeros(3)
        raise MemoryError(f"no room beside {large}")

    monkeypatch.setattr(workers, "measure", fails)
    with pytest.raises(SweepError) as raised:
        swept(tmp_path)
    trace = raised.value.__cause__.__traceback__
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_locals == {}


def test_a_store_that_cannot_be_written_is_not_said_to_keep_anything(tmp_path, fails):
    (tmp_path / "file").touch()
    with (
        pytest.warns(UserWarning, match="cannot be (written|read)"),
        pytest.raises(SweepError, match="0 of 8 experiments were done and are kept"),
    ):
        swept(tmp_path / "file")


def test_a_warning_that_is_an_error_loses_no_result(tmp_path, monkeypatch):
    measure = workers.measure

    def diverged(*given):
        table, packs = measure(*given)
        return table.assign(mse=table.mse * float("nan")), packs

    monkeypatch.setattr(workers, "measure", diverged)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DivergenceWarning)
        with pytest.raises(DivergenceWarning):
            swept(tmp_path, Silent(5))
    assert kept_in(Store(tmp_path)) == 2


def test_a_worker_never_silences_the_warning_of_another_thread(monkeypatch):
    """Filters are the whole process's: while one thread ignores a warning, all do."""
    silenced = []
    simplefilter = warnings.simplefilter

    def recording(action, category=Warning, *given):
        silenced.append((action, category))
        simplefilter(action, category, *given)

    monkeypatch.setattr(warnings, "simplefilter", recording)
    cells = [replace(SMALL, seed=s, learning_rate=1e12) for s in range(2)]
    with pytest.warns(DivergenceWarning) as said:
        table, _ = workers.measure(cells, [], CPU, False)
    assert table.mse.isnull().all()
    assert [w.category for w in said] == [DivergenceWarning]
    assert ("ignore", DivergenceWarning) not in silenced


def test_an_executor_that_takes_no_task_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "SECONDS_WITHOUT_A_RESULT", 3.0)
    never = threading.Event()

    class Full(Silent):
        def submit(self, *given):
            if not self.left:
                never.wait()
            return super().submit(*given)

    sentence = "cannot help: the executor has taken no task for 3 seconds. Nothing was trained."
    with pytest.raises(SweepError, match=sentence):
        swept(tmp_path, Full())
    sentence = rf"2 of 4 groups .* \(the executor has taken no task .*\). 4 of 8 {RUN_AGAIN}"
    with pytest.raises(SweepError, match=sentence):
        swept(tmp_path, Full(3))
    never.set()
    assert kept_in(Store(tmp_path)) == 4


def test_an_executor_that_takes_a_task_when_another_is_done(tmp_path):
    """What is done is kept before the last task is taken."""
    kept = []

    class OneAtATime(Silent):
        def submit(self, *given):
            kept.append(kept_in(Store(tmp_path)))
            return super().submit(*given)

    swept(tmp_path, OneAtATime(5))
    assert kept == [0, 0, 2, 4, 6]


def test_an_executor_is_given_its_tasks_in_the_context_of_the_caller(tmp_path):
    asked = ContextVar("asked", default="nobody")

    class Asking(Silent):
        def submit(self, *given):
            assert asked.get() == "me"
            return super().submit(*given)

    token = asked.set("me")
    swept(tmp_path, Asking(5))
    asked.reset(token)


@pytest.mark.parametrize("kind", [k for k in get_all_start_methods() if k != "spawn"])
def test_processes_that_are_forked(kind, tmp_path):
    """``spawn`` stands in test_cluster."""
    here = swept(tmp_path / "here")
    with ProcessPoolExecutor(2, mp_context=get_context(kind)) as pool:
        assert swept(tmp_path / "there", pool).equals(here)


def test_a_call_is_waited_for_within_a_limit():
    never = threading.Event()
    assert tasks.within(60, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        tasks.within(60, lambda: 1 / 0)
    with pytest.raises(TimeoutError, match="no answer within 0 seconds"):
        tasks.within(0.05, never.wait)
    assert all(t.daemon for t in threading.enumerate() if t.name == "faithnb.within")
    never.set()
