"""Transcoders that others wrote, each against its library's own formula, written out here."""

import json

import pytest
import torch
from safetensors.torch import save_file

import faithnb as fb
from faithnb import Transcoder
from faithnb.model.architectures import JumpReLU, TopK

D, D_OUT, M = 6, 5, 9
X = torch.randn(20, D, generator=torch.Generator().manual_seed(1))

SAID = {"device": "cpu", "dtype": "float32", "normalize_activations": "none",
        "reshape_activations": "none", "metadata": {"sae_lens_version": "6.54.0"}}  # fmt: skip


def drawn(d_out=D_OUT):
    generator = torch.Generator().manual_seed(3)
    sizes = {"W_enc": (D, M), "b_enc": (M,), "W_dec": (M, d_out), "b_dec": (d_out,),
             "W_skip": (d_out, D), "threshold": (M,)}  # fmt: skip
    return {name: torch.randn(size, generator=generator) for name, size in sizes.items()}


def written(folder, says, weights, names):
    (folder / "cfg.json").write_text(json.dumps(SAID | {"d_sae": M, "d_in": D} | says))
    save_file({name: weights[name] for name in names.split()}, folder / "sae_weights.safetensors")
    return folder


PLAIN = "W_enc b_enc W_dec b_dec"
LAYOUTS = {
    "transcoder": (PLAIN, {}),
    "skip_transcoder": (PLAIN + " W_skip", {}),
    "jumprelu_transcoder": (PLAIN + " threshold", {}),
    "jumprelu_skip_transcoder": (PLAIN + " threshold W_skip", {}),
    "standard": (PLAIN, {}),
    "jumprelu": (PLAIN + " threshold", {}),
    "topk": (PLAIN, {"k": 3, "rescale_acts_by_decoder_norm": False}),
}


def by_formula(name, w, subtracts):
    """The library's forward pass."""
    x = X - w["b_dec"] if subtracts else X
    z = x @ w["W_enc"] + w["b_enc"]
    if "jumprelu" in name:
        h = torch.relu(z) * (z > w["threshold"])
    elif name == "topk":
        values, indices = torch.relu(z).topk(3, dim=-1)
        h = torch.zeros_like(z).scatter(-1, indices, values)
    else:
        h = torch.relu(z)
    y = h @ w["W_dec"] + w["b_dec"]
    return y + X @ w["W_skip"].T if "skip" in name else y


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("subtracts", [None, False, True])
def test_outputs_are_those_of_the_formula(name, subtracts, tmp_path):
    """Autoencoders subtract their decoder's bias from the input unless they say that they do not;
    transcoders never do of themselves."""
    of_autoencoder = not name.endswith("transcoder")
    d_out = D if of_autoencoder or subtracts else D_OUT
    w = drawn(d_out)
    w["threshold"] = w["threshold"].abs()
    names, own = LAYOUTS[name]
    says = {"architecture": name} | own
    if not of_autoencoder:
        says["d_out"] = d_out
    if subtracts is not None:
        says["apply_b_dec_to_input"] = subtracts
    t = Transcoder.load(written(tmp_path, says, w, names))
    expected = by_formula(name, w, of_autoencoder if subtracts is None else subtracts)
    torch.testing.assert_close(t(X)[0], expected, rtol=1e-6, atol=1e-5)
    assert (type(t) is JumpReLU) == ("jumprelu" in name)
    assert (type(t) is TopK) == (name == "topk")
    layer = torch.nn.Linear(D, d_out)
    assert fb.measure(t, layer, X).fvu.notnull().all()
    t.save(tmp_path / "again")
    torch.testing.assert_close(Transcoder.load(tmp_path / "again")(X), t(X), rtol=0, atol=0)


def test_a_threshold_below_0_lets_nothing_negative_through():
    """As in SAELens, whose JumpReLU multiplies a ReLU."""
    t = JumpReLU.from_arrays(
        torch.eye(2), torch.zeros(2), torch.eye(2), threshold=torch.tensor([-1.0, 0.0])
    )
    assert t(torch.tensor([[-0.5, -0.5]]))[0].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("says", "drop", "sentence"), [
    ({"architecture": "jumprelu_transcoder"}, "threshold W_skip", "lacks threshold"),
    ({"architecture": "skip_transcoder"}, "threshold W_skip", "lacks W_skip"),
    ({"architecture": "transcoder"}, "threshold", "holds more than it should: W_skip"),
    ({"architecture": "topk"}, "threshold W_skip", "cfg.json does not say k"),
    ({"architecture": "topk", "k": 10}, "threshold W_skip", "k = 10 is not allowed"),
    ({"architecture": "topk", "k": "3"}, "threshold W_skip", "k = '3' is not allowed"),
    ({"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True}, "threshold W_skip",
     "rescale_acts_by_decoder_norm = True, only False is"),
    ({"architecture": "gated"}, "threshold W_skip", "does not say architecture = transcoder"),
    ({"architecture": "transcoder", "apply_b_dec_to_input": True}, "threshold W_skip",
     "b_dec cannot be subtracted from the input: it has another width"),
    ({"architecture": "transcoder", "normalize_activations": "expected_average_only_in"},
     "threshold W_skip", "normalize_activations = 'expected_average_only_in', only 'none'"),
    ({"architecture": "transcoder", "activation_fn": "tanh"}, "threshold W_skip",
     "activation_fn = 'tanh', only 'relu'"),
])  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_reason(says, drop, sentence, tmp_path):
    w = drawn(D if says["architecture"] == "topk" else D_OUT)
    names = " ".join(name for name in w if name not in drop.split())
    with pytest.raises(ValueError, match=sentence) as said:
        Transcoder.load(written(tmp_path, says, w, names))
    assert str(tmp_path) in str(said.value) or "k = " in str(said.value)
    assert len(str(said.value).splitlines()) == 1
