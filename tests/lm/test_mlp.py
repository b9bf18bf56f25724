"""A language model's MLPs: their closed-form Jacobians against autograd."""

import pytest
import torch

import faithnb as fb
from faithnb import Transcoder
from faithnb.lm.mlp import GeluMLP, SwiGLU
from faithnb.model.layer import Layer


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
