"""A score is the loss that training reports, on fresh data."""

from dataclasses import replace

import pytest
import torch

from faithnb import AbsoluteValue, Experiment, Transcoder, train
from faithnb.training.cross_loss import cross, score

SMALL = Experiment(d_in=6, d_sae=12, batch_size=256, density=0.3)


@pytest.fixture(scope="module")
def exact():
    return Transcoder.from_circuits(AbsoluteValue(6).circuits())


def test_the_exact_solution_costs_its_sparsity_and_its_own_kinks(exact):
    """|x| by 2d ReLU features: no error; tanh(|x|) on average is ln cosh 1 for an active one."""
    free = replace(SMALL, sparsity_penalty="none")
    assert score(exact, free).item() == pytest.approx(0, abs=1e-10)
    sparse = score(exact, replace(SMALL, sparsity_coefficient=0.5)).item()
    assert sparse == pytest.approx(0.5 * 6 * 0.3 * 0.43378, rel=0.02)
    for form in ("plain", "smoothed", "finite", "noise"):
        matched = replace(free, jacobian_matching=form, jacobian_coefficient=1.0)
        assert score(exact, matched).item() == pytest.approx(0, abs=1e-8), form
    read_as_one = replace(free, jacobian_matching="plain", jacobian_coefficient=1.0, kink="one")
    assert score(exact, read_as_one, 256).item() == pytest.approx(6 * 0.7, rel=0.02)


def test_a_score_is_the_loss_that_training_ended_with():
    e = replace(SMALL, steps=300, repeat_frac=0.1, jacobian_matching="plain",
                jacobian_coefficient=0.1)  # fmt: skip
    trained = train([replace(e, seed=s) for s in range(4)], progress=False)
    last = trained.history.loss.isel(step=slice(-8, None)).mean("step").values
    assert score(trained.transcoder, e).numpy() == pytest.approx(last, rel=0.15)


def test_all_are_scored_on_the_same_data_and_a_table_has_them_all(exact):
    two = Transcoder.cat([exact, exact])
    scores = score(two, SMALL)
    assert scores[0] == scores[1] == score(exact, SMALL)[0]
    found = cross({"a": exact, "b": two}, {"no penalty": replace(SMALL, sparsity_penalty="none"),
                                           "penalty": SMALL}, 4)  # fmt: skip
    assert found.index.tolist() == [("a", 0), ("b", 0), ("b", 1)]
    assert (found.nunique() == 1).all()
    assert (found["penalty"] > found["no penalty"]).all()


def test_other_widths_are_refused(exact):
    with pytest.raises(ValueError, match="are not those of the objective"):
        score(exact, replace(SMALL, d_sae=13))
    assert torch.isfinite(score(exact, SMALL)).all()
