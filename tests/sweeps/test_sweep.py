from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from faithnb import Experiment, ParameterError, sweep, train
from faithnb.common import progress
from faithnb.sweeps import sweep as sweep_module
from faithnb.sweeps import workers
from faithnb.training.store import Store

CPU = torch.device("cpu")
SMALL = Experiment(d_in=6, d_sae=16, batch_size=32, steps=30, repeat_frac=0.1)
AXES = {"repeat_frac": np.array([0.0, 0.2]), "d_sae": [8, 12], "seed": range(3)}


def test_a_grid_holds_what_each_cell_gives_alone():
    grid = sweep(SMALL, progress=False, **AXES)
    assert dict(grid.sizes) == {"repeat_frac": 2, "d_sae": 2, "seed": 3}
    assert grid.d_sae.values.tolist() == [8, 12]
    assert grid.fvu.attrs["units"] == "fraction of variance unexplained"
    assert Experiment.from_json(grid.attrs["experiment"]) == SMALL
    for r, h, s in ((0.0, 8, 2), (0.2, 12, 1)):
        alone = train(replace(SMALL, repeat_frac=r, d_sae=h, seed=s), progress=False).metrics()
        cell = grid.sel(repeat_frac=r, d_sae=h, seed=s)
        assert cell.fvu.item() == pytest.approx(alone.fvu.item(), abs=1e-6)
        assert cell.state.item() == alone.state.item()


def test_axes_that_are_no_numbers():
    points = [((1, 1, 1),), ((1, 1),)]
    grid = sweep(SMALL, progress=False, points=points, jacobian_matching=["none", "smoothed"])
    assert grid.jacobian_matching.values.tolist() == ["none", "smoothed"]
    assert grid.points.values.tolist() == ["((1, 1, 1),)", "((1, 1),)"]
    assert np.isfinite(grid.memorization).all()


@pytest.fixture
def trained(monkeypatch):
    """How many experiments each call of train got, and how many calls are let through."""
    calls = SimpleNamespace(sizes=[], stop_after=None)

    def counted(experiments, **options):
        if len(calls.sizes) == calls.stop_after:
            raise KeyboardInterrupt
        calls.sizes.append(len(experiments))
        return train(experiments, **options)

    monkeypatch.setattr(workers, "train", counted)
    return calls


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, trained):
    trained.stop_after = 1
    sentence = "6 of 12 experiments were done and are kept; run it again to go on"
    with pytest.raises(KeyboardInterrupt, match=f"the sweep was interrupted. {sentence}"):
        sweep(SMALL, store=Store(tmp_path), progress=False, **AXES)
    assert trained.sizes == [6]
    trained.stop_after = None
    resumed = sweep(SMALL, store=Store(tmp_path), progress=False, **AXES)
    assert trained.sizes == [6, 6]
    again = sweep(SMALL, store=Store(tmp_path), progress=False, **AXES)
    assert trained.sizes == [6, 6]
    assert again.identical(resumed)
    whole = sweep(SMALL, progress=False, **AXES)
    assert whole.identical(resumed)


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("sweeps.sweep._cells", "Nothing was trained."),
        ("sweeps.sweep.ThisProcess", "Nothing was trained."),
        ("sweeps.workers.OtherWorkers.__init__", "Nothing was trained."),
        ("sweeps.workers.Workers.kept", "2 of 4 experiments were done and are kept; run it again"),
        ("sweeps.sweep.progress_bar", "2 of 4 experiments were done and are kept; run it again"),
        ("training.store.Store.save", "2 of 4 experiments were done and are kept; run it again"),
        ("sweeps.sweep._Rows.on", "4 of 4 experiments were done and are kept; run it again"),
    ],
)
def test_an_interrupted_sweep_says_what_is_kept_wherever_it_is(
    where, sentence, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    sweep(SMALL, store=Store(tmp_path), progress=False, seed=range(2))
    monkeypatch.setattr(f"faithnb.{where}", interrupted)
    executor = ThreadPoolExecutor(1) if "OtherWorkers" in where else None
    with pytest.raises(KeyboardInterrupt, match=sentence):
        sweep(SMALL, executor, Store(tmp_path), progress=False, seed=range(4))


def test_an_interrupted_sweep_without_a_store_keeps_nothing(trained):
    trained.stop_after = 1
    with pytest.raises(KeyboardInterrupt, match="6 of 12 experiments were done; no store keeps"):
        sweep(SMALL, progress=False, **AXES)


def test_a_larger_sweep_trains_only_what_is_new(tmp_path, trained):
    store = Store(tmp_path)
    small = sweep(SMALL, store=store, progress=False, repeat_frac=[0, 0.2], seed=range(2))
    large = sweep(SMALL, store=store, progress=False, repeat_frac=[0, 0.1, 0.2], seed=range(4))
    assert sum(trained.sizes) == 12
    xr.testing.assert_identical(
        small.drop_attrs(deep=False), large.sel(repeat_frac=[0, 0.2], seed=[0, 1])
        .drop_attrs(deep=False),
    )  # fmt: skip
    alone = sweep(SMALL, progress=False, repeat_frac=[0, 0.1, 0.2], seed=range(4))
    xr.testing.assert_allclose(alone, large, rtol=1e-6, atol=1e-6)


def test_weights_are_kept_on_request_and_found_by_train(tmp_path, trained):
    store, axes = Store(tmp_path), {"repeat_frac": [0, 0.2], "seed": [3, 1]}
    sweep(SMALL, store=store, progress=False, weights=True, **axes)
    several = [replace(SMALL, repeat_frac=r, seed=s) for s in (1, 3) for r in (0.2, 0)]
    assert len(store.find(store.keys(several, torch.device("cpu"), "trained"))) == 1
    assert store.find(store.keys([SMALL], torch.device("cpu"), "trained")) == []
    alone, kept = train(several, progress=False), train(several, progress=False, store=store)
    assert (alone.transcoder.W_enc - kept.transcoder.W_enc).abs().max() < 1e-6
    xr.testing.assert_allclose(alone.history, kept.history)
    xr.testing.assert_allclose(alone.metrics(), kept.metrics(), rtol=1e-6, atol=1e-6)


def test_weights_are_kept_also_of_what_was_measured_without(tmp_path, trained):
    store = Store(tmp_path)
    first = sweep(SMALL, store=store, progress=False, seed=range(2))
    more = sweep(SMALL, store=store, progress=False, weights=True, seed=range(3))
    assert trained.sizes == [2, 3]
    xr.testing.assert_allclose(first, more.isel(seed=slice(2)), rtol=1e-6, atol=1e-6)
    assert all(store.holds(store.keys([replace(SMALL, seed=s) for s in range(3)], CPU, "trained")))
    sweep(SMALL, store=store, progress=False, weights=True, seed=range(3))
    assert trained.sizes == [2, 3]


def test_weights_are_not_lost_between_two_writes(tmp_path, trained, monkeypatch):
    """Stopped after the first file of a group, whichever that is."""
    save = Store.save

    def save_and_stop(self, *given):
        save(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        sweep(SMALL, store=Store(tmp_path), progress=False, weights=True, seed=[1])
    monkeypatch.setattr(Store, "save", save)
    store = Store(tmp_path)
    sweep(SMALL, store=store, progress=False, weights=True, seed=[1])
    assert trained.sizes == [1]
    assert store.holds(store.keys([replace(SMALL, seed=1)], CPU, "trained")) == [True]
    assert store.holds(store.keys([replace(SMALL, seed=1)], CPU)) == [True]


def test_what_train_kept_is_measured_and_not_trained_again(tmp_path, trained):
    store = Store(tmp_path)
    train([replace(SMALL, seed=s) for s in (0, 2)], progress=False, store=store)
    found = sweep(SMALL, store=store, progress=False, seed=range(3))
    assert trained.sizes == [1]
    xr.testing.assert_allclose(found, sweep(SMALL, progress=False, seed=range(3)), atol=1e-6)


def test_two_sweeps_share_the_work(tmp_path, trained):
    """What another process has kept meanwhile is taken over."""
    store, other = Store(tmp_path), Store(tmp_path)
    axes = {"d_sae": [8, 10, 12], "seed": range(2)}
    save = Store.save

    def save_and_let_the_other_run(self, *given):
        save(self, *given)
        if self is store and trained.stop_after is None:
            trained.stop_after = 99
            sweep(SMALL, store=other, progress=False, **axes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "save", save_and_let_the_other_run)
        found = sweep(SMALL, store=store, progress=False, **axes)
    assert trained.sizes == [2, 2, 2]
    assert found.identical(sweep(SMALL, progress=False, **axes))


def test_provenance():
    found = sweep(SMALL, progress=False, profile="quick", seed=[1])
    assert found.attrs.keys() == {
        "faithnb", "source", "torch", "device", "experiment", "profile"
    }  # fmt: skip
    assert found.attrs["device"] in ("cpu", "cuda")
    assert found.attrs["profile"] == "quick"


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({}, "at least one axis"),
        ({"sed": [1]}, "there is no parameter sed. Did you mean seed"),
        ({"seed": []}, "at least one value"),
        ({"seed": [1, 1]}, "each only once"),
        ({"repeat_frac": [0, 0.0]}, "each only once"),
        ({"d_sae": 64}, r"d_sae = 64 is not allowed: an axis needs a list of values, \[64\]"),
        ({"target": "abs"}, r"a list of values, \['abs'\]"),
        ({"seed": [1], "executor": "local"}, r"executor = 'local' .*connect\(\"local\"\)"),
        ({"seed": [1], "store": "folder"}, "store = 'folder' .* must be a faithnb.Store"),
        ({"repeat_frac": [0.1, 1.5]}, r"repeat_frac = 1.5 is not allowed"),
        ({"points": [((1, 1),), ((1, 1), (1, 0, 1))]}, "as many points"),
        ({"points": [1]}, "points = 1 is not allowed"),
        ({"seed": np.array(3)}, r"seed = array\(3\) is not allowed: an axis needs a list"),
        ({"seed": count()}, r"seed = count\(.*a sweep can have 1000 experiments, at most"),
        ({"seed": range(40), "steps": range(1, 41)}, "make 1600 experiments; .* 1000, at most"),
        ({"seed": [1], "base": "default"}, "base = 'default' .* must be a faithnb.Experiment"),
    ],
)
def test_a_wrong_axis_stops_before_anything_is_trained(axes, sentence, monkeypatch):
    monkeypatch.setattr(workers, "train", None)
    monkeypatch.setattr(sweep_module, "MOST_EXPERIMENTS", 1000)
    with pytest.raises(ParameterError, match=sentence):
        sweep(**({"base": SMALL} | axes), progress=False)


@pytest.mark.parametrize(
    "axes",
    [
        {"seed": [2**40, 2**62 - 1], "points": [((1, 1, 1),), ((1, 1),)]},
        {"jacobian_matching": ["none", "noise"], "learning_rate": [1e-3, 0.1], "profile": "λ"},
        {"points": [((1, 1, 1), (1, 1))], "repeat_frac": [0, 1]},
        {"points": [()], "repeat_frac": [0]},
    ],
)
def test_a_grid_becomes_a_file_and_again_a_grid(axes, tmp_path):
    grid = sweep(replace(SMALL, steps=2), progress=False, **axes)
    grid.to_netcdf(tmp_path / "grid.nc")
    with xr.open_dataset(tmp_path / "grid.nc") as found:
        assert found.load().identical(grid)


def test_yes_and_no_become_a_file_too(tmp_path):
    rows = sweep_module._Rows(2)
    rows.fill([1, 0], xr.Dataset({"good": ("inst", [True, False])}))
    grid = rows.on({"flag": [False, True]})
    grid.to_netcdf(tmp_path / "grid.nc")
    with xr.open_dataset(tmp_path / "grid.nc") as found:
        assert found.load().identical(grid)
        assert found.good.values.tolist() == [False, True]


def test_a_label_is_the_number_that_the_experiment_has():
    large = [2**60, 2**60 + 1, 3.0]
    grid = sweep(replace(SMALL, steps=1), progress=False, seed=large)
    assert grid.seed.values.tolist() == [2**60, 2**60 + 1, 3]
    assert grid.seed.dtype == np.int64


def test_longer_words_are_not_cut():
    rows = sweep_module._Rows(3)
    for at, words in ([0], ["pair"]), ([2, 1], ["generalising", "lost"]):
        rows.fill(at, xr.Dataset({"state": ("inst", words)}))
    assert rows.columns["state"].values.tolist() == ["pair", "lost", "generalising"]


def test_progress_in_a_log_is_a_line_now_and_then(capsys, tmp_path):
    sweep(SMALL, store=Store(tmp_path), seed=range(2))
    said = capsys.readouterr().err
    assert "2/2" in said
    assert "\r" not in said
    assert said.endswith("\n")
    assert len(said.splitlines()) == 2
    sweep(SMALL, store=Store(tmp_path), progress=False, seed=range(2))
    assert capsys.readouterr().err == ""


def test_what_was_there_says_nothing_about_the_rate(monkeypatch, tmp_path):
    bars = []

    def recorded(*given, **options):
        bars.append(options["initial"])
        return progress.progress_bar(*given, **options)

    monkeypatch.setattr(sweep_module, "progress_bar", recorded)
    for n in (2, 5):
        sweep(SMALL, store=Store(tmp_path), progress=False, seed=range(n))
    assert bars == [0, 2]
