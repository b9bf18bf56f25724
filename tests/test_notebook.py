"""Parameters and sizes of a notebook."""

import dataclasses

import numpy as np
import pytest

from faithnb.experiment import Experiment, ParameterError
from faithnb.notebook import PROFILES, Run, in_words, rate_in_words, read_parameters, words
from faithnb.parameters import PointList, Range


def test_parameters_of_a_notebook():
    def helper():
        pass

    parameters = {"profile": "quick", "n_seeds": None, "density": 0.2, "interactive": False}
    others = {"np": np, "helper": helper, "Run": Run, "_i": "x", "In": [], "quit": object()}
    variables = parameters | others
    experiment, run = read_parameters(variables)
    assert (experiment.density, experiment.steps) == (0.2, PROFILES["quick"].steps)
    assert (run.n_seeds, run.grid, list(run.seeds)) == (3, 3, [1000, 1001, 1002])
    assert run.experiment == run.halved().experiment == experiment
    explicit, run = read_parameters(variables | {"steps": 7, "n_seeds": 2, "first_seed": 0})
    assert (explicit.steps, list(run.seeds)) == (7, [0, 1])
    default, run = read_parameters({})
    assert (default, run.n_seeds) == (Experiment(), 16)


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"densty": 0.1}, "densty = 0.1 .* Did you mean density"),
        ({"density": 1.5}, "density = 1.5"),
        ({"profile": "huge"}, "profile = 'huge' .* 'quick', 'paper', 'large'"),
        ({"n_seeds": 0}, "n_seeds = 0"),
        ({"interactive": 1}, "interactive = 1 .* True or False"),
        ({"grid": 2.5}, "grid = 2.5"),
    ],
)
def test_a_bad_parameter_of_a_notebook_is_refused_in_a_sentence(variables, sentence):
    with pytest.raises(ParameterError, match=sentence):
        read_parameters(variables)


def test_a_coarser_scan_is_part_of_the_scan_and_reaches_as_far():
    for grid in (2, 3, 4, 10):
        run = Run(grid=grid)
        whole, coarse = run.scan_axes(), run.scan_axes(coarse=True)
        for name, values in whole.items():
            assert len(values) == grid
            assert values[0] == 0
            assert coarse[name][-1] == values[-1]
            assert set(coarse[name]) <= set(values[1:])
    assert len(Run().scan_axes(coarse=True)["repeat_frac"]) == 4


def test_a_few_seeds_are_half_a_cell_but_at_least_two():
    for scan_seeds, n in ((1, 2), (3, 2), (5, 3), (20, 10)):
        assert Run(scan_seeds=scan_seeds, first_seed=200).few == range(200, 200 + n)


def test_a_notebook_may_allow_less():
    limits = {"repeat_frac": Range(0, 0.5), "points": PointList(only=1, nonzero=2)}
    read_parameters({"repeat_frac": 0.5, "points": [[1, 1]]}, **limits)
    with pytest.raises(ParameterError, match=r"repeat_frac = 0.6 .* \[0, 0.5\]"):
        read_parameters({"repeat_frac": 0.6}, **limits)
    for points in ([], [[1]], [[1, 1], [1, 1, 1]]):
        with pytest.raises(ParameterError, match="points = "):
            read_parameters({"points": points}, **limits)


def test_cells_can_be_run_again_in_the_same_kernel():
    variables = {"density": 0.2}
    read_parameters(variables)
    variables |= {"density": 0.3, "low": 1.0, "experiment": Experiment()}
    assert read_parameters(variables)[0].density == 0.3
    variables["density"] = 3
    with pytest.raises(ParameterError, match="density = 3"):
        read_parameters(variables)


def test_how_a_run_trains_and_sweeps(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    for run in (Run(), Run(interactive=True, profile="quick")):
        training = {"store": run.training["store"], "progress": run.interactive}
        assert run.training.keys() == training.keys()
        assert run.sweeping.keys() == training.keys() | {"executor", "profile"}
        assert run.sweeping["progress"] is run.training["progress"] is run.interactive
        assert run.sweeping["profile"] == run.profile


def test_profiles_set_size_and_nothing_else():
    assert {f.name for f in dataclasses.fields(PROFILES["paper"])} == {
        "n_seeds", "scan_seeds", "grid", "steps"
    }  # fmt: skip


def test_a_small_run_tries_fewer_settings_and_still_the_first_and_the_last():
    values = [0.01, 0.03, 0.1, 0.3]
    assert Run(grid=2).some(values) == [0.01, 0.3]
    assert Run(grid=3).some(values) == [0.01, 0.1, 0.3]
    assert Run(grid=10).some(values) == values


def test_values_in_words():
    assert in_words((0.123, 4)) == "[0.12, 4.00]"
    assert in_words((0.1234, 0.5), digits=3) == "[0.123, 0.500]"
    assert words(1.5, (1, 2)) == "1.50 [1.00, 2.00]"
    assert words(1.5, (np.nan, 2)) == "not to be had from so few seeds"
    assert rate_in_words([True] * 16) == "[0.81, 1.00]"


def test_the_seeds_of_a_cell_are_the_first():
    assert Run(n_seeds=16, scan_seeds=5).cell_seeds == range(1000, 1005)
    assert Run(n_seeds=16, scan_seeds=5).halved() == Run(n_seeds=8, scan_seeds=5)
    assert Run(n_seeds=4, scan_seeds=3).halved() == Run(n_seeds=3, scan_seeds=3)
