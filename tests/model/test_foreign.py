"""Anybody's module, measured beside our own transcoder of the same weights."""

import pytest
import torch
from torch import nn

from faithnb import InputError, Transcoder
from faithnb.common.ambient import settled
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.registry import MEASURES, View, remembering
from faithnb.measures.table import measured
from faithnb.model.architectures import JumpReLU, TopK
from faithnb.model.foreign import Foreign
from faithnb.model.layers import AbsoluteValue

D, M = 6, 20
X = evaluation_sample(D, 0.3)[:500].double()
P = torch.tensor([1.0, 1, 1, 0, 0, 0], dtype=torch.float64)
LAYER = AbsoluteValue(D, kink="masked")


def ours(kind="relu", skip=False):
    draw = torch.Generator().manual_seed(3)
    size = {"W_enc": (D, M), "b_enc": (M,), "W_dec": (M, D), "b_dec": (D,), "W_skip": (D, D)}
    weights = {name: torch.randn(of, generator=draw).double() for name, of in size.items()}
    if not skip:
        del weights["W_skip"]
    if kind == "topk":
        return TopK.from_arrays(**weights, k=3)
    if kind == "jumprelu":
        return JumpReLU.from_arrays(**weights, threshold=torch.full((M,), 0.3))
    return Transcoder.from_arrays(**weights)


class Theirs(nn.Module):
    """Knows one row at a time, and says nothing of how it is made."""

    def __init__(self, of, says="decode"):
        super().__init__()
        self.of = of
        self.of.requires_grad_()
        if says == "decode":
            self.decode = lambda h: self.of.decode(h[None])[0]
        if says == "W_dec":
            self.W_dec = of.W_dec[0]

    def encode(self, x):
        return self.of.encode(x)[0]

    def forward(self, x):
        return self.of(x)[0]


def table(transcoder):
    with settled():
        return measured(View(transcoder, LAYER, X, P), list(MEASURES.values()))


@pytest.mark.parametrize("says", ["decode", "W_dec"])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_what_is_measured_of_it_is_what_is_measured_of_ours(kind, skip, says):
    wanted = table(remembering(ours(kind, skip)))
    found = table(Foreign(Theirs(ours(kind, skip), says), D, D, X))
    of_weights = {"rotation", "masking_index", "masking_index_at_p"}
    for name in MEASURES:
        if name in of_weights:
            assert found[name].isnull().all()
        elif name == "state":
            assert found[name].item() == wanted[name].item()
        else:
            assert found[name].item() == pytest.approx(
                wanted[name].item(), rel=1e-6, abs=1e-9, nan_ok=True
            )


def test_what_it_does_not_say_is_not_guessed():
    only_outputs = nn.Linear(D, D)
    found = table(Foreign(only_outputs, D, D, X))
    for name in ("fvu", "parts_error", "ray_error", "jacobian_error", "response_error"):
        assert found[name].notnull().all(), name
    for name in ("l0", "mechanism_error", "circuit_match", "patching_error", "memorization"):
        assert found[name].isnull().all(), name
    silent = Theirs(ours(), says="nothing")
    assert table(Foreign(silent, D, D, X)).mechanism_error.isnull().all()
    wrong = Theirs(ours(), says="W_dec")
    wrong.W_dec = 2 * wrong.W_dec
    assert table(Foreign(wrong, D, D, X)).mechanism_error.isnull().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_another_precision_is_measured_in_float64(dtype):
    module = nn.Linear(D, D).to(dtype)
    found = Foreign(module, D, D, X)
    assert torch.allclose(found(X)[0], X @ module.weight.double().T + module.bias.double())
    assert module.weight.dtype == dtype


class Stubborn(nn.Module):
    """Computes in its own type alone."""

    def __init__(self, dtype):
        super().__init__()
        self.weight, self.kind = nn.Parameter(torch.eye(D, dtype=dtype)), dtype

    def forward(self, x):
        return x.to(self.kind) @ self.weight.to(self.kind)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_one_that_computes_in_its_own_type_alone_does_so(dtype):
    found = Foreign(Stubborn(dtype), D, D, X)
    assert torch.equal(found(X)[0], X.to(dtype).double())
    assert torch.allclose(found.jacobian(X[:3])[0], torch.eye(D, dtype=torch.float64))


class Gives(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


@pytest.mark.parametrize(("module", "sentence"), [
    ("no module", r"str is not allowed: it cannot be called"),
    (Gives(lambda x: x[:, :4]), r"it maps \[500, 6\] to \[500, 4\], and must map it to \[500, 6\]"),
    (Gives(lambda x: x / 0), r"not finite on 500 of 500 inputs"),
    (Gives(lambda x: (x, x)), r"it gives a tuple where a tensor is needed"),
    (Gives(torch.rand_like), r"it gives another output each time"),
    (Gives(lambda x: x - x.mean(0)), r"what it gives for a row depends on the other rows"),
    (nn.Linear(D, D, device="meta"), r"it must map \[B, 6\] to \[B, 6\] \(NotImplementedError"),
    (nn.Linear(4, D), r"must map \[B, 6\] to \[B, 6\] \(RuntimeError: mat1 and mat2 shapes"),
])  # fmt: skip
def test_what_is_no_map_of_rows_gets_a_sentence(module, sentence):
    with pytest.raises(InputError, match=sentence):
        Foreign(module, D, D, X)


@pytest.mark.parametrize(("encode", "sentence"), [
    (lambda x: x[0], r"encode maps \[256, 6\] to \[6\], and must map it to \[256, n_features\]"),
    (lambda x: x / 0, r"what encode gives is not finite"),
])  # fmt: skip
def test_an_encode_of_another_shape_gets_a_sentence(encode, sentence):
    module = nn.Linear(D, D)
    module.encode = encode
    with pytest.raises(InputError, match=sentence):
        Foreign(module, D, D, X)


def test_a_module_is_left_as_it_is():
    module = nn.Sequential(nn.Linear(D, D), nn.Dropout(0.5)).train()
    Foreign(module, D, D, X)
    assert module.training
    assert module[0].weight.dtype == torch.float32


def test_derivatives_that_autograd_does_not_follow_are_not_known():
    found = table(Foreign(Gives(lambda x: torch.relu(x).detach()), D, D, X))
    assert found.fvu.notnull().all()
    assert found.jacobian_error.isnull().all()
