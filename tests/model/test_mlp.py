"""A language model's MLPs: their closed-form Jacobians against autograd, and as targets."""

import pytest
import torch

import faithnb as fb
from faithnb import Experiment, ParameterError, Transcoder
from faithnb.common.errors import InputError
from faithnb.model.layer import Layer
from faithnb.model.mlp import GeluMLP, SwiGLU, as_target


def random(*shape, seed=0):
    drawn = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=drawn, dtype=torch.float64) / shape[-1] ** 0.5


def swiglu():
    return SwiGLU(random(12, 8), random(12, 8, seed=1), random(8, 12))


def gelu(tanh):
    return GeluMLP(random(12, 8), random(12), random(8, 12), random(8), tanh=tanh)


LAYERS = {"swiglu": swiglu(), "gelu_new": gelu(True), "gelu": gelu(False)}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_jvp_is_autograds(layer):
    x, v = 3 * random(7, 8), random(7, 8, seed=2)
    torch.testing.assert_close(layer.jvp(x, v), Layer.jvp(layer, x, v), rtol=1e-12, atol=1e-12)
    J = torch.func.vmap(torch.func.jacrev(layer))(x)
    torch.testing.assert_close(layer.jacobian(x), J, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tanh", [True, False])
def test_gelu_neurons_are_units(tanh):
    layer, x = gelu(tanh), random(7, 8)
    read, write = layer.units
    J = torch.einsum("bk,ko,ki->boi", layer.slope(x), write, read)
    torch.testing.assert_close(J, layer.jacobian(x))
    torch.testing.assert_close(layer(x), layer.neurons(x) @ write + layer.b_out)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_the_table_takes_them_and_borrows_no_circuits(layer):
    table = fb.measure(Transcoder.random([0], 8, 16, 8), layer, random(32, 8).float())
    assert torch.isfinite(torch.tensor(table.fvu.item()))
    assert table.jacobian_error.item() > 0
    assert "circuit_match" not in table or table.circuit_match.isnull().all()


def small(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=g) for shape in ((7, 5), (7, 5), (3, 7))]
    return SwiGLU(*(w.to(dtype) for w in weights))


def test_in_other_units_it_is_the_same_small():
    f, x = small(), torch.randn(9, 5, dtype=torch.float64)
    torch.testing.assert_close(f.scaled(2.0, 3.0)(x), f(2 * x) / 3)


def test_a_layer_of_another_width_or_whose_file_is_gone_is_refused(tmp_path):
    name = as_target("mlp_for_test", small(), tmp_path)
    e = Experiment(target=name, d_in=5, points=())
    assert (e.d_out, e.make_target().d_in) == (3, 5)
    with pytest.raises(ParameterError, match="d_in = 16 is not allowed with target = 'mlp_for_t"):
        Experiment(target=name, points=())
    (tmp_path / "mlp_for_test.safetensors").unlink()
    with pytest.raises(ParameterError, match="there is no file"):
        Experiment(target=name, d_in=5, points=())


def test_keys_follow_its_weights(tmp_path):
    name = as_target("mlp_for_test", small(), tmp_path)
    first = Experiment(target=name, d_in=5, points=()).identity()
    as_target("mlp_for_test", small().scaled(2.0, 1.0), tmp_path)
    assert Experiment(target=name, d_in=5, points=()).identity() != first
    as_target("mlp_for_test", small(), tmp_path)
    assert Experiment(target=name, d_in=5, points=()).identity() == first


def test_a_name_that_is_taken_and_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is another layer of that name"):
        as_target("abs", small(), tmp_path)
    with pytest.raises(InputError, match="are not allowed: they must be"):
        SwiGLU(torch.zeros(7, 5), torch.zeros(7, 4), torch.zeros(3, 7))
