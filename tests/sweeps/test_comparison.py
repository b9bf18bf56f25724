"""Conditions compared over the same seeds."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from faithnb import Comparison, Experiment, ParameterError, compare, measures, train
from faithnb.training.ensemble import Trained

BASE = Experiment(d_in=6, d_sae=16, batch_size=32, steps=20)
CONDITIONS = {
    "none": BASE,
    "repeats": replace(BASE, repeat_frac=0.2),
    "matched": replace(BASE, jacobian_matching="plain", jacobian_coefficient=0.1),
}


@pytest.fixture(scope="module")
def together():
    return compare(CONDITIONS, [3, 4, 5], progress=False)


@pytest.mark.parametrize(
    ("conditions", "seeds", "sentence"),
    [
        ({"a": 0.1}, [1], r"conditions\['a'\] = 0.1 is not allowed"),
        ([BASE], [1], "compare needs a mapping"),
        ({"a": BASE}, [1, 2, 1], r"seeds = \[1, 2, 1\] is not allowed: each"),
        ({"a": BASE}, [-1], "seed = -1 is not allowed"),
    ],
)
def test_what_is_no_comparison_is_refused(conditions, seeds, sentence):
    with pytest.raises(ParameterError, match=sentence):
        compare(conditions, seeds, progress=False)


def test_conditions_trained_together_are_what_they_are_alone(together):
    assert list(together) == list(CONDITIONS)
    assert len(together) == 3
    for name, condition in CONDITIONS.items():
        alone = train([replace(condition, seed=s) for s in (3, 4, 5)], progress=False)
        assert together[name].experiments == alone.experiments
        assert (together[name].transcoder.W_enc - alone.transcoder.W_enc).abs().max() < 1e-6
        assert together[name].history.inst.values.tolist() == [0, 1, 2]
        xr.testing.assert_allclose(together[name].metrics(), alone.metrics(), atol=1e-4)


def test_one_table_holds_the_metrics_of_all(together):
    table = together.table
    assert dict(table.sizes) == {"condition": 3, "seed": 3}
    assert table.condition.values.tolist() == list(CONDITIONS)
    assert table.seed.values.tolist() == [3, 4, 5]
    for name, of in together.tables.items():
        for column in of.data_vars:
            assert table[column].dtype.kind == of[column].dtype.kind
            found = table[column].sel(condition=name).values
            np.testing.assert_array_equal(found, of[column].values)
    hit = table.state.isin(["datapoint", "pair"])
    assert together.memorized.identical(hit)
    assert together.failed.identical(hit | ~(table.fvu < 0.1))


def test_comparisons_join_and_one_table_needs_the_same_seeds(together):
    fewer = compare({"light": replace(BASE, repeat_frac=0.1)}, [3], progress=False)
    both = together | fewer
    assert isinstance(both, Comparison)
    assert list(both) == [*CONDITIONS, "light"]
    assert both.tables["light"].fvu.shape == (1,)
    with pytest.raises(ParameterError, match="the same seeds"):
        _ = both.table


def made(**states):
    """A comparison whose transcoders are in these states; the later a seed, the more memorized."""

    class Made(Trained):
        def metrics(self):
            of = states[self.experiments[0].init]
            m = np.arange(len(of), dtype=float)
            return xr.Dataset({"state": ("inst", list(of)), "memorization": ("inst", m)})

    some = compare({"a": BASE}, range(10, 13), progress=False)["a"]
    return Comparison({
        name: Made(tuple(replace(e, init=name) for e in some.experiments), some.ensembles,
                   some.history)
        for name in states
    })  # fmt: skip


def test_an_example_is_the_first_in_its_state():
    none, some = ["generalising", "other", "pair"], ["pair", "datapoint", "datapoint"]
    found = made(random=none, memorising=some, generalising=some).example("datapoint")
    assert found[:3] == ("memorising", 1, 11)
    assert found.transcoder.n_inst == 1
    every = made(random=none, memorising=some)
    assert every.example("pair")[:3] == ("random", 2, 12)
    assert every.example("pair", "memorising")[:3] == ("memorising", 0, 10)
    assert every.example("pair", ["memorising", "random"])[:3] == ("memorising", 0, 10)
    assert every.example("datapoint", "random")[:3] == ("random", 2, 12)  # memorizes most


def test_an_example_of_what_is_not_there_is_refused(together):
    with pytest.raises(ParameterError, match="state = 'gone' is not allowed: it must be one of"):
        together.example("gone")
    for condition in ("gone", ["none", "gone"], []):
        with pytest.raises(ParameterError, match="there are 'none', 'repeats', 'matched'"):
            together.example(measures.STATES[0], condition)
