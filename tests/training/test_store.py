"""What is kept comes back, or is refused: never a wrong number, never a file deleted."""

import ast
import json
import random
import shutil
import warnings
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faithnb import sweep, train
from faithnb.common.files import PACKAGE
from faithnb.common.store import SUFFIX, StoreWarning, _name
from faithnb.experiment import Experiment
from faithnb.training.store import SOURCES, Store
from faithnb.training.trained import packed

CPU = torch.device("cpu")
COLUMNS = xr.Dataset({
    "fvu": ("inst", np.array([0.1, np.nan]), {"units": "share"}),
    "state": (("inst", "point"), np.array([["pair", "other"], ["", "datapoint"]])),
    "l0": ("inst", np.array([1.5, 2.0]), {"units": ""}),
})  # fmt: skip


def rows(store, *keys):
    """Rows by key, whichever file they come from."""
    return {
        keys[i]: kept.isel(inst=[k])
        for at, kept in store.find(keys)
        for k, i in enumerate(at)
    }  # fmt: skip


def files(folder):
    return sorted(p.name for p in folder.iterdir())


def the_file(folder):
    (name,) = files(folder)
    return folder / name


def test_what_is_kept_comes_back_row_by_row(tmp_path):
    store = Store(tmp_path / "new")
    assert store.find(["a", "b"]) == []
    store.save(["a", "b"], COLUMNS)
    store.save(["c", "d"], COLUMNS)
    for reader in (store, Store(tmp_path / "new")):
        found = rows(reader, "d", "x", "a", "b")
        assert list(found) == ["d", "a", "b"]
        assert found["d"].identical(COLUMNS.isel(inst=[1]))
        assert found["a"].identical(COLUMNS.isel(inst=[0]))
        assert found["b"].identical(COLUMNS.isel(inst=[1]))
    store.save(["a", "b"], COLUMNS)
    assert len(files(store.folder)) == 2


@pytest.mark.parametrize("damage", [
    lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no archive", lambda b: b + b" ",
    lambda b: b[:-200] + bytes([b[-200] ^ 255]) + b[-199:],
    lambda b: b.replace(b'"a"', b'"z"', 1), lambda b: b"\x00" * len(b),
    lambda b: b"[" * 100_000, lambda b: b'{"keys": 3}\n',
])  # fmt: skip
def test_a_damaged_file_is_set_aside_and_said(tmp_path, damage):
    Store(tmp_path).save(["a", "b"], COLUMNS)
    path = the_file(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    damaged, store = path.read_bytes(), Store(tmp_path)
    with pytest.warns(StoreWarning, match="damaged or no file of a store.*set aside as"):
        assert rows(store, "a", "b", "z") == {}
    assert the_file(tmp_path).name.endswith(".damaged")
    assert the_file(tmp_path).read_bytes() == damaged
    assert rows(store, "a", "b") == {}
    store.save(["a", "b"], COLUMNS)
    assert list(rows(store, "a", "b")) == ["a", "b"]


def names_others(content):
    """Whether a file's first line is in order, and names none of the two: nobody will open it."""
    try:
        return not {"a", "b"} & set(json.loads(content.partition(b"\n")[0])["keys"])
    except (ValueError, KeyError, TypeError):
        return False


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_change_of_a_file_gives_another_number(tmp_path, data):
    """Whoever changes a file and names it for its new content gets past the first check."""
    folder = tmp_path / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    Store(folder).save(["a", "b"], COLUMNS)
    path = the_file(folder)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "swap"]))
        if kind == "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[at : at + data.draw(st.integers(1, 64))]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=64))
        else:
            content = content[at:] + content[:at]
        if not content:
            break
    changed = bytes(content) != path.read_bytes()
    path.write_bytes(content)
    if changed:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = rows(Store(folder), "a", "b")
        assert found == {}
        assert said or names_others(bytes(content))
        assert the_file(folder).read_bytes() == bytes(content)
        the_file(folder).rename(folder / _name(bytes(content)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert set(rows(Store(folder), "a", "b")) <= {"a", "b"}  # perhaps set aside, no error


@pytest.mark.parametrize("broken", [
    lambda a: a[:6] + bytes([a[6] | 1]) + a[7:],  # a member said to be encrypted
    lambda a: a.replace(b"{'descr'", b"{'descr\n", 1),
    lambda a: a.replace(b"'shape': (2,", b"'shape': (9" + b"9" * 3, 1),
])  # fmt: skip
def test_an_archive_that_its_readers_choke_on_is_set_aside(tmp_path, broken):
    Store(tmp_path).save(["a", "b"], COLUMNS)
    path = the_file(tmp_path)
    first, _, archive = path.read_bytes().partition(b"\n")
    central = archive.rfind(b"PK\x01\x02")
    content = first + b"\n" + broken(archive)
    if broken(archive)[:7] != archive[:7]:
        at = len(first) + 1 + central + 8
        content = content[:at] + bytes([content[at] | 1]) + content[at + 1 :]
    path.unlink()
    (tmp_path / _name(content)).write_bytes(content)
    with pytest.warns(StoreWarning, match="holds no results"):
        assert rows(Store(tmp_path), "a") == {}
    assert the_file(tmp_path).name.endswith(".damaged")


def test_nothing_pickled_is_read_or_written(tmp_path, monkeypatch):
    """Not even from a file whose name fits its content."""
    store = Store(tmp_path)
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        store.save(["a"], xr.Dataset({"a": ("inst", np.array([object()]))}))
    assert not tmp_path.exists() or files(tmp_path) == []
    saved = np.savez
    monkeypatch.setattr(np, "savez", lambda file, allow_pickle, **arrays: saved(file, **arrays))
    ran = tmp_path / "ran"
    store.save(["a"], xr.Dataset({"a": ("inst", np.array([Evil(str(ran))], dtype=object))}))
    with pytest.warns(StoreWarning, match="holds no results"):
        assert rows(store, "a") == {}
    assert not ran.exists()


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("change", [
    {"format": "other results"}, {"columns": {}}, {"columns": {"fvu": 3}}, {"keys": ["a"]},
    {"columns": {"fvu": {"dims": ["inst", "x"], "units": ""}}},
    {"columns": {"nan": {"dims": ["inst"], "units": ""}}},
])  # fmt: skip
def test_a_file_of_another_make_is_set_aside(tmp_path, change):
    """Its name fits its content, but it is not what this version writes."""
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    path = the_file(tmp_path)
    first, _, rest = path.read_bytes().partition(b"\n")
    path.unlink()
    content = json.dumps(json.loads(first) | change).encode() + b"\n" + rest
    (tmp_path / _name(content)).write_bytes(content)
    with pytest.warns(StoreWarning, match="holds no results"):
        assert rows(Store(tmp_path), "a") == {}


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    assert list(rows(store, "a")) == ["a"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_that_vanishes_is_no_longer_known(tmp_path):
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    assert list(rows(store, "a")) == ["a"]
    the_file(tmp_path).unlink()
    assert rows(store, "a") == {}


def test_the_keys_follow_experiment_device_and_kind():
    a, b = Experiment(), Experiment(seed=1)
    keys = Store.keys([a, b], CPU) + Store.keys([a], torch.device("cuda"))
    keys += Store.keys([a], CPU, "trained")
    assert len(set(keys)) == 4
    assert Store.keys([b, Experiment()], CPU) == keys[1::-1]


def imported(name, seen, but):
    """A file of the package and all that it imports of the package."""
    if name in seen or name in but:
        return seen
    seen.add(name)
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faithnb."):
            place = node.module.removeprefix("faithnb.").replace(".", "/")
            inside = [f"{place}/{alias.name}" for alias in node.names]
            inside += [f"{name}/__init__" for name in inside]
            place = place if (PACKAGE / f"{place}.py").exists() else f"{place}/__init__"
            for other in [n for n in inside if (PACKAGE / f"{n}.py").exists()] or [place]:
                imported(other, seen, but)
                for room in PurePosixPath(other).parents[:-1]:
                    imported(f"{room}/__init__", seen, but)
    return seen


def test_the_keys_follow_every_file_that_decides_a_number():
    """All but what shows progress, keeps results, complains, and gives intervals over rows."""
    but = {
        f"common/{name}" for name in ("progress", "errors", "files", "meaning", "store", "syntax")
    }
    but |= {"common/extensions", "training/store", "measures/stats"}
    but |= {f"formats/{path.stem}" for path in (PACKAGE / "formats").glob("*.py")}
    measures = {f"measures/{path.stem}" for path in (PACKAGE / "measures").glob("*.py")}
    rooms = {f"{path.parent.relative_to(PACKAGE).as_posix()}/__init__"
             for path in PACKAGE.rglob("__init__.py")}  # fmt: skip
    decide = imported("training/ensemble", set(), but | measures) - rooms
    assert set(SOURCES["trained"]) == decide
    assert set(SOURCES["measures"]) == imported("training/ensemble", set(), but) - rooms


def test_the_keys_follow_the_torch_that_did_the_work():
    keys = {*Store.keys([Experiment()], CPU), *Store.keys([Experiment()], CPU, torch_version="9")}
    assert len(keys) == 2


@pytest.mark.parametrize("header", [
    {"format": "faithnb results 2"}, {"format": "faithnb results 2", "keys": ["a", "b"]},
    {"format": "faithnb results 10", "keys": 3},
])  # fmt: skip
def test_a_newer_file_is_left_alone(tmp_path, header):
    content = json.dumps(header).encode() + b"\nwhat a newer version writes"
    newer = tmp_path / ("f" * 32 + SUFFIX)
    newer.write_bytes(content)
    with pytest.warns(StoreWarning, match="written by another version.*it is left alone"):
        assert rows(Store(tmp_path), "a", "b") == {}
    assert newer.read_bytes() == content
    assert files(tmp_path) == [newer.name]


SMALL = Experiment(d_in=4, d_sae=8, steps=5, batch_size=8, repeat_frac=0.1)


def spoilt(kept):
    """Kept rows that are whole, and are not what their keys say."""
    number = next(name for name in kept if kept[name].dtype.kind == "f")
    yield kept.drop_vars(number)
    yield kept.assign(more=kept[number])
    yield kept.assign({number: kept[number].expand_dims(point=2, axis=-1)})
    yield kept.assign({number: kept[number].astype(str)})
    yield kept.assign({number: kept[number].astype("f2")})
    if "state" in kept:
        yield kept.assign(state=kept[number].astype("U3"))
        yield kept.assign(state=kept.state.expand_dims(point=3, axis=-1))
    else:
        yield kept.isel(d_in=[0, 1])
        yield kept.isel(step=[0, 1])


@pytest.mark.parametrize("what", ["measures", "trained"])
@pytest.mark.parametrize("k", range(7))
def test_rows_that_no_such_experiment_has_are_computed_again(tmp_path, what, k):
    def results():
        if what == "trained":
            trained = train(SMALL, store=store, progress=False, device="cpu")
            return packed(trained.transcoder, trained.history)
        return sweep(SMALL, store=store, progress=False, device="cpu", seed=[0])

    store = Store(tmp_path)
    wanted = results()
    keys = Store.keys([SMALL], CPU, what)
    ((_, kept),) = store.find(keys)
    wrong = list(spoilt(kept))
    if k >= len(wrong):
        return
    for name in files(tmp_path):
        (tmp_path / name).unlink()
    store.save(keys, wrong[k])
    with pytest.warns(StoreWarning, match="other results than its keys say"):
        found = results()
    assert found.equals(wanted)
    assert any(name.endswith(".damaged") for name in files(tmp_path))


def test_no_flipped_bit_gives_another_number(tmp_path):
    store = Store(tmp_path)
    store.save(["a", "b"], COLUMNS)
    path, lot = the_file(tmp_path), random.Random(0)
    whole = path.read_bytes()
    for _ in range(1000):
        content = bytearray(whole)
        content[lot.randrange(len(content))] ^= 1 << lot.randrange(8)
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert rows(Store(tmp_path), "a", "b") == {}
        for name in files(tmp_path):
            (tmp_path / name).unlink()
