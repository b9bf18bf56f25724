"""A language model's MLP as a target."""

import pytest
import torch

from faithnb import Experiment, ParameterError
from faithnb.common.errors import InputError
from faithnb.model.mlp import GatedMLP, as_target


def layer(dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=g) for shape in ((7, 5), (7, 5), (3, 7))]
    return GatedMLP(*(w.to(dtype) for w in weights))


def test_its_derivative_is_that_of_autograd():
    f, x, v = layer(), *torch.randn(2, 9, 5, dtype=torch.float64).unbind(0)
    expected = torch.func.jvp(f.__call__, (x,), (v,))[1]
    torch.testing.assert_close(f.jvp(x, v), expected)


def test_in_other_units_it_is_the_same_layer():
    f, x = layer(), torch.randn(9, 5, dtype=torch.float64)
    torch.testing.assert_close(f.scaled(2.0, 3.0)(x), f(2 * x) / 3)


def test_what_its_neurons_contribute_adds_up_where_one_is_left():
    f, x = layer(), torch.randn(9, 5, dtype=torch.float64)
    alone = GatedMLP(f.gate[:1], f.up[:1], f.down[:, :1])
    torch.testing.assert_close(alone(x).norm(dim=-1), alone.neurons(x)[:, 0])


def test_a_layer_of_another_width_or_whose_file_is_gone_is_refused(tmp_path):
    name = as_target("mlp_for_test", layer(), tmp_path)
    e = Experiment(target=name, d_in=5, points=())
    assert (e.d_out, e.make_target().d_in) == (3, 5)
    with pytest.raises(ParameterError, match="d_in = 16 is not allowed with target = 'mlp_for_t"):
        Experiment(target=name, points=())
    (tmp_path / "mlp_for_test.safetensors").unlink()
    with pytest.raises(ParameterError, match="there is no file"):
        Experiment(target=name, d_in=5, points=())


def test_keys_follow_its_weights(tmp_path):
    name = as_target("mlp_for_test", layer(), tmp_path)
    first = Experiment(target=name, d_in=5, points=()).identity()
    as_target("mlp_for_test", layer().scaled(2.0, 1.0), tmp_path)
    assert Experiment(target=name, d_in=5, points=()).identity() != first
    as_target("mlp_for_test", layer(), tmp_path)
    assert Experiment(target=name, d_in=5, points=()).identity() == first


def test_a_name_that_is_taken_and_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is another layer of that name"):
        as_target("abs", layer(), tmp_path)
    with pytest.raises(InputError, match="are not allowed: they must be"):
        GatedMLP(torch.zeros(7, 5), torch.zeros(7, 4), torch.zeros(3, 7))
