"""Files of Llamascopium and of this package, each read by the other."""

import warnings
from itertools import product

import pytest
import torch
from test_saelens import D, K, M, X, random

import faithnb as fb
from faithnb.model.architectures import JumpReLU, TopK

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # no card
    from llamascopium.models.sae import SAEConfig, SparseAutoEncoder
    from llamascopium.models.sparse_dictionary import SparseDictionary

NORMS = {"in": 5.0, "out": 1.7}


def theirs(act, by_norms, bias):
    """One of its autoencoders with random weights, and norms of its data."""
    config = SAEConfig(
        hook_point_in="in", hook_point_out="out", d_model=D, expansion_factor=M / D, act_fn=act,
        sparsity_include_decoder_norm=by_norms, top_k=K, use_decoder_bias=bias, dtype=torch.float64,
    )  # fmt: skip
    model = SparseAutoEncoder(config)
    with torch.no_grad():
        for k, weight in enumerate(model.parameters()):
            weight.copy_(random(weight.shape, k))
    model.set_dataset_average_activation_norm(dict(NORMS))
    return model


def reconstructed(model, x):
    """Normalised, encoded, decoded, denormalised."""
    given, factors = model.normalize_activations({"in": x, "out": x}, return_scale_factor=True)
    h = model.encode(given["in"])
    return h, model.denormalize_activations({"out": model.decode(h)}, factors)["out"]


def assert_close(found, wanted):
    assert (found - wanted).abs().max() <= 1e-12 * wanted.abs().max()


@pytest.mark.parametrize(
    ("act", "by_norms", "bias"),
    product(["relu", "topk", "jumprelu"], [False, True], [False, True]),
)
def test_theirs_is_read(act, by_norms, bias, tmp_path):
    model = theirs(act, by_norms, bias)
    model.save_pretrained(tmp_path)
    model.cfg.save_hyperparameters(tmp_path)
    ours = fb.load(tmp_path)
    with torch.no_grad():
        h, y = reconstructed(model, X)
    assert_close(ours(X)[0], y)
    if (act, by_norms) == ("topk", True):  # whose features are ranked, and measured, by ‖w‖
        h = h * model.decoder_norm().detach()
    assert_close(ours.encode(X)[0], h)


WRITTEN = {"relu": (fb.Transcoder, {}), "topk": (TopK, {"k": K}), "jumprelu": (JumpReLU, {})}


@pytest.mark.parametrize("name", WRITTEN)
def test_they_read_ours(name, tmp_path):
    of, own = WRITTEN[name]
    further = {k: random((M,), j).abs() for j, k in enumerate(of.own_axes)}
    weights = [random((D, M)), random((M,)), random((M, D)), random((D,), 4)]
    ours = of.from_arrays(*weights, **further, **own)
    ours.save(tmp_path, layout="llamascopium")
    model = SparseDictionary.from_pretrained(str(tmp_path), dtype=torch.float64)
    with torch.no_grad():
        h, y = reconstructed(model, X)
    assert_close(ours.encode(X)[0], h)
    assert_close(ours(X)[0], y)
