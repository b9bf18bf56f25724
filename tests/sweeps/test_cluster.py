"""Sweeps with real workers: results do not depend on who does the work, or on who dies."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import xarray as xr

from faithnb import Experiment, sweep
from faithnb.sweeps import workers
from faithnb.sweeps.cluster import connect
from faithnb.sweeps.tasks import SweepError
from faithnb.training.store import Store

SMALL = Experiment(d_in=6, d_sae=16, batch_size=32, steps=30, repeat_frac=0.1)
CPU = torch.device("cpu")
AXES = {"repeat_frac": [0.0, 0.1, 0.2], "d_sae": [8, 12], "seed": range(8)}


@pytest.fixture(scope="module")
def expected():
    return sweep(SMALL, progress=False, **AXES)


@pytest.fixture(scope="module")
def dask():
    executor = connect("local", 2)
    yield executor
    executor._client.cluster.close()
    executor._client.close()


def assert_same(found, expected):
    xr.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert (found.state == expected.state).all()


def test_threads_and_processes(expected, tmp_path):
    for pool in (ThreadPoolExecutor(2), ProcessPoolExecutor(2, mp_context=get_context("spawn"))):
        with pool as executor:
            store = Store(tmp_path / type(pool).__name__)
            found = sweep(SMALL, executor, store, progress=False, weights=True, **AXES)
            assert_same(found, expected)
        assert len(list(store.folder.iterdir())) > 4
        again = sweep(SMALL, store=store, progress=False, **AXES)
        assert again.drop_attrs().identical(found.drop_attrs())


def test_dask(dask, expected, tmp_path):
    assert connect("local", 2) is dask
    found = sweep(SMALL, dask, Store(tmp_path), progress=False, **AXES)
    assert_same(found, expected)
    assert found.attrs == expected.attrs


def test_the_work_is_cut_so_that_every_worker_has_some(monkeypatch):
    sizes = []

    class Pool(ThreadPoolExecutor):
        def submit(self, call, *given, **named):
            if call is workers._task:
                sizes.append(len(given[0]))
            return super().submit(call, *given, **named)

    for n_seeds, n_workers, expected in ((128, 2, [16] * 8), (300, 1, [64] * 4 + [44])):
        sizes.clear()
        with Pool(n_workers) as pool:
            sweep(SMALL, pool, progress=False, seed=range(n_seeds), steps=[1])
        if n_workers == 1:
            expected = [64] * 4 + [44]
        assert sorted(sizes, reverse=True) == expected


def slow(steps=400):
    return {"steps": [steps], "repeat_frac": [0.0, 0.1], "seed": range(48)}


def test_a_worker_is_killed_retired_and_joined_in_the_middle(dask, tmp_path):
    client = dask._client
    pids = client.run(os.getpid)
    killed, retired = random.sample(sorted(pids), 2)
    result = {}

    def go():
        result["found"] = sweep(SMALL, dask, Store(tmp_path), progress=False, **slow(1000))

    thread = threading.Thread(target=go)
    thread.start()
    wait_for(lambda: len(list(tmp_path.glob("*.results"))) >= 1)
    client.cluster.scale(3)
    os.kill(pids[killed], signal.SIGKILL)
    wait_for(lambda: killed not in client.scheduler_info(n_workers=-1)["workers"])
    wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) >= 2)
    client.retire_workers([retired])
    assert thread.is_alive()
    thread.join(120)
    client.cluster.scale(2)
    assert_same(result["found"], sweep(SMALL, progress=False, **slow(1000)))


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_process_of_a_pool_is_said_and_loses_nothing(tmp_path):
    pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    store = Store(tmp_path)

    def kill():
        wait_for(lambda: len(list(tmp_path.glob("*.results"))) >= 1)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(SweepError, match=r"\d of 6 groups .*BrokenProcessPool.*kept"):
        sweep(SMALL, pool, store, progress=False, **slow(2000))
    killer.join()
    kept = len(list(tmp_path.glob("*.results")))
    assert 1 <= kept < 6
    found = sweep(SMALL, store=store, progress=False, **slow(2000))
    assert not found.mse.isnull().any()


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_a_worker_with_another_version_is_refused(kind, dask, monkeypatch, tmp_path):
    """The worker's source is what it is; here it seems to be another."""
    executor = dask if kind == "dask" else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    monkeypatch.setattr(workers, "source_hash", lambda: "0123456789abcdef")
    with pytest.raises(SweepError, match=r"runs another version of faithnb \(source .*here 0123"):
        sweep(SMALL, executor, Store(tmp_path), progress=False, seed=range(2))
    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["faithnb", "torch"])
def test_one_worker_of_another_version_among_others(what, tmp_path, monkeypatch):
    """It joined after the first had answered."""
    calls = []

    def task(*given):
        calls.append(given)
        *_, (source, torch_, *added) = given
        if len(calls) == 2:
            other = (source, "2.0", *added) if what == "torch" else ("0123", torch_, *added)
            return real(*given[:-1], other)
        return real(*given)

    real = workers._task
    monkeypatch.setattr(workers, "_task", task)
    sentence = f"another version of {what} .* 16 of 48 experiments were done and are kept"
    with ThreadPoolExecutor(1) as pool, pytest.raises(SweepError, match=sentence):
        sweep(SMALL, pool, Store(tmp_path), progress=False, **AXES)
    assert len(list(tmp_path.iterdir())) == 1


BEGUN, GO_ON = threading.Event(), threading.Event()


def held(*given):
    """A task that ends when it is allowed to."""
    BEGUN.set()
    GO_ON.wait(60)
    raise AssertionError


@pytest.mark.parametrize("gone", ["connection", "client"])
def test_a_scheduler_that_is_lost_is_said(gone, tmp_path, monkeypatch):
    from distributed import Client, LocalCluster

    local = LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None)
    client = Client(local, set_as_default=False, timeout=1)
    BEGUN.clear()
    GO_ON.clear()

    def lose():
        BEGUN.wait(60)
        if gone == "connection":
            client.loop.add_callback(client.scheduler_comm.comm.abort)
        else:
            client.close(5)

    thread = threading.Thread(target=lose)
    thread.start()
    monkeypatch.setattr(workers, "_task", held)
    sentence = r"4 of 4 groups .* \(the connection to the Dask scheduler was lost.* 0 of 48"
    with pytest.raises(SweepError, match=sentence):
        sweep(SMALL, client.get_executor(pure=False), Store(tmp_path), progress=False, **AXES)
    GO_ON.set()
    thread.join()
    client.close()
    local.close()


def test_a_task_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    measure = workers.measure

    def fails(experiments, *given):
        if experiments[0].d_sae == 8:
            raise MemoryError("no room")
        return measure(experiments, *given)

    monkeypatch.setattr(workers, "measure", fails)
    with ThreadPoolExecutor(1) as pool:
        sentence = (
            r"2 of 4 groups .* failed \(MemoryError: no room\). 24 of 48 .* done and are kept"
        )
        with pytest.raises(SweepError, match=sentence):
            sweep(SMALL, pool, Store(tmp_path), progress=False, **AXES)
    done = Store(tmp_path).holds(
        Store.keys([replace(SMALL, d_sae=h, seed=7, repeat_frac=0.2) for h in (8, 12)], CPU)
    )
    assert done == [False, True]


def test_what_a_worker_with_another_torch_gives_is_kept_as_its(monkeypatch):
    monkeypatch.setattr(workers, "_introduction", lambda *_: ("2.0", "cpu"))
    with ThreadPoolExecutor(1) as pool:
        there = workers.OtherWorkers("auto", pool)
    assert there.keys([SMALL]) == Store.keys([SMALL], CPU, torch_version="2.0")
    assert there.on == "cpu"  # on every worker, whatever else it has


def test_a_worker_that_finds_no_number_is_heard_of(tmp_path):
    axes = {"learning_rate": [1e-3, 1e30], "seed": [0], "steps": [200]}
    with ThreadPoolExecutor(1) as pool, pytest.warns(workers.DivergenceWarning, match="diverged"):
        found = sweep(SMALL, pool, progress=False, **axes)
    assert found.mse.isnull().values.ravel().tolist() == [False, True]


SWEEP = """
    import sys
    from test_cluster import SMALL, Store, slow, sweep
    sweep(SMALL, store=Store(sys.argv[1]), progress=False, **slow())
"""


def start(folder, code=SWEEP):
    here = os.path.dirname(__file__)
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(folder)], cwd=here)


def test_killed_again_and_again(tmp_path, monkeypatch):
    """At whatever moment: in the end everything is there, and right."""
    monkeypatch.setattr("faithnb.training.ensemble.MAX_INSTANCES", 8)
    code = SWEEP.replace(
        "import sys", "import sys, faithnb.training.ensemble as t; t.MAX_INSTANCES = 8"
    )
    kept = 0
    for delay in np.random.default_rng(0).uniform(0, 0.4, 4):
        process = start(tmp_path, code)
        wait_for(lambda kept=kept: len(list(tmp_path.glob("*.results"))) > kept, 120)
        time.sleep(delay)
        process.kill()
        process.wait()
        kept = len(list(tmp_path.glob("*.results")))
    assert kept >= 4
    resumed = sweep(SMALL, store=Store(tmp_path), progress=False, **slow())
    assert_same(resumed, sweep(SMALL, progress=False, **slow()))
    everything = {key for path in tmp_path.glob("*.results") for key in keys_of(path)}
    assert len(everything) == 96


def keys_of(path):
    return json.loads(path.open("rb").readline())["keys"]


def test_two_runs_on_one_store(tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    assert [process.wait(180) for process in both] == [0, 0]
    found = sweep(SMALL, store=Store(tmp_path), progress=False, **slow())
    assert_same(found, sweep(SMALL, progress=False, **slow()))
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".results"] == []


FULL = """
    import json, subprocess, sys, warnings
    import numpy as np
    from test_cluster import AXES, SMALL, Store, sweep
    said = []
    warnings.showwarning = lambda message, *_: said.append(str(message))
    warnings.simplefilter("always")
    folder, states, kept = sys.argv[1], [], []
    for options in ("size=40k", "remount,ro", "remount,rw,size=4m"):
        where = [folder] if "remount" in options else ["tmpfs", folder]
        kind = [] if "remount" in options else ["-t", "tmpfs"]
        subprocess.run(["mount", *kind, "-o", options, *where], check=True)
        found = sweep(SMALL, store=Store(folder), progress=False, **AXES)
        assert not found.mse.isnull().any()
        states.append(found.fvu.values.ravel().tolist())
        kept.append(sum(len(at) for at, _ in Store(folder).find(Store.keys(
            [SMALL.from_json(e) for e in json.loads(sys.argv[2])], __import__("torch").device("cpu")
        ))))
    json.dump([said, states, kept], sys.stdout)
"""


def test_a_disk_that_is_full_then_read_only_then_good_again(tmp_path, expected, monkeypatch):
    """A real, small file system."""
    try:
        can = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "t", str(tmp_path)])
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if can.returncode:
        pytest.skip("no right to mount here")
    cells = [
        replace(SMALL, repeat_frac=r, d_sae=h, seed=s)
        for r in AXES["repeat_frac"] for h in AXES["d_sae"] for s in AXES["seed"]
    ]  # fmt: skip
    code = "import faithnb.training.ensemble as t; t.MAX_INSTANCES = 6\n" + textwrap.dedent(FULL)
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", code, str(tmp_path),
         json.dumps([e.to_json() for e in cells])],
        cwd=os.path.dirname(__file__), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, found, kept = json.loads(done.stdout)
    for values in found:
        np.testing.assert_allclose(values, expected.fvu.values.ravel(), rtol=0, atol=1e-6)
    assert any("No space left on device" in s and "make room" in s for s in said)
    assert any("Read-only file system" in s for s in said)
    assert 0 < kept[0] == kept[1] < 48 == kept[2]
