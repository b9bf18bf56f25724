"""Transcoders that others wrote, each against its library's own formula, written out here."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

import faithnb as fb
from faithnb import Transcoder
from faithnb.model.architectures import Gated, JumpReLU, TopK

D, D_OUT, M = 6, 5, 9
X = torch.randn(20, D, generator=torch.Generator().manual_seed(1))

SAID = {"device": "cpu", "dtype": "float32", "normalize_activations": "none",
        "reshape_activations": "none", "metadata": {"sae_lens_version": "6.54.0"}}  # fmt: skip


def drawn(d_out=D_OUT):
    generator = torch.Generator().manual_seed(3)
    sizes = {"W_enc": (D, M), "b_enc": (M,), "W_dec": (M, d_out), "b_dec": (d_out,),
             "W_skip": (d_out, D), "threshold": (M,), "b_gate": (M,), "r_mag": (M,),
             "b_mag": (M,)}  # fmt: skip
    return {name: torch.randn(size, generator=generator) for name, size in sizes.items()}


def written(folder, says, weights, names):
    (folder / "cfg.json").write_text(json.dumps(SAID | {"d_sae": M, "d_in": D} | says))
    save_file({name: weights[name] for name in names.split()}, folder / "sae_weights.safetensors")
    return folder


PLAIN = "W_enc b_enc W_dec b_dec"
OF_GATED = "W_enc b_gate r_mag b_mag W_dec b_dec"
LAYOUTS = {
    "transcoder": (PLAIN, {}),
    "skip_transcoder": (PLAIN + " W_skip", {}),
    "jumprelu_transcoder": (PLAIN + " threshold", {}),
    "jumprelu_skip_transcoder": (PLAIN + " threshold W_skip", {}),
    "standard": (PLAIN, {}),
    "jumprelu": (PLAIN + " threshold", {}),
    "topk": (PLAIN, {"k": 3}),
    "gated": (OF_GATED, {}),
}


def by_formula(name, w, subtracts, factor=1.0, rescales=False):
    """The library's forward pass."""
    x = factor * X - w["b_dec"] if subtracts else factor * X
    z = x @ w["W_enc"] + w["b_enc"]
    norms = w["W_dec"].norm(dim=-1) if rescales else torch.ones(M)
    if "jumprelu" in name:
        h = torch.relu(z) * (z > w["threshold"])
    elif name == "gated":
        on = x @ w["W_enc"] + w["b_gate"] > 0
        h = on * torch.relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"])
    elif name == "topk":
        values, indices = torch.relu(z * norms).topk(3, dim=-1)
        h = torch.zeros_like(z).scatter(-1, indices, values)
    else:
        h = torch.relu(z)
    y = ((h / norms) @ w["W_dec"] + w["b_dec"]) / factor
    return h, y + X @ w["W_skip"].T if "skip" in name else y


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
    h, y = by_formula(name, w, of_autoencoder if subtracts is None else subtracts)
    torch.testing.assert_close(t.encode(X)[0], h, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(t(X)[0], y, rtol=1e-6, atol=1e-5)
    assert (type(t) is JumpReLU) == ("jumprelu" in name)
    assert (type(t) is TopK) == (name == "topk")
    assert (type(t) is Gated) == (name == "gated")
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


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("subtracts", [False, True])
def test_a_factor_that_all_inputs_share_goes_into_the_weights(name, subtracts, tmp_path):
    w = drawn(D)
    names, own = LAYOUTS[name]
    says = {"architecture": name, "apply_b_dec_to_input": subtracts,
            "normalize_activations": "expected_average_only_in"} | own  # fmt: skip
    written(tmp_path, says, w, names)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.3}')
    t = fb.load(tmp_path)
    h, y = by_formula(name, w, subtracts, factor=0.3)
    torch.testing.assert_close(t.encode(X)[0], h, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(t(X)[0], y, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("subtracts", [False, True])
@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_topk_may_rank_features_by_what_they_write(subtracts, factor, tmp_path):
    w = drawn(D)
    w["W_dec"][4] = 0
    says = {"architecture": "topk", "k": 3, "apply_b_dec_to_input": subtracts,
            "rescale_acts_by_decoder_norm": True}  # fmt: skip
    if factor != 1:
        says["normalize_activations"] = "expected_average_only_in"
        (tmp_path / "activation_scaler.json").write_text(f'{{"scaling_factor": {factor}}}')
    t = fb.load(written(tmp_path, says, w, PLAIN))
    w["W_dec"][4] = 1e-12
    h, y = by_formula("topk", w, subtracts, factor, rescales=True)
    torch.testing.assert_close(t.encode(X)[0], h, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(t(X)[0], y, rtol=1e-6, atol=1e-5)


def test_what_saelens_wrote_before_version_6_is_read(tmp_path):
    w = drawn(D)
    says = {"architecture": "standard", "activation_fn_str": "topk", "hook_name": "blocks.0",
            "activation_fn_kwargs": {"k": 3}, "normalize_activations": False,
            "finetuning_scaling_factor": False, "sae_lens_training_version": None}  # fmt: skip
    w["scaling_factor"] = torch.ones(M)
    t = fb.load(written(tmp_path, says, w, PLAIN + " scaling_factor"))
    torch.testing.assert_close(t(X)[0], by_formula("topk", w, True)[1], rtol=1e-6, atol=1e-5)
    w["log_threshold"] = w["threshold"].abs().log()
    w["threshold"] = w["threshold"].abs()
    t = fb.load(written(tmp_path, {"architecture": "jumprelu"}, w, PLAIN + " log_threshold"))
    torch.testing.assert_close(t(X)[0], by_formula("jumprelu", w, True)[1], rtol=1e-6, atol=1e-5)


def test_what_has_to_do_with_training_alone_is_passed_over(tmp_path):
    """And only where it is what the metadata say."""
    details = {"l1_coefficient": 1.0, "lp_norm": 1.0}
    says = {"architecture": "standard", "metadata": {"training_architecture_details": details}}
    w = drawn(D)
    t = fb.load(written(tmp_path, says | details, w, PLAIN))
    torch.testing.assert_close(t(X)[0], by_formula("standard", w, True)[1], rtol=1e-6, atol=1e-5)
    written(tmp_path, says | details | {"lp_norm": 2.0}, w, PLAIN)
    with pytest.raises(ValueError, match="says lp_norm = 2.0, and what that means is not known"):
        fb.load(tmp_path)


def test_thresholds_may_be_finer_than_the_other_weights(tmp_path):
    w = {name: weight.bfloat16() for name, weight in drawn(D).items()}
    w["threshold"] = w["threshold"].float()
    says = {"architecture": "jumprelu", "dtype": "bfloat16"}
    assert fb.load(written(tmp_path, says, w, PLAIN + " threshold")).W_enc.dtype == torch.bfloat16


def test_a_topk_that_saelens_knows_has_its_name(tmp_path):
    """It has TopK among its autoencoders alone."""
    for d_out, name in ((D, "topk"), (D_OUT, "topk_transcoder")):
        w = {name: weight for name, weight in drawn(d_out).items() if name in PLAIN.split()}
        t = TopK.from_arrays(**w, k=3)
        t.save(tmp_path)
        assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == name
        assert torch.equal(fb.load(tmp_path)(X), t(X))


@pytest.mark.parametrize(("says", "drop", "sentence"), [
    ({"architecture": "jumprelu_transcoder"}, "threshold W_skip", "lacks threshold"),
    ({"architecture": "skip_transcoder"}, "threshold W_skip", "lacks W_skip"),
    ({"architecture": "transcoder"}, "threshold", "holds more than it should: W_skip"),
    ({"architecture": "topk"}, "threshold W_skip", "cfg.json does not say k"),
    ({"architecture": "topk", "k": 10}, "threshold W_skip", "k = 10 is not allowed"),
    ({"architecture": "topk", "k": "3"}, "threshold W_skip", "k = '3' is not allowed"),
    ({"architecture": "standard", "k": 3}, "threshold W_skip",
     "k = 3, and what that means is not known"),
    ({"architecture": "jumprelu", "rescale_acts_by_decoder_norm": True}, "W_skip",
     "rescale_acts_by_decoder_norm = True, only False is"),
    ({"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": "x"}, "threshold W_skip",
     "rescale_acts_by_decoder_norm = 'x', only False or True is"),
    ({"architecture": "gated"}, "threshold W_skip", "lacks b_gate, r_mag, b_mag"),
    ({"architecture": "temporal"}, "threshold W_skip", "architecture = 'temporal', only standard"),
    ({"architecture": "batchtopk"}, "threshold W_skip", "says architecture = 'batchtopk', only"),
    ({"architecture": "transcoder", "apply_b_dec_to_input": True}, "threshold W_skip",
     "b_dec cannot be subtracted from the input: it has 5 coordinates, the input 6"),
    ({"architecture": "transcoder", "normalize_activations": "expected_average_only_in"},
     "threshold W_skip", "normalize_activations = 'expected_average_only_in', and activation_sca"),
    ({"architecture": "transcoder", "normalize_activations": "layer_norm"}, "threshold W_skip",
     "= 'layer_norm': every input is divided by its own standard deviation, which no weights can"),
    ({"architecture": "transcoder", "normalize_activations": "constant_norm_rescale"},
     "threshold W_skip", "= 'constant_norm_rescale': every input is divided by its own norm, whi"),
    ({"architecture": "transcoder", "normalize_activations": "covariance_whitening"},
     "threshold W_skip", "= 'covariance_whitening', only 'none' or 'expected_average_only_in' is"),
    ({"architecture": "transcoder", "normalize_activations": ["none"]}, "threshold W_skip",
     r"= \['none'\], only 'none' or 'expected_average_only_in' is understood"),
    ({"architecture": "standard", "finetuning_scaling_factor": True}, "threshold W_skip",
     "finetuning_scaling_factor = True, only False is understood"),
    ({"architecture": "jumprelu", "activation_fn_kwargs": {"k": 3}}, "W_skip",
     r"activation_fn_kwargs = {'k': 3}, only {} is understood"),
    ({"architecture": "transcoder", "reshape_activations": "hook_z"}, "threshold W_skip",
     "reshape_activations = 'hook_z', only 'none' is understood"),
    ({"architecture": "transcoder", "activation_fn": "tanh"}, "threshold W_skip",
     "activation_fn = 'tanh', only 'relu'"),
])  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_reason(says, drop, sentence, tmp_path):
    of_autoencoder = not says["architecture"].endswith("transcoder")
    w = drawn(D if of_autoencoder else D_OUT)
    names = " ".join(name for name in w if name not in (*drop.split(), "b_gate", "r_mag", "b_mag"))
    with pytest.raises(ValueError, match=sentence) as said:
        Transcoder.load(written(tmp_path, says, w, names))
    assert str(tmp_path) in str(said.value) or "k = " in str(said.value)
    assert len(str(said.value).splitlines()) == 1


def replaced(**weights):
    def change(folder):
        path = folder / "sae_weights.safetensors"
        kept = load_file(path) | weights
        save_file({name: weight for name, weight in kept.items() if weight is not None}, path)

    return change


def moved(old, new):
    return lambda folder: (folder / old).rename(folder / new)


def beside(name, content=b"x"):
    return lambda folder: (folder / name).write_bytes(content)


FOREIGN = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()] + [f.rmdir()], "no such folder"),
    "a file": (lambda f: ([p.unlink() for p in f.iterdir()], f.rmdir(), f.write_text("")),
               "no such folder"),
    "empty": (lambda f: [p.unlink() for p in f.iterdir()], "a file of weights is missing"),
    "no configuration": (lambda f: (f / "cfg.json").unlink(), "cfg.json is missing"),
    "named as of dictionary_learning": (moved("sae_weights.safetensors", "ae.pt"),
                                        "ae.pt cannot be read"),
    "named as of Gemma Scope": (moved("cfg.json", "params.npz"),
                                "weights stand in params.npz and in sae_weights.safetensors"),
    "two files": (beside("sae.safetensors"),
                  "weights stand in sae.safetensors and in sae_weights.safetensors"),
    "a pickle besides": (beside("ae.pt"), "weights stand in ae.pt and in sae_weights.safetensors"),
    "a pickle": (beside("sae_weights.safetensors", pickle.dumps([1])), "cannot be read"),
    "half a file": (lambda f: (f / "sae_weights.safetensors").write_bytes(
        (f / "sae_weights.safetensors").read_bytes()[:-40]), "cannot be read"),
    "keys of two layouts": (replaced(**{"encoder.weight": torch.ones(M, D)}),
                            "holds more than it should: encoder.weight"),
    "keys of another": (replaced(W_enc=None, **{"encoder.weight": torch.ones(M, D)}),
                        "lacks W_enc"),
    "two thresholds": (replaced(log_threshold=torch.zeros(M)), "than it should: log_threshold"),
    "a factor": (replaced(scaling_factor=torch.full((M,), 2.0)), "it should: scaling_factor"),
    "transposed": (replaced(W_enc=torch.ones(M, D)), r"b_enc has shape \[1, 9\] where \[1, 6\]"),
    "no matrix": (replaced(W_enc=torch.ones(M)), r"W_enc of shape \[9\] and W_dec of shape"),
    "short": (replaced(threshold=torch.ones(M - 1)), r"threshold has shape \[1, 8\] where"),
    "NaN": (replaced(W_dec=torch.full((M, D), torch.nan)), "W_dec holds values that are not fin"),
    "a factor that is none": (beside("activation_scaler.json", b'{"scaling_factor": null}'),
                              "activation_scaler.json says scaling_factor = None, it must be a"),
    "a factor of 0": (beside("activation_scaler.json", b'{"scaling_factor": 0}'),
                      "activation_scaler.json says scaling_factor = 0, it must be a number above"),
    "a factor of true": (beside("activation_scaler.json", b'{"scaling_factor": true}'),
                         "activation_scaler.json says scaling_factor = True, it must be"),
    "a factor that is infinite": (beside("activation_scaler.json", b'{"scaling_factor": 1e999}'),
                                  "activation_scaler.json says scaling_factor = inf, it must be"),
    "a factor of 400 digits": (beside("activation_scaler.json", b'{"scaling_factor": 1%s}'
                                      % (b"0" * 400)), "it must be a number above 0"),
    "a factor that leaves the type": (beside("activation_scaler.json", b'{"scaling_factor": 1e99}'),
                                      "W_enc is not finite once"),
    "factors in a list": (beside("activation_scaler.json", b"[]"), "scaling_factor = None"),
    "half a factor": (beside("activation_scaler.json", b'{"scal'),
                      "activation_scaler.json cannot be read"),
}  # fmt: skip


def test_the_name_of_a_file_tells_nothing(tmp_path):
    w = drawn(D)
    written(tmp_path, {"architecture": "jumprelu"}, w, PLAIN + " threshold")
    moved("sae_weights.safetensors", "sae.safetensors")(tmp_path)  # sparsify's
    torch.testing.assert_close(
        fb.load(tmp_path)(X)[0], by_formula("jumprelu", w, True)[1], rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_foreign_folder_that_is_damaged_or_ambiguous_is_refused(damage, tmp_path):
    says = {"architecture": "jumprelu", "normalize_activations": "expected_average_only_in"}
    folder = tmp_path / "theirs"
    folder.mkdir()
    written(folder, says, drawn(D), PLAIN + " threshold")
    (folder / "activation_scaler.json").write_text('{"scaling_factor": 0.5}')
    (folder / "sparsity.safetensors").write_bytes(b"")
    fb.load(folder)
    spoil, sentence = FOREIGN[damage]
    spoil(folder)
    with pytest.raises(ValueError, match=sentence) as said:
        fb.load(folder)
    assert str(folder) in str(said.value)
    assert len(str(said.value).splitlines()) == 1
