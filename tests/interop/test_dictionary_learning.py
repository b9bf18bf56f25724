"""Files of dictionary_learning and of this package, each read by the other."""

import json

import pytest
import torch
from dictionary_learning import dictionary as classes
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from dictionary_learning.utils import load_dictionary
from test_saelens import D, K, M, X, random

import faithnb as fb
from faithnb.model.architectures import Gated, JumpReLU, TopK

OURS = {
    "AutoEncoder": fb.Transcoder, "AutoEncoderNew": fb.Transcoder, "GatedAutoEncoder": Gated,
    "JumpReluAutoEncoder": JumpReLU, "AutoEncoderTopK": TopK, "BatchTopKSAE": JumpReLU,
    "MatryoshkaBatchTopKSAE": JumpReLU,
}  # fmt: skip


def theirs(name):
    """One of its classes with random weights."""
    if name in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        of = {c.__name__: c for c in (AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE)}[name]
        model = of(D, M, K, *([[8, 12]] if name.startswith("Matryoshka") else []))
        if name != "AutoEncoderTopK":
            model.threshold.fill_(0.7)
    else:
        model = getattr(classes, name)(D, M)
    model = model.double()
    with torch.no_grad():
        for k, (weight_name, weight) in enumerate(model.named_parameters()):
            drawn = random(weight.shape, k)
            weight.copy_(drawn.abs() if weight_name == "threshold" else drawn)
    return model


def assert_close(found, wanted, bound):
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


@pytest.mark.parametrize("name", OURS)
def test_theirs_is_read(name, tmp_path):
    model = theirs(name)
    torch.save(model.state_dict(), tmp_path / "ae.pt")
    trainer = {"dict_class": name, "activation_dim": D, "dict_size": M}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer | {"k": K}}))
    ours = fb.load(tmp_path)
    assert type(ours) is OURS[name]
    with torch.no_grad():
        assert_close(ours.encode(X)[0], model.encode(X), 1e-12)
        assert_close(ours(X)[0], model(X), 1e-12)
        read_there, _ = load_dictionary(str(tmp_path), device="cpu")  # a ReLU's rows are made units
        assert_close(ours(X)[0], read_there(X.float()), 1e-5)


WRITTEN = {"relu": (fb.Transcoder, {}), "topk": (TopK, {"k": K}), "gated": (Gated, {}),
           "jumprelu": (JumpReLU, {})}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_they_read_ours(name, tmp_path):
    of, own = WRITTEN[name]
    weights = [random((D, M)), random((M,)), random((M, D)), random((D,), 4)]
    further = {k: random((M,), j).abs() for j, k in enumerate(of.own_axes)}
    ours = of.from_arrays(*(w.float() for w in weights), **further, **own)
    ours.save(tmp_path, layout="dictionary_learning")
    model, _ = load_dictionary(str(tmp_path), device="cpu")
    with torch.no_grad():
        assert_close(model.encode(X.float()), ours.encode(X)[0], 1e-6)
        assert_close(model(X.float()), ours(X)[0], 1e-6)
