"""Layers: any torch module is one, and what is none is said."""

import pytest
import torch

import faithnb as fb
from faithnb import InputError, Transcoder
from faithnb.data.sampling import evaluation_sample
from faithnb.model.layer import LAYERS, Layer

D = 6


def test_a_layer_takes_no_name_that_is_taken():
    before = dict(LAYERS)
    with pytest.raises(TypeError, match="name = 'abs' is not allowed: there is another layer"):
        type("Odd", (Layer,), {"__module__": __name__, "name": "abs"})
    assert before == LAYERS


def test_any_torch_module_is_a_layer():
    module = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    t, x = Transcoder.random([0, 1], D, 9, 4), evaluation_sample(D, 0.3, 64)
    layer = Layer.of(module, D)
    assert (layer.d_out, layer.name) == (4, "Sequential")
    given = [fb.measure(t, one, x, measures=["fvu", "jacobian_error"]) for one in (module, layer)]
    assert given[0].equals(given[1])
    J = torch.func.vmap(torch.func.jacrev(module))(x)
    torch.testing.assert_close(layer.jacobian(x), J.detach())
    expected = (t.jacobian(x)[0] - J).square().sum() / J.square().sum()
    assert given[0].jacobian_error[0].item() == pytest.approx(expected.item(), rel=1e-4)
    assert all(w.grad is None for w in module.parameters())


def test_modules_and_functions_of_any_type_are_layers():
    W = torch.randn(D, D, generator=torch.Generator().manual_seed(0))

    class Held(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("W", W.double())

        def forward(self, x):
            return torch.relu(x @ self.W)

    class Unnamed(Layer):
        d_in = d_out = D

        def __call__(self, x):
            return torch.relu(x @ W.to(x))

    t, x = Transcoder.random([0], D, 9, D), evaluation_sample(D, 0.3, 64)
    wanted = ["fvu", "jacobian_error", "dense_fvu", "circuit_match"]
    tables = [fb.measure(t, layer, x, measures=wanted)
              for layer in (lambda x: torch.relu(x @ W), Held(), Unnamed())]  # fmt: skip
    for table in tables:
        assert table.fvu.item() == pytest.approx(tables[0].fvu.item(), rel=1e-5)
        assert table.jacobian_error.item() == pytest.approx(tables[0].jacobian_error.item())
        assert table.circuit_match.isnull().all()


@pytest.mark.parametrize(("module", "sentence"), [
    (torch.nn.Linear(D + 1, 2), r"Linear is not allowed: it must map \[B, 6\] to"),
    (torch.nn.Flatten(0), r"Flatten is not allowed: it maps \[3, 6\] to \[18\]"),
    (torch.nn.Dropout(0.5), "Dropout is not allowed: it gives another output each time"),
    (torch.nn.BatchNorm1d(D), "BatchNorm1d is not allowed: .* depends on the other rows"),
    (3, "int is not allowed"),
    (lambda x: x / 0, "function is not allowed: what it gives is not finite"),
])  # fmt: skip
def test_a_module_that_is_no_layer(module, sentence):
    with pytest.raises(InputError, match=sentence):
        Layer.of(module, D)
