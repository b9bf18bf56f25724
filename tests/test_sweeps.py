from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from faithnb import Experiment, ParameterError, sweep, train, train_arms
from faithnb import sweeps as module
from faithnb.store import Store

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


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    store, trained = Store(tmp_path), []

    def counted(experiments, **options):
        if len(trained) == stop_after:
            raise KeyboardInterrupt
        trained.append(len(experiments))
        return train(experiments, **options)

    monkeypatch.setattr(module, "train", counted)
    stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        sweep(SMALL, store=store, progress=False, **AXES)
    assert trained == [6]
    stop_after = None
    resumed = sweep(SMALL, store=store, progress=False, **AXES)
    assert trained == [6, 6]
    again = sweep(SMALL, store=store, progress=False, **AXES)
    assert trained == [6, 6]
    assert again.identical(resumed)
    whole = sweep(SMALL, progress=False, **AXES)
    assert whole.identical(resumed)


@pytest.mark.parametrize(
    ("axes", "sentence"),
    [
        ({}, "at least one axis"),
        ({"sed": [1]}, "there is no parameter sed. Did you mean seed"),
        ({"seed": []}, "at least one value"),
        ({"seed": [1, 1]}, "each only once"),
        ({"repeat_frac": [0.1, 1.5]}, r"repeat_frac = 1.5 is not allowed"),
        ({"points": [((1, 1),), ((1, 1), (1, 0, 1))]}, "as many points"),
    ],
)
def test_a_wrong_axis_stops_before_anything_is_trained(axes, sentence, monkeypatch):
    monkeypatch.setattr(module, "train", None)
    with pytest.raises(ParameterError, match=sentence):
        sweep(SMALL, progress=False, **axes)


def test_progress_counts_experiments(capsys):
    sweep(SMALL, seed=range(2))
    assert "2/2" in capsys.readouterr().err


def test_arms_trained_together_are_what_they_are_alone():
    base = Experiment(d_in=6, d_sae=16, batch_size=32, steps=20)
    arms = {
        "none": base,
        "repeats": replace(base, repeat_frac=0.2),
        "matched": replace(base, jacobian_matching="plain", jacobian_coefficient=0.1),
    }
    together = train_arms(arms, [3, 4, 5], progress=False)
    assert list(together) == list(arms)
    for name, arm in arms.items():
        alone = train([replace(arm, seed=s) for s in (3, 4, 5)], progress=False)
        assert together[name].experiments == alone.experiments
        assert (together[name].transcoder.W_enc - alone.transcoder.W_enc).abs().max() < 1e-6
        assert together[name].history.inst.values.tolist() == [0, 1, 2]
        xr.testing.assert_allclose(together[name].metrics(), alone.metrics(), atol=1e-4)
