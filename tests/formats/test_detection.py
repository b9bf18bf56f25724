"""Whose layout a folder has."""

import warnings

import pytest
import torch
from test_layouts import CASES, D_OUT, THRESHOLD, D, K, M, X, circuit_tracer, draw, written

import faithnb as fb
from faithnb.formats.folder import opened
from faithnb.formats.layout import LAYOUTS, Found, Layout, Match

WEIGHTS = {"W_enc": (M, D), "b_enc": (M,), "W_dec": (M, D), "b_dec": (D,)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "theirs"


def make(folder, case):
    folder.mkdir()
    with warnings.catch_warnings():
        CASES[case][0](folder, torch.float32, X.float())
    return next(p for p in sorted(folder.rglob("*")) if p.suffix in (".safetensors", ".npz", ".pt"))


def refused(folder, sentence, **given):
    with pytest.raises(ValueError, match=sentence) as said:
        fb.load(folder, **given)
    assert str(folder) in str(said.value)
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize("case", CASES)
def test_one_layout_alone_takes_a_folder_for_its_own(case, folder):
    make(folder, case)
    found = [name for name, layout in LAYOUTS.items() if layout.match(opened(folder)) > Match.NO]
    assert found == [case.split(" ")[0].lower().replace("-", "_").replace("gemma", "gemma_scope")
                     .replace("llama", "llama_scope").replace("llama_scopescopium", "llamascopium")
                     + "_2" * case.startswith("Gemma Scope 2")]  # fmt: skip


@pytest.mark.parametrize("square", [False, True])
def test_a_square_matrix_is_read_only_if_something_tells_what_its_rows_are(square, folder):
    folder.mkdir()
    n = D if square else M
    w = draw(torch.float32, W_enc=(n, D), b_enc=(n,), W_dec=(n, D), b_dec=(D,))
    written(folder, "layer_0.safetensors", w)
    wanted = torch.relu(X.float() @ w["W_enc"].T + w["b_enc"]) @ w["W_dec"] + w["b_dec"]
    if square:
        refused(folder, "neither the names nor the shapes of its weights nor a configuration tell "
                "whether it is of circuit_tracer or saelens")  # fmt: skip
        (folder / "config.yaml").write_text("model_kind: transcoder_set\n")
    torch.testing.assert_close(fb.load(folder)(X.float())[0], wanted)
    (folder / "config.yaml").unlink(missing_ok=True)
    if square:
        (folder / "cfg.json").write_text('{"architecture": "transcoder"}')
        wanted = torch.relu(X.float() @ w["W_enc"] + w["b_enc"]) @ w["W_dec"] + w["b_dec"]
        torch.testing.assert_close(fb.load(folder)(X.float())[0], wanted)


def test_one_of_several_layers_is_read_by_its_number(folder):
    folder.mkdir()
    wanted = {}
    for layer in (0, 2, 11):
        _, wanted[layer] = circuit_tracer((), True, folder, torch.float64, X + layer)
        (folder / "layer_7.safetensors").rename(folder / f"layer_{layer}.safetensors")
    for layer, y in wanted.items():
        torch.testing.assert_close(fb.load(folder, layer=layer)(X + layer)[0], y)
    refused(folder, "layer = None is none of the layers that it holds, 0, 2, 11")
    refused(folder, "layer = 3 is none of the layers that it holds, 0, 2, 11", layer=3)


def test_a_layer_of_a_folder_with_one_alone(folder):
    make(folder, "circuit-tracer")
    assert torch.equal(fb.load(folder).W_enc, fb.load(folder, layer=7).W_enc)
    refused(folder, "layer = 0 is none of the layers that it holds, 7", layer=0)
    (folder / "layer_7.safetensors").rename(folder / "a.safetensors")
    refused(folder, "layer = 7 is asked for, and it has no file a layer", layer=7)


OTHERS = {
    "MOLT of two ranks": ({"W_E": (D, M), "b_E": (M,), "b_D": (D,), "U_matrices.2": (4, D, 2),
                           "U_matrices.1": (5, D, 1)}, "its transforms have ranks 1, 2, and all"),
    "half a crosscoder": ({"W_E": (2, D, M), "b_E": (2, M)}, "which is no layout that is known"),
    "half a CLT": ({"W_dec_0": (M, 2, D), "W_dec_1": (M, 1, D)}, "x.safetensors lacks W_enc_0"),
    "Gemma Scope 2 CLT": ({"w_enc": (D, M), "w_dec": (M, 2, D), "b_enc": (M,), "b_dec": (D,),
                           "threshold": (M,)}, "w_dec writes to several layers"),
    "nobody's": ({"weight": (M, D), "bias": (M,)},
                 "x.safetensors holds bias, weight, which is no layout that is known here"),
    "nothing": ({}, "x.safetensors holds nothing, which is no layout"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_readable_is_recognised(name, folder):
    folder.mkdir()
    sizes, sentence = OTHERS[name]
    written(folder, "x.safetensors", draw(torch.float32, **sizes))
    refused(folder, sentence)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(kind, folder):
    folder.mkdir()
    written(folder, "layer_0.safetensors", draw(kind, **WEIGHTS, **{THRESHOLD: (M,)}))
    assert fb.load(folder).W_enc.dtype == kind


def test_a_layout_of_a_stranger_is_one_class(folder):
    class Mine(Layout):
        name = "mine"
        architecture = "topk"

        @classmethod
        def match(cls, folder):
            return Match.KEYS if "into" in folder.tensors else Match.NO

        @classmethod
        def read(cls, folder, kinds):
            w = folder.tensors
            zero = {"b_enc": torch.zeros(M), "b_dec": torch.zeros(D_OUT)}
            weights = {"W_enc": w["into"], "W_dec": w["out"], **zero}
            return Found(folder, cls.architecture, weights, {"k": K})

    try:
        folder.mkdir()
        w = draw(torch.float32, into=(D, M), out=(M, D_OUT))
        written(folder, "mine.safetensors", w)
        t = fb.load(folder)
        assert t.k == K
        assert torch.equal(t.W_dec[0], w["out"])
        with pytest.raises(ValueError, match="layout = 'mine' cannot hold this transcoder"):
            t.save(folder, layout="mine")
        Mine.architecture = "odd"
        refused(folder, "its architecture is 'odd', known are relu, ")
    finally:
        del LAYOUTS["mine"]
