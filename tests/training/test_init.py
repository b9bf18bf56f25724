"""Made starts: what one sees by eye, and that training them is training from there."""

from dataclasses import replace

import pytest
import torch

from faithnb import Experiment, measures, train
from faithnb.data.sampling import pad_points
from faithnb.experiment import ParameterError
from faithnb.model.inits import memorising_circuits
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder
from faithnb.training.init import start

SMALL = Experiment(d_in=6, d_sae=16, batch_size=64, steps=40, repeat_frac=0.1)


@pytest.mark.parametrize("point", [[1, 1, 1], [1, -1], [2, 0.5, 0, -1, 1]])
def test_a_memorising_transcoder_by_hand(point):
    target = AbsoluteValue(6)
    (p,) = pad_points([point], 6)
    made = Transcoder.from_circuits(memorising_circuits(target, p))
    assert torch.allclose(made(p[None])[0, 0], p.abs(), atol=1e-6)
    h = made.encode(p[None])[0, 0]
    assert h[-1].item() == pytest.approx(1)
    assert h[:-1].abs().max().item() < 1e-6  # the others stop exactly at p
    support = p.nonzero()[:, 0]
    if len(support) == 3:
        missing_one = p.repeat(3, 1)
        missing_one[range(3), support] = 0
        assert made.encode(missing_one)[0, :, -1].max().item() < 1e-6
    other = torch.zeros(6)
    other[5] = -0.7
    assert torch.allclose(made(other[None])[0, 0], other.abs(), atol=1e-6)


def test_of_three_ones_each_feature_reads_a_third_of_the_others():
    circuits = memorising_circuits(AbsoluteValue(3), torch.ones(3))
    assert circuits[0].read.tolist() == pytest.approx([1, -1 / 3, -1 / 3])
    assert circuits[0].threshold == pytest.approx(1 / 3)
    assert circuits[3].read.tolist() == [-1, 0, 0]
    assert circuits[-1].read.tolist() == pytest.approx([1, 1, 1])
    assert circuits[-1].threshold == pytest.approx(2)


def test_starts_of_an_ensemble_are_each_their_own():
    inits = ("random", "generalising", "memorising")
    experiments = [replace(SMALL, init=init) for init in inits]
    target = AbsoluteValue(6)
    first = start(experiments, target)
    assert measures.state(first, target, pad_points(SMALL.points, 6)[0])[1:] == [
        "generalising", "datapoint",
    ]  # fmt: skip
    for i, e in enumerate(experiments):
        alone = start([e], target)
        assert torch.equal(alone.W_enc[0], first.W_enc[i])
        together, single = train(experiments, progress=False), train(e, progress=False)
        assert torch.allclose(together[i].W_enc, single[0].W_enc, atol=1e-6)
    assert first.W_enc[1, :, 12:].norm() < 0.2 * first.W_enc[0, :, 12:].norm()
    assert first.W_enc[1, :, 12:].norm() > 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"init": "memorising", "d_sae": 12}, "it needs 13 features"),
        ({"init": "generalising", "d_sae": 11}, "it needs 12 features"),
        ({"init": "memorising", "points": ((1,),)}, "at least two coordinates"),
        ({"init": "memorising", "points": ((1, 1), (0, 1, 1))}, "exactly one"),
        ({"init": "generalising", "target": "superposed"}, "only the circuits of 'abs'"),
        ({"probe": "covariance", "blur": 0.1}, "without noise only"),
        ({"jacobian_start": 0.5}, "nothing would set in"),
        ({"jacobian_matching": "noise", "kink": "one"}, "reads no derivative"),
        ({"jacobian_matching": "sigmoid_gate", "kink": "masked"}, "use 'zero' or 'one'"),
        ({"jacobian_matching": "noise", "jacobian_estimator": "exact"}, "no closed form"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, sentence):
    with pytest.raises(ParameterError, match=sentence):
        replace(SMALL, **changes)
