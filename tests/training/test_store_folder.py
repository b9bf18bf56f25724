"""The folder of a store: moved, full, read-only, shared."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from platformdirs import user_cache_path
from test_store import COLUMNS, files, rows, the_file

import faithnb.common.store
import faithnb.training.store
from faithnb import ParameterError
from faithnb.common.files import CHECKOUT
from faithnb.common.store import SUFFIX, StoreWarning, default_folder
from faithnb.training.store import Store

CPU = torch.device("cpu")


def test_a_folder_that_cannot_be_read_is_said(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    Store(tmp_path).save(["a", "b"], COLUMNS)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(StoreWarning, match="cannot be read.*Permission denied"):
        assert rows(Store(tmp_path), "a") == {}


def test_the_folder_can_be_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    assert default_folder() == tmp_path
    assert Store().folder == tmp_path / "results"


def test_many_writers_and_readers(tmp_path):
    def both(i):
        store = Store(tmp_path)
        store.save([f"{i % 5}", f"{i % 5}'"], COLUMNS)
        return list(rows(store, f"{i % 5}'"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(both, range(40))) == [[f"{i % 5}'"] for i in range(40)]
    assert len(files(tmp_path)) == 5
    assert all(name.endswith(SUFFIX) for name in files(tmp_path))


def run(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, **options,
    )  # fmt: skip


def test_killed_in_the_middle_of_a_write(tmp_path):
    code = """
        import os, signal, sys
        from test_store import COLUMNS, Store
        store = Store(sys.argv[1])
        store.save(["a", "b"], COLUMNS)
        os.fsync = lambda fd: (os.ftruncate(fd, 500), os.kill(os.getpid(), signal.SIGKILL))
        store.save(["c", "d"], COLUMNS)
    """
    here = os.path.dirname(__file__)
    assert run(code, tmp_path, cwd=here).returncode == -9
    assert any(name.endswith(".part") for name in files(tmp_path))
    store = Store(tmp_path)
    assert list(rows(store, "a", "b", "c", "d")) == ["a", "b"]
    store.save(["c", "d"], COLUMNS)
    assert len(rows(store, "a", "b", "c", "d")) == 4


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    """A limit on the size of files stands for a disk that is full."""
    code = """
        import resource, sys
        import numpy as np, xarray as xr
        from test_store import COLUMNS, Store, rows
        store = Store(sys.argv[1])
        store.save(["a", "b"], COLUMNS)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        store.save(["c"], xr.Dataset({"big": (("inst", "k"), np.ones((1, 5000)))}))
        store.save(["d", "e"], COLUMNS)
        assert list(rows(store, "a", "b", "c", "d", "e")) == ["a", "b", "d", "e"]
    """
    done = run(code, tmp_path, cwd=os.path.dirname(__file__))
    assert done.returncode == 0, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "make room, or set FAITHNB_STORE" in done.stderr
    assert [name for name in files(tmp_path) if not name.endswith(SUFFIX)] == []


def test_a_store_that_cannot_be_written_can_be_read(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    before = files(tmp_path)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(type(tmp_path), "mkdir", refuse)
    monkeypatch.setattr(type(tmp_path), "replace", refuse)
    with pytest.warns(StoreWarning, match="Read-only file system.*what it gives is not kept"):
        store.save(["c", "d"], COLUMNS)
    assert list(rows(Store(tmp_path), "a", "b", "c")) == ["a", "b"]
    the_file(tmp_path).write_bytes(b"x")
    with pytest.warns(StoreWarning, match="it is ignored"):
        assert rows(Store(tmp_path), "a") == {}
    assert files(tmp_path) == before


def test_a_pipe_named_like_a_file_is_not_waited_for(tmp_path):
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    os.mkfifo(tmp_path / ("0" * 32 + SUFFIX))
    (tmp_path / ("1" * 32 + SUFFIX)).mkdir()
    assert list(rows(Store(tmp_path), "a", "b")) == ["a", "b"]


def test_old_parts_are_cleared(tmp_path):
    (tmp_path / "x.results.0.part").touch()
    (tmp_path / "y.results.1.part").touch()
    os.utime(tmp_path / "x.results.0.part", (0, 0))
    Store(tmp_path)
    assert files(tmp_path) == ["y.results.1.part"]


@pytest.mark.parametrize("value", ["", "   ", "a\0b"])
def test_a_store_needs_a_name(value, monkeypatch):
    with pytest.raises(ParameterError, match="folder = .* is not allowed: it must be a folder"):
        Store(value)
    if "\0" not in value:
        monkeypatch.setenv("FAITHNB_STORE", value)
        with pytest.raises(ParameterError, match="FAITHNB_STORE = "):
            Store()


def test_a_folder_is_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAITHNB_STORE", "~/x ")
    assert default_folder() == tmp_path / "home" / "x"
    assert Store("rel").folder == tmp_path / "rel"
    monkeypatch.delenv("FAITHNB_STORE")
    assert default_folder() == CHECKOUT / "_cache"
    monkeypatch.setattr(faithnb.common.store, "CHECKOUT", tmp_path / "site-packages")
    assert default_folder().parent == user_cache_path()
