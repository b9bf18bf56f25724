import math
import re
from inspect import signature

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import MADE, MEMORIZATION, P, random_transcoder
from hypothesis import given
from hypothesis import strategies as st

from faithnb import Experiment, measures, train
from faithnb.book.contents import ROOT
from faithnb.data.inputs import ball
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.circuits import ALIKE
from faithnb.measures.registry import View
from faithnb.measures.table import columns
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

X = evaluation_sample(6, 0.3)


@pytest.mark.parametrize("name", MADE)
def test_memorization_and_state_of_hand_made_transcoders(made, target, p, name):
    t = made[name]
    assert measures.memorization(t, p).item() == pytest.approx(MEMORIZATION[name], abs=1e-6)
    assert measures.memorization(t, p, per_feature=True).sum().item() == pytest.approx(
        MEMORIZATION[name], abs=1e-6
    )
    assert measures.state(t, target, p) == ["datapoint" if name == "split" else name]
    assert torch.allclose(t(p[None])[0, 0], p, atol=1e-6)


@pytest.mark.parametrize(
    ("written", "m"),
    [
        ((1, 1, 1), math.sqrt(3) - 1), ((0.5, 0.5, 0.5), (math.sqrt(3) - 1) / 2),
        ((1, 1, 0), 2 / math.sqrt(3) - 1), ((0, 1, 0), 0), ((1, 0.366, 0.366), 0),
        ((1, 0.4, 0.4), 1.8 / math.sqrt(3) - 1),
    ],
)  # fmt: skip
def test_memorization_of_one_feature(p, written, m):
    write = torch.zeros(6)
    write[:3] = torch.tensor(written, dtype=torch.float)
    t = Transcoder.from_circuits([Circuit("", P / 3, write)])
    assert measures.memorization(t, p).item() == pytest.approx(m, abs=1e-6)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_a_datapoint_feature_for_k_ones_has_root_k_minus_one(k):
    p = torch.zeros(6)
    p[:k] = 1
    t = Transcoder.from_circuits([Circuit("", p / k, p)])
    assert measures.memorization(t, p).item() == pytest.approx(math.sqrt(k) - 1, abs=1e-6)
    assert measures.full_memorization(p) == pytest.approx(math.sqrt(k) - 1)
    assert measures.state(t, AbsoluteValue(6), p) == ["datapoint"]


def test_a_feature_that_writes_p_but_reads_otherwise_is_no_datapoint_feature(target, p):
    read = torch.zeros(6)
    read[0] = 1.0
    t = Transcoder.from_circuits([Circuit("", read, P)])
    assert measures.state(t, target, p) == ["other"]
    assert not measures.datapoint_features(t, target, p, X).any()


def test_datapoint_features_are_found_where_they_are(made, target, p):
    for name, expected in (("generalising", 0), ("datapoint", 1), ("pair", 0), ("split", 2)):
        assert measures.datapoint_features(made[name], target, p, X).sum() == expected
    always = Transcoder.from_circuits([Circuit("", P / 3, P, -10.0)])
    assert not measures.datapoint_features(always, target, p, X).any()


def test_state_needs_two_coordinates(made, target):
    with pytest.raises(ValueError, match="at least two coordinates"):
        measures.state(made["pair"], target, torch.eye(6)[0])


@given(st.integers(0, 10_000))
def test_permuting_and_rescaling_features_keeps_memorization_and_state(seed):
    t, p, x = random_transcoder(2, 6, 9, seed), P.double(), X.double()
    g = torch.Generator().manual_seed(seed)
    order, scale = torch.randperm(9, generator=g), torch.rand(9, generator=g).double() + 0.5
    other = Transcoder.from_arrays(
        (t.W_enc * scale)[..., order],
        (t.b_enc * scale)[..., order],
        (t.W_dec / scale[:, None])[:, order],
    )
    target = AbsoluteValue(6)
    assert torch.allclose(measures.memorization(t, p), measures.memorization(other, p))
    assert measures.state(t, target, p) == measures.state(other, target, p)
    assert torch.allclose(measures.fvu(t, target, x), measures.fvu(other, target, x))
    assert torch.equal(measures.l0(t, x), measures.l0(other, x))


def test_fvu_is_one_for_the_mean_and_zero_for_the_truth(made, target):
    y = target(X)
    mean = Transcoder.from_arrays(torch.zeros(6, 1), torch.zeros(1), torch.zeros(1, 6), y.mean(0))
    assert measures.fvu(mean, target, X).item() == pytest.approx(1, abs=1e-6)
    assert measures.fvu(made["generalising"], target, X).item() == 0
    assert measures.explained_variance(mean, target, X).item() == pytest.approx(0, abs=1e-6)
    zero = Transcoder.from_arrays(torch.zeros(6, 1), torch.zeros(1), torch.zeros(1, 6))
    assert measures.mse(zero, target, X).item() == pytest.approx(y.square().sum(-1).mean().item())
    with pytest.raises(ValueError, match="varies"):
        measures.fvu(zero, target, X[:1])


def test_counting_features(made, p):
    t = made["generalising"]
    x = torch.tensor([[0.5, -0.5, 0, 0, 0, 0], [0.005, 0, 0, 0, 0, 0], [0.0] * 6, [0.0] * 6])
    assert measures.l0(t, x).item() == 0.5
    assert measures.n_on(t, x).item() == 0.75
    assert measures.frac_alive(t, x).item() == pytest.approx(2 / 12)
    assert measures.active_at_point(t, p).item() == 3
    assert measures.active_at_point(made["datapoint"], p).item() == 1


def test_shares_and_counts_of_pattern_features(made, target, p):
    shares = {k: measures.memorization_share(t, p).item() for k, t in made.items()}
    whole = math.sqrt(3) - 1
    assert shares == pytest.approx({k: m / whole for k, m in MEMORIZATION.items()}, abs=1e-6)
    with pytest.raises(ValueError, match="at least two coordinates"):
        measures.memorization_share(made["pair"], torch.eye(6)[0])
    table = xr.Dataset({
        "memorization_share": ("inst", [0.59, 0.61, 0.0, 0.0, np.nan]),
        "fvu": ("inst", [0.01, 0.01, 0.09, 0.1, np.nan]),
    })  # fmt: skip
    assert measures.writes_pattern(table).values.tolist() == [False, True, False, False, False]
    assert measures.fails(table).values.tolist() == [False, True, False, True, True]


def test_relative_error_counts_silence_as_one(made, target, p):
    assert measures.relative_error(made["generalising"], target, p[None]).item() == 0
    silent = Transcoder.from_arrays(torch.zeros(1, 6, 2), torch.zeros(1, 2), torch.zeros(1, 2, 6))
    assert measures.relative_error(silent, target, p[None]).item() == 1


def test_subset_error(made, target, p):
    assert measures.subset_error(made["generalising"], target, p).item() == 0
    each = measures.subset_error(made["datapoint"], target, p, per_subset=True)[0]
    # e1: 1.5 (4/3 − 1/3 − 1/3) = 1, no error; e1+e2: 1.5 · 1/3 each from the rotated features
    # and 2/1.5 − 1 = 1/3 from the datapoint feature on all three coordinates.
    assert torch.allclose(each[:3], torch.zeros(3).double(), atol=1e-6)
    wrong = 2 * (1.5 / 3 + 1 / 3 - 1) ** 2 + (1 / 3) ** 2
    assert torch.allclose(each[3:], torch.full((3,), wrong).double(), atol=1e-6)
    assert measures.subset_error(made["datapoint"], target, p).item() == pytest.approx(
        wrong / 2, abs=1e-6
    )


def test_off_distribution(made, target, p):
    for kind, at in (("dense", None), ("near_point", p)):
        good = measures.off_distribution_fvu(made["generalising"], target, kind, at)
        bad = measures.off_distribution_fvu(made["datapoint"], target, kind, at)
        assert good.item() < 1e-10
        assert bad.item() > 0.1
    with pytest.raises(ValueError, match="kind = 'sparse'"):
        measures.off_distribution_fvu(made["pair"], target, "sparse")
    with pytest.raises(ValueError, match="together with p"):
        measures.off_distribution_fvu(made["pair"], target, "near_point")


def test_a_transcoder_from_float64_arrays_can_be_measured(made, target, p):
    weights = [w[0].double().numpy() for w in made["datapoint"].parameters()]
    t = Transcoder.from_arrays(*weights)
    assert measures.fvu(t, target, X).dtype == torch.float64
    assert measures.state(t, target, p) == ["datapoint"]
    for column in measures.MEASURES.values():
        assert len(column.of(View(t, target, X, p.double()))) == 1
    assert measures.datapoint_features(t, target, p, X).sum() == 1


def test_metrics_that_do_not_apply_are_left_out():
    from faithnb import Experiment, train

    many = Experiment(d_in=12, d_sae=24, steps=2, batch_size=4, points=((1,) * 11,))
    table = train(many, progress=False).metrics()
    assert np.isnan(table.subset_error)
    assert not np.isnan(table.memorization)
    with pytest.raises(ValueError, match="exactly one repeated point"):
        measures.summary(
            {"a": train(Experiment(d_in=3, steps=2, points=()), progress=False).metrics()}
        )


def test_table_and_summary():
    from faithnb import Experiment, train

    small = {"d_in": 6, "d_sae": 12, "steps": 5, "batch_size": 8}
    experiments = [Experiment(**small, seed=s, repeat_frac=r) for r in (0, 0.1) for s in (0, 1)]
    table = train(experiments, progress=False).metrics()
    assert table.seed.values.tolist() == [0, 1, 0, 1]
    assert table.repeat_frac.values.tolist() == [0, 0, 0.1, 0.1]
    assert set(table.state.values) <= set(measures.STATES)
    base = [m.name for m in columns() if not m.of_point]
    assert all(table[name].attrs["units"] for name in base)
    assert not np.isnan([table[name].values for name in base]).any()
    rows = measures.summary({"a": table})
    assert rows.loc["a", list(measures.STATES)].sum() == rows.loc["a", "seeds"] == 4

    two = train(Experiment(**small, points=((1, 1), (0, 0, 1, 1))), progress=False).metrics()
    assert two.memorization.dims == ("inst", "point")
    none = train(Experiment(**small, points=()), progress=False).metrics()
    assert "memorization" not in none


def test_the_table_holds_each_metric():
    """However much the metrics share on the way."""
    experiments = [Experiment(d_in=6, d_sae=16, steps=20, seed=s) for s in range(5)]
    trained = train(experiments, progress=False)
    table, target = trained.metrics(), experiments[0].make_target(kink="masked")
    view = View(trained.transcoder, target, evaluation_sample(6, experiments[0].density), P)
    for m in columns():
        alone = m.of(view)
        if m.words:
            assert table[m.name].values.tolist() == alone
        else:
            np.testing.assert_allclose(table[m.name], alone, rtol=1e-5, atol=1e-7, err_msg=m.name)
    assert {m.name for m in columns()} == set(table.data_vars)


def test_alignment_needs_both_ends_and_a_contribution(made, target):
    found = {name: measures.alignment(t, target, P).item() for name, t in made.items()}
    assert found["datapoint"] == pytest.approx(1)
    assert found["split"] == pytest.approx(1)
    assert found["generalising"] == pytest.approx(1 / math.sqrt(3))
    e = torch.eye(6)[0]
    assert measures.alignment(
        Transcoder.from_circuits([Circuit("", e, P)]), target, P
    ).item() == pytest.approx(1 / math.sqrt(3))
    silent = Transcoder.from_circuits([Circuit("", P, P, 3.0)])
    assert measures.alignment(silent, target, P).item() == 0


def test_the_background_page_has_the_constants_of_the_code():
    ball_of, sample = (signature(f).parameters for f in (ball, evaluation_sample))
    words = (ROOT / "book" / "background.md").read_text().partition("## Words and measures")[2]
    words = re.sub(r"\{term\}`([^`<]+?)( <[^`]*)?`", r"\1", words)
    for said in (
        f"on {sample['n'].default:,} fixed evaluation inputs",
        f"From {measures.TASK_LOST:g} on we say that it has lost the task",
        f"contribute more than {measures.CONTRIBUTES:g} to an output",
        f"is one worth {100 * measures.DATAPOINT:.0f} % of writing",
        f"over {ball_of['n'].default} points within a thousandth",
        f"Up to {ALIKE:g} we speak of the same mechanism",
    ):
        assert said in words
    assert ball_of["radius"].default == 1e-3


def test_of_a_table_who_memorized_who_lost_the_task_and_who_failed():
    table = xr.Dataset({
        "state": ("inst", ["datapoint", "pair", "generalising", "other", ""]),
        "fvu": ("inst", [0.01, 0.01, 0.0999, 0.1, np.nan]),
        "memorization_share": ("inst", [1.0, 0.5, 0.0, 0.0, np.nan]),
    })  # fmt: skip
    assert measures.memorized(table).values.tolist() == [True, True, False, False, False]
    assert measures.lost(table).values.tolist() == [False, False, False, True, True]
    assert measures.fails(table).values.tolist() == [True, False, False, True, True]


def test_the_feature_that_memorizes_most(made, p):
    found = measures.most_memorizing(made["datapoint"], p, X)
    m = measures.memorization(made["datapoint"], p, per_feature=True)[0]
    assert found.feature == int(m.argmax())
    assert found.memorization == pytest.approx(math.sqrt(3) - 1, abs=1e-6)
    assert (found.reads, found.writes) == pytest.approx((1, 1), abs=1e-6)
    assert 0.5 < found.off <= found.silent < 1


def test_the_error_where_one_coordinate_is_missing(made, target, p):
    t = made["datapoint"]
    some = torch.stack([p * (torch.arange(6) != j) for j in range(3)])
    error = (t(some) - target(some)).square().sum(-1).mean(-1)
    assert torch.allclose(measures.error_without_one(t, target, p).float(), error, atol=1e-5)


def test_what_a_feature_for_p_alone_cannot_do(p):
    of_p = torch.outer(p, p) / 3
    assert measures.error_of_point_alone(4 * of_p, p) == pytest.approx(0, abs=1e-6)
    eye = torch.diag(p)
    assert measures.error_of_point_alone(eye, p) == pytest.approx(2 / 3)
    assert measures.error_of_point_alone(eye, p) < ((eye - 2 * of_p) ** 2).sum() / 3
