"""A rotation of inputs and outputs: of data, of a layer, and of a transcoder back again."""

from dataclasses import replace

import pytest
import torch

from faithnb import Experiment, ParameterError, Transcoder, measures
from faithnb.data.rng import Stream
from faithnb.data.sources import SparseUniform
from faithnb.data.turning import TurnedData, rotation
from faithnb.model.layer import Layer
from faithnb.model.turning import TurnedLayer, turned_layer, upright
from faithnb.training.batches import Batches

D = 6
TURNED = Experiment(d_in=D, d_sae=12, turn=3, repeat_frac=0.1, batch_size=32)


def test_rotations_are_orthogonal_fixed_and_different():
    for seed in (1, 2):
        R = rotation(seed, D)
        assert torch.allclose(R @ R.T, torch.eye(D).double(), atol=1e-12)
    assert (rotation(1, D) - rotation(2, D)).abs().max() > 0.1
    assert torch.equal(rotation(0, D), torch.eye(D).double())
    found = torch.stack([rotation(seed, 2)[0, 0] for seed in range(1, 400)])
    assert abs(found.mean()) < 0.15  # as likely to either side
    assert abs(found.square().mean() - 0.5) < 0.1


def test_turned_data_are_the_data_turned():
    data, R = SparseUniform(D, 0.3), rotation(3, D)
    turned = TurnedData(data, 3, 1)
    u = Stream([0], "data").uniform(0, (50, D), torch.float64)[0]
    assert torch.allclose(turned.draw(u), data.draw(u) @ R)
    assert torch.allclose(turned.evaluation(9), data.evaluation(9) @ R.float(), atol=1e-6)
    normal = Stream([1], "probe").normal(0, (200_000, D), torch.float64)[0]
    v = turned.directions(normal, 0.5)
    assert (v.T @ v / len(v) - 0.5 * turned.covariance()).abs().max() < 1e-3


def test_the_streams_of_several_layers_are_rotated_alike():
    R, own = rotation(3, D, 2), rotation(3, D // 2)
    assert torch.equal(R[: D // 2, : D // 2], own)
    assert torch.equal(R[D // 2 :, D // 2 :], own)
    assert not R[: D // 2, D // 2 :].any()
    e = Experiment(target="two_layers", data="two_layers", d_in=D, points=((1.0,),), turn=3)
    x = replace(e, turn=0).evaluation_inputs(50)
    assert torch.allclose(e.evaluation_inputs(50), x @ R.float(), atol=1e-6)
    assert torch.allclose(e.make_points(), replace(e, turn=0).make_points() @ R.float())
    layer, straight = e.make_target(), replace(e, turn=0).make_target()
    assert torch.allclose(layer(x @ R.float()), straight(x) @ R.float(), atol=1e-6)
    t = Transcoder.from_circuits(layer.circuits())
    back = upright(t, 3, 2)
    assert torch.allclose(back(x[None].to(back.W_enc)), straight(x).to(back.W_enc), atol=1e-5)
    batch = Batches([e], torch.device("cpu"))
    batch.draw()
    turned = batch.now["x"][0, :, :-1]
    plain = Batches([replace(e, turn=0)], torch.device("cpu"))
    plain.draw()
    assert torch.allclose(turned, plain.now["x"][0, :, :-1] @ R.float(), atol=1e-5)


@pytest.mark.parametrize("variation", ["none", "independent"])
def test_batches_are_turned_points_and_variations_too(variation):
    e = replace(TURNED, point_variation=variation)
    batches = [Batches([of], torch.device("cpu")) for of in (e, replace(e, turn=0))]
    for of in batches:
        of.draw()
    turned, straight = (of.now for of in batches)
    R = rotation(3, D).float()
    x = straight["x"][0, :, :-1]
    assert torch.allclose(turned["x"][0, :, :-1], x @ R, atol=1e-5)
    assert torch.allclose(turned["y"][0], straight["y"][0] @ R, atol=1e-5)
    assert torch.allclose(e.p, replace(e, turn=0).p @ R, atol=1e-6)


def test_a_turned_layer_without_units_or_with_fewer_outputs():
    linear = torch.nn.Linear(D, 2)
    layer = turned_layer(Layer.of(lambda x: torch.tanh(linear(x)), D), 3)
    x = torch.randn(5, D)
    y = torch.tanh(linear(x @ rotation(3, D).T.float())) @ rotation(3, 2).float()
    assert torch.allclose(layer(x), y, atol=1e-5)
    assert layer.d_out == 2
    whole = Experiment().make_target()
    assert turned_layer(whole, 0) is whole


@pytest.mark.parametrize("target", ["abs", "abs_with_point", "superposed", "smooth_abs"])
def test_derivatives_and_circuits_of_a_turned_layer(target):
    layer = replace(TURNED, target=target).make_target()
    assert isinstance(layer, TurnedLayer)
    x, v = torch.randn(20, D).double(), torch.randn(20, D).double()
    J = torch.stack([torch.autograd.functional.jacobian(layer, row) for row in x])
    assert torch.allclose(layer.jacobian(x), J, atol=1e-6)
    assert torch.allclose(layer.jvp(x, v), (J @ v[..., None])[..., 0], atol=1e-6)
    read, write = layer.units
    assert torch.allclose((write.T * layer.slope(x)[:, None]) @ read, J, atol=1e-6)
    if target != "smooth_abs":
        summed = sum(circuit.contribution(x) for circuit in layer.circuits())
        assert torch.allclose(summed, layer(x), atol=1e-5)


def test_the_ideal_of_a_turned_layer_is_ideal_once_it_is_upright():
    straight = replace(TURNED, turn=0)
    t = Transcoder.from_circuits(TURNED.make_target().circuits())
    x, layer = straight.evaluation_inputs(500), straight.make_target()
    back = upright(t, 3, 1)
    assert measures.mechanism_error(back, layer, x).item() < 1e-10
    assert measures.state(back, layer, straight.p) == ["generalising"]
    assert torch.allclose(back.W_enc, Transcoder.from_circuits(layer.circuits()).W_enc, atol=1e-6)
    assert upright(t, 0, 1) is t


@pytest.mark.parametrize("fields", [
    {"kink": "masked", "jacobian_matching": "plain", "jacobian_coefficient": 0.1},
    {"probe": "active", "jacobian_matching": "plain", "jacobian_coefficient": 0.1},
    {"init": "memorising", "d_sae": 64},
])  # fmt: skip
def test_what_looks_at_single_coordinates_is_refused(fields):
    Experiment(d_in=D, **fields)
    with pytest.raises(ParameterError, match=f"turn = 1 is not allowed with {next(iter(fields))}"):
        Experiment(d_in=D, turn=1, **fields)
