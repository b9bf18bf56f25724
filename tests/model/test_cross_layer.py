"""Transcoders of two layers in sequence by hand."""

from dataclasses import replace

import pytest
import torch

from faithnb import Experiment, ParameterError, measures, train
from faithnb.model.architectures import Crosscoder, CrossLayer
from faithnb.model.sums import TwoLayers
from faithnb.penalties import L1
from faithnb.training.loop import Loop

PAIR = [[1.0, 0], [0, 1]]
X = torch.tensor([[3.0, 1.0], [-1.0, 2.0]])


def a_feature_a_layer():
    """Of one coordinate each: the first feature writes 1 to its layer and 10 to the next."""
    return CrossLayer.from_arrays(PAIR, [0.0, -1.5], [[1.0, 10], [0, 100]], n_layers=2)


def test_features_write_to_their_layer_and_those_after_it():
    t = a_feature_a_layer()
    assert t.encode(X)[0].tolist() == [[3, 0], [0, 0.5]]
    assert t(X)[0].tolist() == [[3, 30], [0, 50]]
    assert t.jacobian(X)[0].tolist() == [[[1, 0], [10, 0]], [[0, 0], [0, 100]]]


def test_no_output_of_a_layer_depends_on_the_stream_after_it():
    for skip in (False, True):
        t = CrossLayer.random([0, 1], 6, 8, 4, torch.float64, skip, n_layers=2)
        if skip:
            torch.nn.init.ones_(t.W_skip)
            t.settle()
        J = t.jacobian(torch.randn(20, 6, dtype=torch.float64))
        assert not J[..., :2, 3:].any()
        assert J[..., 2:, :3].any()
        assert J[..., :2, :3].any()
        assert J[..., 2:, 3:].any()


def test_what_a_code_of_two_layers_costs():
    """Decoder row (3, 4): a crosscoder pays 3 + 4, a cross-layer transcoder ‖(3, 4)‖ = 5."""
    given = PAIR, [0.0, 0.0], [[3.0, 4.0], [0.0, 2.0]]
    h, weight, scale = torch.tensor([[[2.0, 1.0]]]), torch.ones(1, 1), torch.ones(1)
    for of, cost in (Crosscoder, 16), (CrossLayer, 12):
        t = of.from_arrays(*given, n_layers=2)
        assert L1().of(h, t.write_norms(), weight, scale).item() == cost
    assert t.decoder_norms()[0].tolist() == [5, 2]


def test_a_crosscoder_reads_and_writes_all():
    t = Crosscoder.from_arrays([[1.0], [2.0]], [-1.0], [[1.0, -1.0]], n_layers=2)
    assert t(X)[0].tolist() == [[4, -4], [2, -2]]
    assert t.is_relu


def test_the_true_circuits_of_two_layers_are_held():
    """|x_1| / 2 and |x_2| by two features a coordinate, layer after layer."""
    each = torch.cat([torch.eye(2), -torch.eye(2)], dim=1)
    W_enc = torch.block_diag(each, each)
    W_dec = W_enc.T.abs() * torch.tensor([0.5, 0.5, 1, 1])
    t = CrossLayer.from_arrays(W_enc, torch.zeros(8), W_dec, n_layers=2)
    x = torch.randn(50, 4)
    torch.testing.assert_close(t(x)[0], TwoLayers(4)(x))
    assert measures.fvu(t, TwoLayers(4), x).item() < 1e-12


@pytest.mark.parametrize(("name", "weight"), [
    ("W_enc", [[1.0, 1.0], [0, 1]]), ("W_enc", [[1.0, 0], [1, 1]]),
    ("W_dec", [[1.0, 1], [1, 1]]), ("W_skip", [[1.0, 1], [1, 1]]),
])  # fmt: skip
def test_weights_across_layers_are_refused(name, weight):
    given = {"W_enc": PAIR, "b_enc": [0.0, 0], "W_dec": PAIR} | {name: weight}
    with pytest.raises(ParameterError, match=f"{name} is not 0 where it reads or writes across"):
        CrossLayer.from_arrays(**given, n_layers=2)


@pytest.mark.parametrize(("of", "n_layers", "sentence"), [
    (Crosscoder, 0, "n_layers = 0 is not allowed: it must be a whole number of at least 1"),
    (Crosscoder, 2.0, "n_layers = 2.0 is not allowed: it must be a whole"),
    (Crosscoder, 3, "n_layers = 3 is not allowed with d_in = 4: it must divide it"),
    (CrossLayer, 2, "n_layers = 2 is not allowed with d_sae = 5: it must divide it"),
])  # fmt: skip
def test_numbers_of_layers_that_do_not_fit(of, n_layers, sentence):
    with pytest.raises(ParameterError, match=sentence):
        of.from_arrays(torch.zeros(4, 5), torch.zeros(5), torch.zeros(5, 4), n_layers=n_layers)


BASE = Experiment(target="two_layers", data="two_layers", d_in=8, d_sae=32, batch_size=64,
                  steps=200, sparsity_coefficient=0.02)  # fmt: skip


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"architecture": "cross_layer", "d_sae": 7}, "d_sae = 7 is not allowed with architecture = "
     "'cross_layer': it must be a multiple of 2, the number of layers"),
    ({"architecture": "crosscoder", "target": "abs", "data": "sparse_uniform", "d_in": 5},
     "d_in = 5 is not allowed with architecture = 'crosscoder'"),
    ({"architecture": "crosscoder", "turn": 3, "target": "abs", "data": "sparse_uniform"},
     "turn = 3 is not allowed .* mixes the layers"),
    ({"architecture": "cross_layer", "init": "generalising", "target": "abs",
      "data": "sparse_uniform"}, "features are of one layer each"),
    ({"architecture": "crosscoder", "rank": 2}, "rank = 2 is not allowed"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(fields, sentence):
    with pytest.raises(ParameterError, match=sentence):
        replace(BASE, **fields)


@pytest.mark.parametrize("matching", ["none", "plain"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_cross_layer_transcoder_stays_one_in_training(matching, skip):
    form = replace(BASE, architecture="cross_layer", skip=skip, jacobian_matching=matching,
                   jacobian_coefficient=0.1 * (matching != "none"))  # fmt: skip
    first = Loop([form], torch.device("cpu")).transcoder
    torch.testing.assert_close(first.W_dec.norm(dim=-1), torch.ones(1, 32))
    assert first.W_enc.square().sum(1).mean().item() == pytest.approx(1, abs=0.3)
    trained = train(form, device="cpu", progress=False)
    t = trained.transcoder
    assert set(t.masks()) == {"W_enc", "W_dec", *(["W_skip"] if skip else [])}
    for name, mask in t.masks().items():
        weight = getattr(t, name)[0]
        assert not (weight * (1 - mask)).any()
        assert (weight * mask).any()
    CrossLayer.from_arrays(**t.weights(), n_layers=2)
    assert trained.metrics().fvu.item() < 0.5
