"""A training that is watched is the training itself, and its measures are those one sees by eye."""

from dataclasses import replace

import pytest
import torch

from faithnb import AbsoluteValue, Experiment, Transcoder, measures, train
from faithnb.data.sampling import evaluation_sample
from faithnb.training.init import start
from faithnb.training.watch import bias, open_at_zero, slope, snapshots, watch

SMALL = Experiment(d_in=4, d_sae=10, batch_size=64, density=0.3, steps=40)


def two_features(b):
    """y = a ReLU(x + b) + a ReLU(-x + b), with a = 0.8."""
    return Transcoder.from_arrays(
        torch.tensor([[1.0, -1.0]]), torch.tensor([b, b]), torch.tensor([[0.8], [0.8]])
    )


def test_slopes_and_gates_of_hand_made_transcoders():
    exact = Transcoder.from_circuits(AbsoluteValue(5).circuits())
    assert slope(exact).tolist() == [1.0]
    assert open_at_zero(exact).tolist() == [0.0]
    shrunk, ajar, shut = two_features(0.0), two_features(0.1), two_features(-0.6)
    both = Transcoder.cat([shrunk, ajar, shut])
    assert slope(both).tolist() == pytest.approx([0.8, 0.8, 0.0])  # off at ±½ in the last
    assert slope(both, at=0.05).tolist() == pytest.approx([0.8, 0.0, 0.0])  # both on: they cancel
    assert open_at_zero(both).tolist() == [0.0, 2.0, 0.0]
    x = torch.linspace(-1, 1, 9)[:, None]
    assert bias(exact, torch.eye(5)).tolist() == [0.0]
    assert bias(both, x).tolist() == pytest.approx([0.0, 0.08, -0.48])
    one_silent = Transcoder.from_arrays(  # the second acts below -0.9 only, where x has nothing
        torch.tensor([[1.0, -1.0]]), torch.tensor([0.1, -0.9]), torch.tensor([[2.0], [2.0]])
    )
    assert bias(one_silent, x[3:]).tolist() == pytest.approx([0.2])
    assert bias(shut, x[4:5]).isnan().all()


def test_what_is_watched_is_the_training_itself():
    e = replace(SMALL, jacobian_matching="plain", jacobian_coefficient=0.1)
    seen = watch(e, (3, 5), (1, 20, 40), device="cpu")
    end = train([replace(e, seed=s) for s in (3, 5)], device="cpu", progress=False).transcoder
    x = evaluation_sample(4, 0.3)
    assert dict(seen.sizes) == {"step": 3, "seed": 2}
    last = seen.sel(step=40)
    assert last.fvu.values == pytest.approx(measures.fvu(end, e.make_target(), x).numpy(), rel=1e-6)
    assert last.slope.values == pytest.approx(slope(end).numpy(), rel=1e-6)
    assert last.bias.values == pytest.approx(bias(end, x).numpy(), rel=1e-5)
    assert (last.open_at_zero.values == open_at_zero(end).numpy()).all()
    assert (seen.fvu.sel(step=1) > last.fvu).all()


@pytest.mark.parametrize("at", [(), (0, 3), (5, 41), (5, 3), (3, 3)])
def test_steps_that_training_does_not_have_are_refused(at):
    with pytest.raises(ValueError, match="steps increase, from 1 to 40"):
        watch(SMALL, (0,), at)


def test_snapshots_begin_at_the_initialisation_and_end_where_training_does():
    both = [replace(SMALL, repeat_frac=r) for r in (0.0, 0.2)]
    kept = snapshots(both, (0, 20, 40), device="cpu")
    end = train(both, device="cpu", progress=False).transcoder
    first = start(both, SMALL.make_target())
    for name, weight in kept[-1].weights().items():
        assert weight == pytest.approx(end.weights()[name], rel=1e-5)
        assert (kept[0].weights()[name] == first.weights()[name]).all()
    assert not (kept[1].W_enc == kept[2].W_enc).any()


def test_snapshots_of_steps_that_training_does_not_have_are_refused():
    with pytest.raises(ValueError, match="steps increase, from 0 to 40"):
        snapshots([SMALL], (0, 41))
