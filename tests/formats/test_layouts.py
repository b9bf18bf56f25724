"""Weights of other libraries, each against the library's own formula, written out here.

Computed in another order, float64 agrees to 1e-12 of the largest value, float32 to 1e-6.
"""

import json
import math
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import linear

import faithnb as fb

D, D_OUT, M, K = 6, 5, 9, 3
X = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def draw(dtype, **sizes):
    """Random weights; thresholds are above 0, logarithms of them around it."""
    generator = torch.Generator().manual_seed(3)
    drawn = {k: torch.randn(size, dtype=torch.float64, generator=generator).to(dtype)
             for k, size in sizes.items()}  # fmt: skip
    return {k: w.abs() if k.endswith(".threshold") or k == "threshold" else w
            for k, w in drawn.items()}  # fmt: skip


def jump(z, threshold):
    return z * (z > threshold)


def top(z, k=K):
    values, indices = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter(-1, indices, values)


def written(path, name, weights, file=None, says=None):
    """The weights, and what is said beside them."""
    (path / name).parent.mkdir(exist_ok=True)
    if name.endswith(".npz"):
        np.savez(path / name, **{k: w.numpy() for k, w in weights.items()})
    elif name.endswith(".pt"):
        torch.save(weights, path / name)
    else:
        save_file({k: w.contiguous() for k, w in weights.items()}, path / name)
    if file is not None:
        (path / file).write_text(says if isinstance(says, str) else json.dumps(says))


def dictionary_learning(dict_class, said, path, dtype, x):
    """Its classes' ``encode`` and ``decode``."""
    sizes = {"encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M)}
    own = {
        "AutoEncoder": {"bias": (D,)},
        "AutoEncoderNew": {"decoder.bias": (D,)},
        "AutoEncoderTopK": {"b_dec": (D,)},
        "BatchTopKSAE": {"b_dec": (D,)},
        "GatedAutoEncoder": {"decoder_bias": (D,), "r_mag": (M,), "gate_bias": (M,),
                             "mag_bias": (M,)},
    }  # fmt: skip
    if dict_class in own:
        sizes |= own[dict_class]
    else:
        sizes = {"W_enc": (D, M), "b_enc": (M,), "W_dec": (M, D), "b_dec": (D,)}
    if dict_class == "JumpReluAutoEncoder":
        sizes["threshold"] = (M,)
    if dict_class == "GatedAutoEncoder":
        del sizes["encoder.bias"]
    w = draw(dtype, **sizes)
    if dict_class in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        set_to = -1.0 if dict_class == "AutoEncoderTopK" else 0.4
        w |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(set_to)}
    if dict_class == "MatryoshkaBatchTopKSAE":
        w["group_sizes"] = torch.tensor([4, 5])
    trainer = {"dict_class": dict_class, "activation_dim": D, "dict_size": M, "lr": 1e-3}
    written(
        path, "ae.pt", w, *(["config.json", {"trainer": trainer, "buffer": {}}] if said else [])
    )
    if "W_enc" in w:
        x = x - w["b_dec"] if dict_class == "MatryoshkaBatchTopKSAE" else x
        h = torch.relu(x @ w["W_enc"] + w["b_enc"])
        h = h * (h > w["threshold"])
        return h, h @ w["W_dec"] + w["b_dec"]
    bias = w[next(k for k in ("bias", "decoder.bias", "b_dec", "decoder_bias") if k in w)]
    x = x if dict_class == "AutoEncoderNew" else x - bias
    if dict_class == "GatedAutoEncoder":
        read = linear(x, w["encoder.weight"])
        on = read + w["gate_bias"] > 0
        h = on * torch.relu(w["r_mag"].exp() * read + w["mag_bias"])
    else:
        h = torch.relu(linear(x, w["encoder.weight"], w["encoder.bias"]))
    if dict_class == "AutoEncoderTopK":
        h = top(h)
    if dict_class == "BatchTopKSAE":
        h = h * (h > w["threshold"])
    return h, linear(h, w["decoder.weight"]) + bias


def sparsify(says, old, path, dtype, x):
    """Its SparseCoder's ``forward``."""
    w = draw(dtype, **{"encoder.weight": (M, D), "encoder.bias": (M,), "W_dec": (M, D),
                       "b_dec": (D,), "W_skip": (D, D)})  # fmt: skip
    stored = {k: v for k, v in w.items() if k != "W_skip" or says.get("skip_connection")}
    if old:
        stored["decoder.weight"] = stored.pop("W_dec").T
    cfg = {
        "expansion_factor": 1.5,
        "normalize_decoder": True,
        "k": K,
        "multi_topk": False,
        "d_in": D,
    }
    written(path, "sae.safetensors", stored, "cfg.json", cfg | says)
    read = x if says.get("transcode") else x - w["b_dec"]
    h = top(torch.relu(linear(read, w["encoder.weight"], w["encoder.bias"])))
    y = h @ w["W_dec"] + w["b_dec"]
    return h, y + x @ w["W_skip"].mT if says.get("skip_connection") else y


def circuit_tracer(own, said, path, dtype, x):
    """Its SingleLayerTranscoder's ``forward``."""
    w = draw(dtype, W_enc=(M, D), b_enc=(M,), W_dec=(M, D_OUT), b_dec=(D_OUT,),
             W_skip=(D_OUT, D), **{"activation_function.threshold": (M,)})  # fmt: skip
    stored = {k: v for k, v in w.items() if k in own or not ("_s" in k or "." in k)}
    yaml = ["config.yaml", 'model_kind: "transcoder_set"  # one a layer\n'] if said else []
    written(path, "layer_7.safetensors", stored, *yaml)
    z = linear(x, w["W_enc"], w["b_enc"])
    threshold = w["activation_function.threshold"]
    h = jump(z, threshold) if "activation_function.threshold" in own else torch.relu(z)
    y = h @ w["W_dec"] + w["b_dec"]
    return h, y + x @ w["W_skip"].T if "W_skip" in own else y


def gemma_scope(names, path, dtype, x):
    """Its JumpReLU."""
    w = draw(dtype, W_enc=(D, M), b_enc=(M,), W_dec=(M, D_OUT), b_dec=(D_OUT,), threshold=(M,))
    stored = {names.get(k, k): v for k, v in w.items()}
    if names:
        stored["scaling_factor"] = torch.ones(M)
    written(path, "params.npz", stored)
    z = x @ w["W_enc"] + w["b_enc"]
    h = (z > w["threshold"]) * torch.relu(z)
    return h, h @ w["W_dec"] + w["b_dec"]


def gemma_scope_2(skip, said, path, dtype, x):
    """Its JumpReLU with an affine skip connection, which is not turned."""
    w = draw(dtype, w_enc=(D, M), b_enc=(M,), w_dec=(M, D_OUT), b_dec=(D_OUT,), threshold=(M,),
             affine_skip_connection=(D, D_OUT))  # fmt: skip
    A = w["affine_skip_connection"] if skip else w.pop("affine_skip_connection") * 0
    config = {"architecture": "jump_relu", "type": "transcoder", "affine_connection": skip,
              "width": M, "l0": 20, "hf_hook_point_in": "model.layers.1.output"}  # fmt: skip
    written(path, "params.safetensors", w, *(["config.json", config] if said else []))
    z = x @ w["w_enc"] + w["b_enc"]
    h = (z > w["threshold"]) * torch.relu(z)
    return h, h @ w["w_dec"] + w["b_dec"] + x @ A


def llama_scope(says, path, dtype, x):
    """As its library uses it on activations of the model: parameters are standardised by both
    norms, the decoder's rows are made units, and then the gate compares."""
    w = draw(dtype, **{"encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M),
                       "decoder.bias": (D,)})  # fmt: skip
    norms = {"in": 5.0, "out": 1.7}
    said = {"d_model": D, "d_sae": M, "act_fn": "jumprelu", "jump_relu_threshold": 0.6,
            "norm_activation": "dataset-wise", "dataset_average_activation_norm": norms,
            "sparsity_include_decoder_norm": True, "top_k": K, "use_decoder_bias": True,
            "apply_decoder_bias_to_pre_encoder": False, "l1_coefficient": 8e-5} | says  # fmt: skip
    written(path, "checkpoints/final.safetensors", w, "hyperparams.json", said)
    s_in, s_out = (math.sqrt(D) / norms[k] for k in ("in", "out"))
    encoder, decoder = w["encoder.weight"].double(), w["decoder.weight"].double()
    b_enc, b_dec = w["encoder.bias"].double() / s_in, w["decoder.bias"].double() / s_out
    decoder = decoder * s_in / s_out
    by_norms, act = said["sparsity_include_decoder_norm"], said["act_fn"]
    norm = decoder.norm(dim=0) if by_norms else torch.ones(M, dtype=torch.float64)
    z = linear(x.double(), encoder * norm[:, None], b_enc * norm)
    if act == "jumprelu" or (act == "topk" and said["jump_relu_threshold"] > 0):
        act, h = "jumprelu", jump(z, said["jump_relu_threshold"])
    else:
        h = top(torch.relu(z)) if act == "topk" else torch.relu(z)
    y = linear(h, decoder / norm, b_dec)
    units = s_out if act == "topk" and by_norms else s_in / norm  # of activations as read here
    return (h * units).to(dtype), y.to(dtype)


def llama_scope_of_logs(key, path, dtype, x):
    """Its later release: the gate compares scaled inputs."""
    w = draw(dtype, **{"encoder.weight": (M, D), "encoder.bias": (M,), "decoder.weight": (D, M),
                       "decoder.bias": (D,), key: (M,)})  # fmt: skip
    hook = "blocks.3.hook_resid_post"
    norm = {f"dataset_average_activation_norm.{hook}": torch.tensor(4.0)}
    said = {"d_model": D, "act_fn": "jumprelu", "norm_activation": "dataset-wise",
            "sparsity_include_decoder_norm": True, "hook_point_in": hook,
            "hook_point_out": hook}  # fmt: skip
    written(path, "sae_weights.safetensors", w | norm, "config.json", said)
    scale, norms = math.sqrt(D) / 4, w["decoder.weight"].norm(dim=0)
    z = linear(scale * x, w["encoder.weight"], w["encoder.bias"])
    h = jump(z * norms, w[key].exp()) / norms
    return h, linear(h, w["decoder.weight"], w["decoder.bias"]) / scale


def llamascopium(says, path, dtype, x):
    """Inputs are normalised, encoded and decoded, and the output is denormalised."""
    said = {"sae_type": "sae", "d_model": D, "expansion_factor": 1.5, "act_fn": "jumprelu",
            "norm_activation": "dataset-wise", "sparsity_include_decoder_norm": True,
            "use_decoder_bias": True, "top_k": K, "hook_point_in": "in", "hook_point_out": "out",
            "use_glu_encoder": False, "use_triton_kernel": False} | says  # fmt: skip
    log = "activation_function.log_jumprelu_threshold"
    w = draw(dtype, W_E=(D, M), b_E=(M,), W_D=(M, D), b_D=(D,), **{log: (M,)})
    norms = {"in": 5.0, "out": 1.7}
    stored = w | {f"dataset_average_activation_norm.{k}": torch.tensor(v, dtype=torch.float64)
                  for k, v in norms.items()}  # fmt: skip
    if said["act_fn"] != "jumprelu":
        del stored[log]
    if not said["use_decoder_bias"]:
        w["b_D"] = 0 * stored.pop("b_D")
    written(path, "sae_weights.safetensors", stored, "config.json", said)
    scaled = said["norm_activation"] == "dataset-wise"
    s_in, s_out = (math.sqrt(D) / v if scaled else 1.0 for v in norms.values())
    norm = w["W_D"].norm(dim=1) if said["sparsity_include_decoder_norm"] else torch.ones(M)
    z = (s_in * x @ w["W_E"] + w["b_E"]) * norm
    h = {"jumprelu": partial(jump, threshold=w[log].exp()), "relu": torch.relu,
         "topk": lambda z: top(torch.relu(z))}[said["act_fn"]](z) / norm  # fmt: skip
    y = (h @ w["W_D"] + w["b_D"]) / s_out
    return h * norm if said["act_fn"] == "topk" else h, y


THRESHOLD = "activation_function.threshold"
CASES = {
    **{f"dictionary_learning {name}": (partial(dictionary_learning, name, True), of)
       for name, of in {"AutoEncoder": "relu", "AutoEncoderNew": "relu", "AutoEncoderTopK": "topk",
                        "BatchTopKSAE": "jumprelu", "MatryoshkaBatchTopKSAE": "jumprelu",
                        "JumpReluAutoEncoder": "jumprelu", "GatedAutoEncoder": "gated"}.items()},
    **{f"dictionary_learning {name} alone": (partial(dictionary_learning, name, False), of)
       for name, of in {"AutoEncoder": "relu", "AutoEncoderNew": "relu",
                        "MatryoshkaBatchTopKSAE": "jumprelu", "JumpReluAutoEncoder": "jumprelu",
                        "GatedAutoEncoder": "gated"}.items()},
    "sparsify autoencoder": (partial(sparsify, {"num_latents": M}, False), "topk"),
    "sparsify of old": (partial(sparsify, {"num_latents": 0, "signed": False}, True), "topk"),
    "sparsify without num_latents": (partial(sparsify, {}, False), "topk"),
    "sparsify transcoder": (
        partial(sparsify, {"num_latents": 0, "transcode": True, "activation": "topk"}, False),
        "topk"),
    "sparsify skip transcoder": (
        partial(sparsify, {"transcode": True, "skip_connection": True}, False), "topk"),
    "sparsify skip autoencoder": (partial(sparsify, {"skip_connection": True}, False), "topk"),
    "circuit-tracer": (partial(circuit_tracer, (), False), "relu"),
    "circuit-tracer skip": (partial(circuit_tracer, ("W_skip",), True), "relu"),
    "circuit-tracer threshold": (partial(circuit_tracer, (THRESHOLD,), True), "jumprelu"),
    "circuit-tracer both": (partial(circuit_tracer, (THRESHOLD, "W_skip"), False), "jumprelu"),
    "Gemma Scope": (partial(gemma_scope, {}), "jumprelu"),
    "Gemma Scope in lower case": (
        partial(gemma_scope, {"W_enc": "w_enc", "W_dec": "w_dec"}), "jumprelu"),
    "Gemma Scope 2": (partial(gemma_scope_2, False, True), "jumprelu"),
    "Gemma Scope 2 skip": (partial(gemma_scope_2, True, True), "jumprelu"),
    "Gemma Scope 2 alone": (partial(gemma_scope_2, True, False), "jumprelu"),
    "Llama Scope": (partial(llama_scope, {}), "jumprelu"),
    "Llama Scope without norms of rows": (
        partial(llama_scope, {"sparsity_include_decoder_norm": False}), "jumprelu"),
    "Llama Scope TopK for use": (partial(llama_scope, {"act_fn": "topk"}), "jumprelu"),
    "Llama Scope TopK": (
        partial(llama_scope, {"act_fn": "topk", "jump_relu_threshold": 0.0}), "topk"),
    "Llama Scope TopK without norms of rows": (
        partial(llama_scope, {"act_fn": "topk", "jump_relu_threshold": 0.0,
                              "sparsity_include_decoder_norm": False}), "topk"),
    "Llama Scope ReLU": (
        partial(llama_scope, {"act_fn": "relu", "jump_relu_threshold": 0.0}), "relu"),
    "Llama Scope of logarithms": (
        partial(llama_scope_of_logs, "log_jumprelu_threshold"), "jumprelu"),
    "Llama Scope of other logarithms": (
        partial(llama_scope_of_logs, "activation_function.log_jumprelu_threshold"), "jumprelu"),
    **{f"Llamascopium {act}{' inference' if norm == 'inference' else ''}{'' if by else ' plain'}":
       (partial(llamascopium, {"act_fn": act, "norm_activation": norm,
                               "sparsity_include_decoder_norm": by}), act)
       for act in ("relu", "topk", "jumprelu") for norm in ("dataset-wise", "inference")
       for by in (True, False)},
    "Llamascopium without a bias": (partial(llamascopium, {"use_decoder_bias": False}), "jumprelu"),
}  # fmt: skip


def assert_close(found: Tensor, wanted: Tensor):
    bound = 1e-12 if wanted.dtype == torch.float64 else 1e-6
    assert found.dtype == wanted.dtype
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_activations_are_those_of_the_formula(name, dtype, tmp_path):
    by_formula, architecture = CASES[name]
    h, y = by_formula(tmp_path, dtype, X.to(dtype))
    t = fb.load(tmp_path)
    assert t.architecture == architecture
    assert_close(t.encode(X)[0], h)
    assert_close(t(X)[0], y)
    assert 0.01 < (h != 0).double().mean() < 0.99


@pytest.mark.parametrize("name", CASES)
def test_what_was_read_is_saved_measured_and_read_again(name, tmp_path):
    CASES[name][0](tmp_path, torch.float32, X.float())
    t = fb.load(tmp_path)
    t.save(tmp_path / "again")
    assert torch.equal(fb.load(tmp_path / "again")(X), t(X))
    assert fb.measure(t, torch.nn.Linear(D, t.d_out), X).fvu.notnull().all()
