"""Files of SAELens and of this package, each read by the other: SAELens says what is right.

Computed in another order, float64 agrees to 1e-12 of the largest value, float32 to 1e-6.
"""

import json
from itertools import product

import pytest
import torch
from sae_lens import SAE
from sae_lens.registry import SAE_CLASS_REGISTRY as FOR_USE
from sae_lens.registry import SAE_TRAINING_CLASS_REGISTRY as IN_TRAINING
from sae_lens.training.activation_scaler import ActivationScaler

import faithnb as fb
from faithnb.model.architectures import Gated, JumpReLU, TopK
from faithnb.model.weights import AXES

D, D_OUT, M, K, FACTOR = 6, 5, 20, 3, 0.37
X = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
P = torch.tensor([1.0, 1, 1, 0, 0, 0])

TRANSCODERS = ["transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"]
AUTOENCODERS = ["standard", "jumprelu", "topk", "gated"]
REFUSED = ["abstopk", "matching_pursuit", "temporal"]
BECOME_JUMPRELU = ["batchtopk", "matryoshka_batchtopk"]
"""Once they are saved for use."""

RELUS = ["transcoder", "skip_transcoder", "standard"]

OWN = {
    "topk": {"k": K},
    "abstopk": {"k": K},
    "batchtopk": {"k": float(K)},
    "matryoshka_batchtopk": {"k": float(K), "matryoshka_widths": [M // 2, M]},
    "temporal": {"n_heads": 1, "bottleneck_factor": 2},
}
"""What their configurations need besides."""


def random(size, seed=2):
    generator = torch.Generator().manual_seed(seed + 10 * sum(size))
    return torch.randn(size, dtype=torch.float64, generator=generator)


def theirs(name, kinds=FOR_USE, d_out=D, **says):
    """One of SAELens' classes with random weights."""
    given = {"d_in": D, "d_sae": M, "dtype": "float64"} | OWN.get(name, {})
    if name in TRANSCODERS:
        given |= {"d_out": d_out, "apply_b_dec_to_input": False}
    of, config = kinds[name]
    model = of(config(**given | says))
    with torch.no_grad():
        for k, (weight_name, weight) in enumerate(model.named_parameters()):
            drawn = random(weight.shape, k)
            weight.copy_(drawn.abs() if weight_name == "threshold" else drawn)
    return model


def assert_same(ours, model, factor=1.0):
    """Outputs and feature activations, of inputs that are multiplied by a factor for theirs."""
    with torch.no_grad():
        x = factor * X.to(model.dtype)
        wanted = {"h": model.encode(x), "y": model(x) / factor}
    assert ((wanted["h"] > 0).sum(-1) > 0).double().mean() > 0.9
    for name, found in {"h": ours.encode(X), "y": ours(X)}.items():
        bound = 1e-12 if model.dtype == torch.float64 else 1e-6
        assert found.dtype == model.dtype
        assert (found[0] - wanted[name]).abs().max() <= bound * wanted[name].abs().max()


def test_none_of_their_architectures_is_forgotten():
    assert sorted(FOR_USE) == sorted(TRANSCODERS + AUTOENCODERS + REFUSED)
    assert sorted(set(IN_TRAINING) - set(FOR_USE)) == sorted(BECOME_JUMPRELU)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("d_out", [D, D_OUT])
@pytest.mark.parametrize("name", TRANSCODERS)
def test_their_transcoders(name, d_out, dtype, tmp_path):
    model = theirs(name, d_out=d_out, dtype=dtype)
    model.save_model(tmp_path)
    assert_same(fb.load(tmp_path), model)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_their_autoencoders(name, subtracts, dtype, tmp_path):
    model = theirs(name, dtype=dtype, apply_b_dec_to_input=subtracts)
    model.save_model(tmp_path)
    assert_same(fb.load(tmp_path), model)


@pytest.mark.parametrize("subtracts", [True, False])
def test_topk_that_ranks_by_what_features_write(subtracts, tmp_path):
    says = {"rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": subtracts}
    model = theirs("topk", **says)
    model.save_model(tmp_path)
    assert_same(fb.load(tmp_path), model)
    plain = theirs("topk", apply_b_dec_to_input=subtracts)
    assert not torch.allclose(plain(X), model(X))


@pytest.mark.parametrize("subtracts", [True, False])
@pytest.mark.parametrize("name", AUTOENCODERS)
def test_what_is_saved_in_training(name, subtracts, tmp_path):
    """A checkpoint, and what is saved for use."""
    model = theirs(name, IN_TRAINING, apply_b_dec_to_input=subtracts)
    model.save_model(tmp_path / "checkpoint")
    model.save_inference_model(tmp_path / "use")
    for folder in ("checkpoint", "use"):
        assert_same(fb.load(tmp_path / folder), model)


@pytest.mark.parametrize("name", BECOME_JUMPRELU)
def test_what_is_saved_as_a_jumprelu(name, tmp_path):
    model = theirs(name, IN_TRAINING)
    model.topk_threshold.fill_(0.5)
    model.save_inference_model(tmp_path / "use")
    found = fb.load(tmp_path / "use")
    assert type(found) is JumpReLU
    assert_same(found, SAE.load_from_disk(tmp_path / "use"))
    model.save_model(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match=f"architecture = '{name}', only standard, topk, jumpre"):
        fb.load(tmp_path / "checkpoint")


@pytest.mark.parametrize("rescales", [False, True])
@pytest.mark.parametrize("name", TRANSCODERS + AUTOENCODERS)
def test_a_checkpoint_of_activations_that_are_scaled(name, rescales, tmp_path):
    """As SAELens folds the factor itself at the end of training, and as it stands there before."""
    says = {"rescale_acts_by_decoder_norm": rescales} if name == "topk" else {}
    model = theirs(name, normalize_activations="expected_average_only_in", **says)
    model.save_model(tmp_path)
    with pytest.raises(ValueError, match=r"activation_scaler.json, which holds the factor, is mi"):
        fb.load(tmp_path)
    ActivationScaler(FACTOR).save(str(tmp_path / "activation_scaler.json"))
    found = fb.load(tmp_path)
    assert_same(found, model, FACTOR)
    model.fold_activation_norm_scaling_factor(FACTOR)
    torch.testing.assert_close(found(X)[0], model(X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["transcoder", "standard"])
@pytest.mark.parametrize("norm", ["layer_norm", "constant_norm_rescale", "covariance_whitening"])
def test_norms_that_weights_cannot_do_are_refused(name, norm, tmp_path):
    model = theirs(name, normalize_activations=norm)
    model.save_model(tmp_path)
    with pytest.raises(ValueError, match=f"says normalize_activations = '{norm}'"):
        fb.load(tmp_path)


@pytest.mark.parametrize("name", REFUSED)
def test_their_other_architectures_are_refused(name, tmp_path):
    theirs(name).save_model(tmp_path)
    with pytest.raises(ValueError, match=f"says architecture = '{name}', only standard, topk, ju"):
        fb.load(tmp_path)


@pytest.mark.parametrize("k", [None, K])
def test_a_configuration_from_before_version_6(k, tmp_path):
    """Both libraries read the same from it."""
    theirs("topk").save_model(tmp_path)
    says = {"architecture": "standard", "d_in": D, "d_sae": M, "dtype": "float64",
            "activation_fn_str": "relu" if k is None else "topk", "device": "cpu",
            "activation_fn_kwargs": {} if k is None else {"k": k}, "hook_name": "blocks.0",
            "hook_layer": 0, "hook_head_index": None, "context_size": 128, "prepend_bos": True,
            "finetuning_scaling_factor": False, "normalize_activations": "none", "model_name": "m",
            "apply_b_dec_to_input": True, "dataset_path": "d", "dataset_trust_remote_code": True,
            "sae_lens_training_version": "3.0.0"}  # fmt: skip
    (tmp_path / "cfg.json").write_text(json.dumps(says))
    found = fb.load(tmp_path)
    assert isinstance(found, TopK) == (k is not None)
    assert_same(found, SAE.load_from_disk(tmp_path))


@pytest.mark.parametrize("name", TRANSCODERS + AUTOENCODERS)
def test_theirs_goes_through_the_whole_table(name, tmp_path):
    """With the layer's own circuits as its weights: every measure is defined, but those of ReLUs
    alone."""
    layer = fb.AbsoluteValue(D)
    circuits = fb.Transcoder.from_circuits(layer.circuits()).weights()
    model = theirs(name, d_sae=2 * D, **({"k": D} if name == "topk" else {}))
    with torch.no_grad():
        for weight_name, weight in model.named_parameters():
            weight.copy_(circuits.get(weight_name, torch.zeros(1))[0])
    model.save_model(tmp_path)
    table = fb.measure(fb.load(tmp_path), layer, X, P)
    undefined = {str(name) for name, column in table.items() if not column.notnull().all()}
    of_relus = {"masking_index", "masking_index_at_p"}
    assert undefined == (set() if name in RELUS else of_relus)
    assert table.fvu.item() < 1e-12
    assert table.circuit_match.item() == 1
    assert table.state.item() == "generalising"


@pytest.mark.parametrize("d_out", [D, D_OUT])
@pytest.mark.parametrize("name", TRANSCODERS)
def test_theirs_beside_any_module(name, d_out, tmp_path):
    model, module = theirs(name, d_out=d_out), torch.nn.Linear(D, d_out).double()
    model.save_model(tmp_path)
    table = fb.measure(fb.load(tmp_path), module, X)
    with torch.no_grad():
        y, found = module(X), model(X)
    fvu = (found - y).square().sum() / (y - y.mean(0)).square().sum()
    assert table.fvu.item() == pytest.approx(fvu.item(), rel=1e-9)
    J = torch.stack([torch.autograd.functional.jacobian(model, x) for x in X[:50]])
    off = (J - module.weight).square().sum((1, 2)) / module.weight.square().sum()
    table = fb.measure(fb.load(tmp_path), module, X[:50], measures=["jacobian_error"])
    assert table.jacobian_error.item() == pytest.approx(off.mean().item(), rel=1e-9)


OURS = {
    "relu": (fb.Transcoder, "", {}),
    "relu skip": (fb.Transcoder, "W_skip", {}),
    "jumprelu": (JumpReLU, "threshold", {}),
    "jumprelu skip": (JumpReLU, "threshold W_skip", {}),
    "topk": (TopK, "", {"k": K}),
    "gated": (Gated, "r_mag b_mag", {}),
}
TO_ANOTHER = [name for name in OURS if name not in ("topk", "gated")]
"""Those that SAELens knows with an output of another width."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "d_out"), [*product(OURS, [D]), *product(TO_ANOTHER, [D_OUT])])
def test_they_read_ours(name, d_out, dtype, tmp_path):
    of, further, settings = OURS[name]
    size = {"d_in": D, "d_sae": M, "d_out": d_out}
    axes = AXES | dict(of.own_axes)
    weights = {
        name: random([2, *(size[axis] for axis in axes[name])], k).to(dtype)
        for k, name in enumerate(axes)
        if name != "W_skip" or name in further
    }
    ours = of.from_arrays(**weights, **settings)[1]
    ours.save(tmp_path)
    model = SAE.load_from_disk(tmp_path)
    assert model.dtype == dtype
    assert_same(ours, model)
