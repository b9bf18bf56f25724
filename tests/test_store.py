from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
import xarray as xr

from faithnb.experiment import Experiment
from faithnb.store import Store, default_folder

CPU = torch.device("cpu")


@pytest.fixture
def columns():
    return xr.Dataset({
        "fvu": ("inst", np.array([0.1, np.nan]), {"units": "share"}),
        "state": (("inst", "point"), np.array([["pair", "other"], ["", "datapoint"]])),
    })  # fmt: skip


def test_what_is_kept_comes_back(tmp_path, columns):
    store = Store(tmp_path / "new")
    assert store.load("k") is None
    store.save("k", columns)
    assert store.load("k").identical(columns)
    assert [p.name for p in store.folder.iterdir()] == ["k.npz"]


@pytest.mark.parametrize("damage", [
    lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no archive",
    lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:],
])  # fmt: skip
def test_a_damaged_file_is_set_aside_and_said(tmp_path, columns, damage):
    store = Store(tmp_path)
    store.save("k", columns)
    store.path("k").write_bytes(damage(store.path("k").read_bytes()))
    with pytest.warns(UserWarning, match="cannot be read.*set aside as k.damaged"):
        assert store.load("k") is None
    assert [p.name for p in tmp_path.iterdir()] == ["k.damaged"]
    assert store.load("k") is None


def test_nothing_pickled_is_read_or_written(tmp_path, columns):
    store = Store(tmp_path)
    np.savez(store.path("k"), _about=np.array([object()], dtype=object))
    with pytest.warns(UserWarning, match="set aside"):
        assert store.load("k") is None
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        store.save("o", xr.Dataset({"a": ("inst", np.array([object()]))}))
    assert [p.name for p in tmp_path.iterdir()] == ["k.damaged"]


def test_a_failed_write_leaves_what_was_there(tmp_path, columns, monkeypatch):
    store = Store(tmp_path)
    store.save("k", columns)

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        store.save("k", columns.isel(inst=[0]))
    assert store.load("k").sizes["inst"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["k.npz"]


def test_the_key_follows_experiments_order_and_device(tmp_path):
    store, a, b = Store(tmp_path), Experiment(), Experiment(seed=1)
    keys = [store.key(e, CPU) for e in ([a], [b], [a, b], [b, a])]
    keys.append(store.key([a], torch.device("cuda")))
    assert len(set(keys)) == 5
    assert store.key([Experiment()], CPU) == keys[0]


def test_the_folder_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    assert default_folder() == tmp_path
    assert Store().folder == tmp_path / "results"


def test_many_writers_of_one_result(tmp_path, columns):
    store = Store(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.save("k", columns), range(40)))
    assert [p.name for p in tmp_path.iterdir()] == ["k.npz"]
    assert store.load("k").sizes["inst"] == 2
