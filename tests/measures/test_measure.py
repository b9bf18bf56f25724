"""Measures: what they ask for, and what cannot be one."""

import copy

import pytest
import torch

import faithnb as fb
from faithnb import InputError, ParameterError, Transcoder
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.registry import MEASURES, measure, remembering
from faithnb.model.layers import AbsoluteValue

D = 6


def test_a_measure_asks_for_what_there_is():
    with pytest.raises(ValueError, match=r"asks for weights; a measure can ask for p, target"):
        measure("none")(lambda transcoder, weights: weights)
    with pytest.raises(ValueError, match="there is another measure of that name"):
        measure("none", name="fvu")(lambda transcoder, x: x)


@pytest.mark.parametrize(("function", "sentence"), [
    (lambda transcoder, x: transcoder.encode(x).mean(1), r"shape \[1, 12\]; it must give one"),
    (lambda transcoder: transcoder.W_enc.sum(), r"shape \[\]; it must give one value an instance"),
])  # fmt: skip
def test_a_measure_of_another_shape_is_said_not_spread(function, sentence):
    layer = AbsoluteValue(D)
    measure("none", name="odd")(function)
    try:
        with pytest.raises(TypeError, match=f"the measure odd gave an array of {sentence}"):
            fb.measure(Transcoder.from_circuits(layer.circuits()), layer, torch.ones(3, D))
    finally:
        del MEASURES["odd"]


@pytest.mark.parametrize("name", ["density", "inst", "point", "step", "seed"])
def test_a_measure_takes_no_name_of_a_field(name):
    with pytest.raises(ValueError, match=f"{name} cannot be a measure"):
        measure("none", name=name)(lambda transcoder: transcoder.W_enc.sum((1, 2)))


def test_what_was_worked_out_is_not_given_for_something_else():
    t = remembering(Transcoder.from_circuits(AbsoluteValue(D).circuits()))
    x = torch.ones(2, D, dtype=torch.float64)
    first = t.encode(x).clone()
    assert t.encode(x) is t.encode(x=x)
    x.mul_(2)
    assert torch.equal(t.encode(x), 2 * first)
    other = copy.deepcopy(t)
    with torch.no_grad():
        other.W_enc.zero_()
        assert other.encode(x).abs().sum() == 0
        t.W_enc.zero_()
    assert t.encode(x).abs().sum() == 0


def test_what_cannot_be_measured_is_said():
    layer = AbsoluteValue(D)
    t, x = Transcoder.from_circuits(layer.circuits()), evaluation_sample(D, 0.1, 64)
    with pytest.raises(ParameterError, match="there is no measure 'fvvu'"):
        fb.measure(t, layer, x, measures=["fvvu"])
    with pytest.raises(InputError, match=r"x = .* is not allowed"):
        fb.measure(t, layer, x[0])
    with pytest.raises(InputError, match=r"p = .* is not allowed"):
        fb.measure(t, layer, x, torch.ones(D + 1))
    with pytest.raises(InputError, match="layer has d_in = 5"):
        fb.measure(t, AbsoluteValue(D - 1), x)
    for d_out in (1, D + 1):
        with pytest.raises(InputError, match=f"layer has d_out = {d_out}, the transcoder d_out"):
            fb.measure(t, torch.nn.Linear(D, d_out), x)
