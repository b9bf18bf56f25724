"""Mixtures of linear transforms and transcoders of several layers of other libraries, each against
the library's own formula, written out here."""

import json
import math
from functools import partial

import pytest
import torch
from test_layouts import assert_close, draw, written

import faithnb as fb

D, M, N = 4, 6, 3
X = torch.randn(200, N * D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
NORMS = [5.0, 1.7, 2.6]


def stacked(x):
    return x.unflatten(1, (N, D))


def configured(path, w, norms, said):
    """Weights with the norms of the data by hook point, and a configuration."""
    scaled = said["norm_activation"] == "dataset-wise"
    stored = {f"dataset_average_activation_norm.{k}": torch.tensor(v, dtype=torch.float64)
              for k, v in norms.items()}  # fmt: skip
    written(path, "sae_weights.safetensors", w | (stored if scaled else {}), "config.json",
            {"d_model": D, "act_fn": "relu", "expansion_factor": 1.5, **said})  # fmt: skip
    return {k: math.sqrt(D) / v if scaled else 1.0 for k, v in norms.items()}


def molt(rank, norm, bias, path, dtype, x):
    """Each transform times its gate; only the first layer's stream is shown to it."""
    x = x[:, :D]
    w = draw(dtype, W_E=(D, M), b_E=(M,), b_D=(D,), U=(M, D, rank), V=(M, rank, D))
    stored = {**w, f"U_matrices.{rank}": w["U"], f"V_matrices.{rank}": w["V"]}
    del stored["U"], stored["V"]
    if not bias:
        w["b_D"] = 0 * stored.pop("b_D")
    s = configured(path, stored, {"in": 5.0, "out": 1.7}, {
        "sae_type": "molt", "norm_activation": norm, "use_decoder_bias": bias,
        "rank_counts": {str(rank): M}, "hook_point_in": "in", "hook_point_out": "out",
    })  # fmt: skip
    gate = torch.relu(s["in"] * x @ w["W_E"] + w["b_E"])
    read = torch.einsum("bd,trd->btr", s["in"] * x, w["V"])
    h = gate[..., None] * read
    return h.flatten(1), (torch.einsum("btr,tdr->bd", h, w["U"]) + w["b_D"]) / s["out"]


def llamascopium_clt(norm, path, dtype, x):
    """Layer j gets what layers up to j write to it."""
    w = draw(dtype, W_E=(N, D, M), b_E=(N, M), **{f"b_D.{j}": (D,) for j in range(N)},
             **{f"W_D.{j}": (j + 1, M, D) for j in range(N)})  # fmt: skip
    hooks = {f"hook_points_{of}": [f"{of}.{i}" for i in range(N)] for of in ("in", "out")}
    norms = {f"in.{i}": NORMS[i] for i in range(N)} | {f"out.{i}": NORMS[i] + 1 for i in range(N)}
    s = configured(path, w, norms, {"sae_type": "clt", "norm_activation": norm, **hooks})
    x = stacked(x) * torch.tensor([s[f"in.{i}"] for i in range(N)], dtype=dtype)[:, None]
    h = torch.relu(torch.einsum("bld,lds->bls", x, w["W_E"]) + w["b_E"])
    y = [(torch.einsum("bls,lsd->bd", h[:, : j + 1], w[f"W_D.{j}"]) + w[f"b_D.{j}"])
         / s[f"out.{j}"] for j in range(N)]  # fmt: skip
    return h.flatten(1), torch.cat(y, dim=1)


def llamascopium_crosscoder(norm, path, dtype, x):
    """What all heads read is summed, and every head writes."""
    w = draw(dtype, W_E=(N, D, M), b_E=(N, M), W_D=(N, M, D), b_D=(N, D))
    hooks = [f"layer.{i}" for i in range(N)]
    said = {"sae_type": "crosscoder", "norm_activation": norm, "hook_points": hooks}
    s = configured(path, w, dict(zip(hooks, NORMS, strict=True)), said)
    scale = torch.tensor([s[k] for k in hooks], dtype=dtype)[:, None]
    h = torch.relu((torch.einsum("bld,lds->bls", stacked(x) * scale, w["W_E"]) + w["b_E"]).sum(1))
    y = (torch.einsum("bs,lsd->bld", h, w["W_D"]) + w["b_D"]) / scale
    return h, y.flatten(1)


def circuit_tracer_clt(path, dtype, x):
    """Row j − i of W_dec_i writes to layer j."""
    for i in range(N):
        own = {f"W_enc_{i}": (M, D), f"b_enc_{i}": (M,), f"b_dec_{i}": (D,)}
        written(path, f"W_enc_{i}.safetensors", draw(dtype, **own))
        written(path, f"W_dec_{i}.safetensors", draw(dtype, **{f"W_dec_{i}": (M, N - i, D)}))
    w = fb.formats.folder.opened(path).with_others().tensors
    x = stacked(x)
    h = torch.stack([torch.relu(x[:, i] @ w[f"W_enc_{i}"].T + w[f"b_enc_{i}"]) for i in range(N)])
    y = [w[f"b_dec_{j}"] + sum(h[i] @ w[f"W_dec_{i}"][:, j - i] for i in range(j + 1))
         for j in range(N)]  # fmt: skip
    return h.transpose(0, 1).flatten(1), torch.cat(y, dim=1)


NORM = ("dataset-wise", "inference")
CASES = {
    **{f"MOLT of rank {rank}, {norm}": (partial(molt, rank, norm, True), "molt")
       for rank in (1, 3) for norm in NORM},
    "MOLT without a bias": (partial(molt, 2, "inference", False), "molt"),
    **{f"Llamascopium CLT, {norm}": (partial(llamascopium_clt, norm), "cross_layer")
       for norm in NORM},
    **{f"Llamascopium crosscoder, {norm}": (partial(llamascopium_crosscoder, norm), "crosscoder")
       for norm in NORM},
    "circuit-tracer CLT": (circuit_tracer_clt, "cross_layer"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_outputs_and_activations_are_those_of_the_formula(name, dtype, tmp_path):
    by_formula, architecture = CASES[name]
    h, y = by_formula(tmp_path, dtype, X.to(dtype))
    t = fb.load(tmp_path)
    assert t.architecture == architecture
    assert t.own_settings() == ({"rank": t.rank} if architecture == "molt" else {"n_layers": N})
    x = X[:, : t.d_in]
    assert_close(t.encode(x)[0], h)
    assert_close(t(x)[0], y)
    assert 0.01 < (h != 0).double().mean() < 0.99


@pytest.mark.parametrize("name", CASES)
def test_what_was_read_is_saved_and_read_again(name, tmp_path):
    CASES[name][0](tmp_path, torch.float32, X.float())
    t = fb.load(tmp_path)
    t.save(tmp_path / "again")
    assert torch.equal(fb.load(tmp_path / "again")(X[:, : t.d_in]), t(X[:, : t.d_in]))


def rewritten(path, name="sae_weights.safetensors", **weights):
    """Weights in place of others, or without them."""
    held = dict(fb.formats.folder.opened(path).with_others().tensors)
    if name != "sae_weights.safetensors":
        held = {k: w for k, w in held.items() if k.split("_")[-1] == name.split(".")[0][-1]
                and ("W_dec" in k) == ("W_dec" in name)}  # fmt: skip
    held |= weights
    written(path, name, {k: w for k, w in held.items() if w is not None})


def says(path, **settings):
    said = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(said | settings))


DAMAGE = {
    "another rank": ("MOLT of rank 3, inference", lambda p: rewritten(
        p, **{"V_matrices.3": torch.zeros(M, 2, D)}),
        r"V_matrices.3 has shape \[6, 2, 4\] where \[6, 3, 4\] is needed"),
    "no rank": ("MOLT of rank 1, inference", lambda p: rewritten(
        p, **{"U_matrices.1": None, "U_matrices.x": torch.zeros(M, D, 1),
              "V_matrices.1": None, "V_matrices.x": torch.zeros(M, 1, D)}),
        "U_matrices.x = 'x', it must be a number above 0"),
    "no V": ("MOLT of rank 1, inference", lambda p: rewritten(p, **{"V_matrices.1": None}),
             "lacks V_matrices.1"),
    "gates": ("MOLT of rank 1, inference", lambda p: says(p, act_fn="jumprelu"),
              "says act_fn = 'jumprelu', only 'relu' can be held here for sae_type = 'molt'"),
    "another type": ("MOLT of rank 1, inference", lambda p: says(p, sae_type="lorsa"),
                     "sae_type = 'lorsa', only 'molt' is understood"),
    "features of one layer": ("Llamascopium CLT, inference", lambda p: rewritten(
        p, **{"W_D.1": torch.zeros(2, M + 1, D)}), r"W_D.1 has shape \[2, 7, 4\] where"),
    "a layer is missing": ("Llamascopium CLT, inference", lambda p: rewritten(
        p, **{"W_D.2": None}), "lacks W_D.2"),
    "points": ("Llamascopium CLT, inference", lambda p: says(p, hook_points_in=["in"]),
               r"hook_points_in = \['in'\], the weights are of 3 layers"),
    "norm of a layer": ("Llamascopium crosscoder, dataset-wise", lambda p: says(
        p, hook_points=["layer.0", "layer.1", "elsewhere"]), "of its layer 2 inputs"),
    "top k": ("Llamascopium crosscoder, inference", lambda p: says(p, act_fn="batchtopk"),
              "only 'relu' can be held"),
    "thresholds": ("circuit-tracer CLT", lambda p: rewritten(
        p, "W_enc_1.safetensors", threshold_1=torch.zeros(M)), "its features have thresholds"),
    "a decoder": ("circuit-tracer CLT", lambda p: (p / "W_dec_1.safetensors").unlink(),
                  "lacks W_dec_1"),
    "other features": ("circuit-tracer CLT", lambda p: rewritten(
        p, "W_dec_1.safetensors", W_dec_1=torch.zeros(M, 3, D)),
        r"W_dec_1 has shape \[6, 3, 4\] where \[6, 2, 4\] is needed"),
    "twice": ("circuit-tracer CLT", lambda p: (p / "x.safetensors").write_bytes(
        (p / "W_dec_1.safetensors").read_bytes()), "W_dec_1 stands in two files"),
    "torn": ("circuit-tracer CLT", lambda p: (p / "W_dec_1.safetensors").write_bytes(b"x"),
             "W_dec_1.safetensors cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_what_would_be_misread_is_refused(name, tmp_path):
    case, damage, sentence = DAMAGE[name]
    CASES[case][0](tmp_path, torch.float32, X.float())
    damage(tmp_path)
    with pytest.raises(ValueError, match=sentence) as said:
        fb.load(tmp_path)
    assert len(str(said.value).splitlines()) == 1
