"""Transcoders in the layouts of other libraries: what has a place comes back, what has none is
refused."""

import json

import pytest
import torch
from safetensors.torch import load_file

import faithnb as fb
from faithnb.formats.layout import LAYOUTS
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.model.weights import AXES

D, D_OUT, M, K = 6, 4, 10, 3
X = torch.randn(200, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

HOLDS = {
    "saelens": "relu topk jumprelu gated molt crosscoder cross_layer",
    "dictionary_learning": "relu topk jumprelu gated",
    "sparsify": "topk",
    "circuit_tracer": "relu jumprelu",
    "circuit_tracer_clt": "cross_layer",
    "gemma_scope": "jumprelu",
    "gemma_scope_2": "jumprelu",
    "llama_scope": "relu topk jumprelu",
    "llamascopium": "relu topk jumprelu",
    "llamascopium_molt": "molt",
    "llamascopium_clt": "cross_layer",
    "llamascopium_crosscoder": "crosscoder",
}
WITH_SKIP = {"saelens", "sparsify", "circuit_tracer", "gemma_scope_2"}
ANY_WIDTH = {"saelens", "gemma_scope", "gemma_scope_2"}
ROUNDED = {("dictionary_learning", "topk"), ("dictionary_learning", "gated"),
           ("llamascopium", "jumprelu")}  # fmt: skip
"""Where b_dec goes through a bias, or a threshold through its logarithm."""


def made(architecture, skip=False, d_out=D, n=1, dtype=torch.float64):
    of = ARCHITECTURES[architecture]
    size = {"d_in": D, "d_sae": M, "d_out": d_out, "transforms": M // 2}
    generator = torch.Generator().manual_seed(5)
    weights = {
        name: torch.randn([n, *(size[a] for a in axes)], dtype=torch.float64, generator=generator)
        for name, axes in (AXES | dict(of.own_axes)).items()
        if skip or name != "W_skip"
    }
    if architecture == "jumprelu":
        weights["threshold"] = weights["threshold"].abs()
    if architecture == "molt":
        weights["b_enc"].zero_()
    if architecture == "cross_layer":
        of(**weights, n_layers=2).settle()
    own = {name: {"k": K, "rank": 2, "n_layers": 2}[name] for name in of.settings}
    return of.from_arrays(**{k: w.to(dtype) for k, w in weights.items()}, **own)


def one_threshold(t):
    """Llama Scope has no more."""
    return t.with_weights(t.weights() | {"threshold": torch.full_like(t.threshold, 0.4)})


KINDS = [(layout, architecture, skip, d_out) for layout in HOLDS
         for architecture in HOLDS[layout].split() for skip in {False, layout in WITH_SKIP}
         for d_out in {D, D_OUT if layout in ANY_WIDTH else D}]  # fmt: skip


def test_every_layout_is_here():
    assert set(HOLDS) == set(LAYOUTS)
    assert {name: set(of.holds) for name, of in LAYOUTS.items() if name != "saelens"} == {
        name: set(held.split()) for name, held in HOLDS.items() if name != "saelens"
    }


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("layout", "architecture", "skip", "d_out"), KINDS)
def test_what_was_written_comes_back(layout, architecture, skip, d_out, dtype, tmp_path):
    t = made(architecture, skip, d_out, dtype=dtype)
    if (layout, architecture) == ("llama_scope", "jumprelu"):
        t = one_threshold(t)
    t.save(tmp_path, layout=layout)
    back = fb.load(tmp_path)
    assert type(back) is type(t)
    assert back.own_settings() == t.own_settings()
    assert list(back.axes) == list(t.axes)
    if (layout, architecture) in ROUNDED:
        bound = (1e-13 if dtype == torch.float64 else 1e-6) * t(X).abs().max()
        assert (back(X) - t(X)).abs().max() <= bound
    else:
        assert torch.equal(back(X), t(X))
        assert all(torch.equal(w, t.weights()[k]) for k, w in back.weights().items())
    assert (t.encode(X) != 0).any()


def test_a_gated_autoencoder_has_saelens_names(tmp_path):
    for d_out, name in ((D, "gated"), (D_OUT, "gated_transcoder")):
        made("gated", d_out=d_out).save(tmp_path)
        assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == name
        assert "b_gate" in load_file(tmp_path / "sae_weights.safetensors")
    made("gated", skip=True, n=3).save(tmp_path)
    assert json.loads((tmp_path / "cfg.json").read_text())["architecture"] == (
        "gated_skip_transcoder"
    )
    assert torch.equal(fb.load(tmp_path)(X), made("gated", skip=True, n=3)(X))


def test_several_layers_stand_in_one_folder(tmp_path):
    for layer, kind in ((0, "relu"), (4, "jumprelu")):
        made(kind).save(tmp_path, layout="circuit_tracer", layer=layer)
    for layer, kind in ((0, "relu"), (4, "jumprelu")):
        assert torch.equal(fb.load(tmp_path, layer=layer)(X), made(kind)(X))


def below(t):
    return t.with_weights(t.weights() | {"threshold": t.threshold - 2})


def reading_more(t):
    return t.with_weights(t.weights() | {"b_enc": torch.ones_like(t.b_enc)})


def silent(t):
    t.W_dec[0, 0, :3] = 0
    return t


NO_PLACE = {
    "an ensemble": (lambda: made("relu", n=2), "circuit_tracer", "it is an ensemble of 2, pick"),
    "skip": (lambda: made("relu", skip=True), "llamascopium", "no place for its linear part"),
    "width": (lambda: made("relu", d_out=D_OUT), "circuit_tracer",
              "one width for both, here d_in = 6 and d_out = 4"),
    "gated": (lambda: made("gated"), "circuit_tracer",
              "its architecture is 'gated', only relu, jumprelu can be written so"),
    "relu": (lambda: made("relu"), "sparsify", "architecture is 'relu', only topk can be"),
    "across layers": (lambda: made("relu"), "circuit_tracer_clt",
                      "its architecture is 'relu', only cross_layer can be written so"),
    "what is added to a component": (lambda: reading_more(made("molt")), "llamascopium_molt",
                                     "there is no place for b_enc, which is not 0"),
    "a layer that is not written": (lambda: silent(made("crosscoder")), "llamascopium_crosscoder",
                                    "a feature writes nothing to a layer, and its library"),
    "below 0": (lambda: below(made("jumprelu")), "circuit_tracer", "a threshold is below 0"),
    "logarithm": (lambda: below(made("jumprelu")), "llamascopium", "one is not above 0"),
    "thresholds": (lambda: made("jumprelu"), "llama_scope", "it has one threshold for all"),
    "bfloat16": (lambda: made("jumprelu", dtype=torch.bfloat16), "gemma_scope",
                 "an .npz has no bfloat16"),
    "no layout": (lambda: made("relu"), "pytorch", "layout = 'pytorch' is not allowed: it must be "
                  "one of circuit_tracer, "),
    "no name": (lambda: made("relu"), ["saelens"], r"layout = \['saelens'\] is not allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("layout", "layer", "sentence"), [
    ("sparsify", 3, "layer = 3 is not allowed with layout = 'sparsify': it must be left out"),
    ("circuit_tracer", -1, "layer = -1 is not allowed .* a whole number of at least 0"),
    ("circuit_tracer", "1", "layer = '1' is not allowed"),
])  # fmt: skip
def test_layers_are_numbered_where_there_is_a_file_for_each(layout, layer, sentence, tmp_path):
    with pytest.raises(fb.ParameterError, match=sentence):
        made("relu").save(tmp_path / "new", layout=layout, layer=layer)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", NO_PLACE)
def test_what_has_no_place_is_refused_before_anything_is_written(name, tmp_path):
    make, layout, sentence = NO_PLACE[name]
    with pytest.raises(fb.ParameterError, match=sentence) as said:
        make().save(tmp_path / "new", layout=layout)
    assert len(str(said.value).splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("layout", ["saelens", "circuit_tracer", "gemma_scope_2", "llamascopium"])
def test_half_precision_comes_back(layout, tmp_path):
    t = made("jumprelu", dtype=torch.bfloat16)
    t.save(tmp_path, layout=layout)
    assert fb.load(tmp_path).W_enc.dtype == torch.bfloat16
    assert torch.equal(fb.load(tmp_path).W_dec, t.W_dec)
