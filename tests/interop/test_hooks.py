"""MLPs of TransformerLens, nnsight and transformers as layers; the book's recipes as they stand."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
import transformers as their
from test_huggingface import CONFIGS, random_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens.model_bridge import TransformerBridge

from faithnb import InputError, Transcoder
from faithnb.lm.hooks import instead, layer_of
from faithnb.model.mlp import GeluMLP, SwiGLU

RECIPES = Path(__file__).parents[2] / "book" / "recipes"
WORDS = ["<s>", "An", "albatross", "followed", "the", "ship", "for", "three", "days", "."]


def saved(folder, name):
    """A random model in a folder, with a tokenizer of some words."""
    model = random_model(CONFIGS[name]())
    model.save_pretrained(folder)
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<s>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), "<s>")
    their.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    return model


def mlp_of(model):
    return model.model.layers[1].mlp if hasattr(model, "model") else model.transformer.h[1].mlp


X = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
KINDS = {"llama": (SwiGLU, None), "gpt2": (GeluMLP, True), "gelu": (GeluMLP, False)}


@pytest.mark.parametrize("name", KINDS)
def test_a_layer_is_read_from_transformers(name):
    module = mlp_of(random_model(CONFIGS[name]()))
    layer = layer_of(module)
    assert (type(layer), getattr(layer, "tanh", None)) == KINDS[name]
    with torch.no_grad():
        torch.testing.assert_close(layer(X), module(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_layer_is_read_from_a_bridge(name, tmp_path):
    saved(tmp_path, name)
    bridge = TransformerBridge.boot_transformers(str(tmp_path), device="cpu")
    layer = layer_of(bridge.blocks[1].mlp)
    assert type(layer) is KINDS[name][0]
    ids = torch.randint(0, 9, (2, 7), generator=torch.Generator().manual_seed(0))
    reads, writes = "blocks.1.mlp.hook_in", "blocks.1.mlp.hook_out"
    with torch.no_grad():
        _, cache = bridge.run_with_cache(ids, names_filter=[reads, writes])
    torch.testing.assert_close(layer(cache[reads]), cache[writes], rtol=1e-4, atol=1e-5)


def test_an_mlp_of_another_kind_has_autograds_jacobian():
    config = their.LlamaConfig(**CONFIGS["llama"]().to_dict() | {"hidden_act": "gelu"})
    module = mlp_of(random_model(config))
    layer = layer_of(module)
    assert not isinstance(layer, SwiGLU)
    J = torch.func.vmap(torch.func.jacrev(module))(X[0])
    torch.testing.assert_close(layer.jacobian(X[0]), J.detach(), rtol=1e-4, atol=1e-5)


def test_other_modules_are_said():
    with pytest.raises(InputError, match=r"Linear is not allowed: it has no weights of the names"):
        layer_of(torch.nn.Linear(3, 3))


def test_a_transcoder_stands_in_an_mlps_place_whatever_the_shape():
    t = Transcoder.random([0], 32, 16, 32)
    put = instead(t)
    assert torch.equal(put(X), t(X.flatten(0, 1))[0].view_as(X))
    assert torch.equal(put(X[0]), t(X[0])[0])


@pytest.mark.parametrize("recipe", ["transformer_lens_mlp", "nnsight_mlp"])
def test_the_books_recipes_run(recipe, tmp_path, monkeypatch, capsys):
    model = saved(tmp_path / "model", "gpt2")
    Transcoder.random([0], 32, 16, 32).save(tmp_path / "transcoder")
    path = RECIPES / f"{recipe}.py"
    monkeypatch.setattr(
        sys, "argv", [str(path), *(str(tmp_path / w) for w in ("model", "transcoder"))]
    )
    left = runpy.run_path(str(path))
    assert "FVU" in capsys.readouterr().out
    x, y = (left[name].detach().reshape(-1, 32) for name in "xy")
    torch.testing.assert_close(left["layer"](x), y, rtol=1e-4, atol=1e-5)
    t = left["transcoder"]
    mlp_of(model).forward = instead(t)  # the same by hand, in transformers' own model
    ids = torch.arange(1, 10)[None] if recipe == "nnsight_mlp" else left["ids"]
    with torch.no_grad():
        wanted = model(ids).logits
    torch.testing.assert_close(left["replaced"].detach(), wanted, rtol=1e-4, atol=1e-4)
    assert (left["replaced"] - left["logits"]).abs().max() > 0.1
