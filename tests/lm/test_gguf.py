"""GGUF files: a tiny model written as llama.cpp's converter writes it, and read."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from faithnb import InputError, lm
from faithnb.common.store import StoreWarning
from faithnb.lm import gguf as reading
from faithnb.lm.gguf import read_gguf

TOKENS = ["<|end|>", "a", "b", "ab", *(f"w{k}" for k in range(28))]
m = lm.tiny(n_layers=2, d_vocab=32)


def write(path, quantized=False, **changed):
    said = {
        "block_count": m.n_layers, "embedding_length": m.d_model, "attention.head_count": m.n_heads,
        "attention.head_count_kv": 2, "rope.dimension_count": m.d_head, "feed_forward_length": 48,
    }  # fmt: skip
    writer = GGUFWriter(path, changed.pop("arch", "llama"))
    for name, value in said.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.rope.freq_base", 1e4)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model(changed.pop("tokenizer", "gpt2"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, *[1] * 31])
    writer.add_token_merges(["a b"])
    for name, value in changed.items():
        writer.add_bool(name.replace("__", "."), value)

    def add(name, weight):
        values = weight.numpy().astype(np.float32)
        if quantized and values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = GGMLQuantizationType.Q4_1
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)

    add("token_embd.weight", m.embedding)
    add("output_norm.weight", m.final_norm.weight)
    for k, b in enumerate(m.blocks):
        for name, weight in {
            "attn_norm": b.before_attention.weight, "attn_q": b.query.W, "attn_k": b.key.W,
            "attn_v": b.value.W, "attn_output": b.out.W, "ffn_norm": b.before_mlp.weight,
            "ffn_gate": b.mlp.W_gate, "ffn_up": b.mlp.W_up, "ffn_down": b.mlp.W_down,
        }.items():  # fmt: skip
            add(f"blk.{k}.{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


IDS = torch.tensor([[0, 5, 31, 7, 7], [3, 2, 1, 0, 9]])


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path / "store"))
    return tmp_path / "store" / "lm"


def test_the_model_of_a_file_is_the_one_that_was_written(tmp_path):
    found = read_gguf(write(tmp_path / "held.gguf"))
    assert (found.name, found.n_layers, found.n_heads, found.d_head) == ("held", 2, 4, 8)
    assert torch.equal(found.logits(IDS), m.logits(IDS))
    assert found.unembedding is found.embedding
    assert not any(w.requires_grad for w in (found.embedding, found.layer(1).W_gate))
    assert found.encode("ab<|end|>b") == [3, 0, 2]
    assert found.decode([3, 0, 2]) == "ab<|end|>b"


def test_quantized_weights_are_decoded(tmp_path):
    found = read_gguf(write(tmp_path / "held.gguf", quantized=True))
    apart = (found.embedding - m.embedding).abs().max()
    assert 0 < apart < m.embedding.abs().max() / 8
    assert found.embedding.dtype == torch.float32


def test_a_file_is_decoded_once(tmp_path, monkeypatch, store):
    path = write(tmp_path / "held.gguf")
    first = read_gguf(path)
    monkeypatch.setattr(reading, "_decode", None)
    again = read_gguf(path)
    assert torch.equal(first.logits(IDS), again.logits(IDS))
    assert again.encode("ab") == [3]
    assert [p.name for p in store.iterdir()] == ["held.safetensors"]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:200], lambda b: b"", lambda b: b[::-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])],
)
def test_what_is_damaged_is_said_and_decoded_again(tmp_path, store, damage):
    path = write(tmp_path / "held.gguf")
    first = read_gguf(path).logits(IDS)
    kept = store / "held.safetensors"
    kept.write_bytes(damage(kept.read_bytes()))
    with pytest.warns(StoreWarning, match=r"held\.safetensors is damaged"):
        assert torch.equal(read_gguf(path).logits(IDS), first)
    assert torch.equal(read_gguf(path).logits(IDS), first)


def test_another_file_of_that_name_is_decoded_anew(tmp_path):
    path = tmp_path / "held.gguf"
    first = read_gguf(write(path)).embedding.clone()
    path.unlink()
    assert not torch.equal(read_gguf(write(path, quantized=True)).embedding, first)


def test_a_store_that_cannot_be_written_is_done_without(tmp_path, store):
    store.parent.mkdir()
    store.write_text("no folder")
    found = read_gguf(write(tmp_path / "held.gguf"))
    assert torch.equal(found.logits(IDS), m.logits(IDS))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"arch": "mamba"}, "its general.architecture is 'mamba', and only 'llama' is known here"),
        ({"tokenizer": "llama"}, "its tokenizer.ggml.model is 'llama'"),
        ({"tokenizer__ggml__add_bos_token": True}, "add_bos_token = True is not known here"),
    ],
)
def test_what_is_not_known_is_said(tmp_path, changed, said):
    path = write(tmp_path / "held.gguf", **changed)
    with pytest.raises(InputError, match=said):
        read_gguf(path)


def test_a_file_that_is_none_is_said(tmp_path):
    path = tmp_path / "held.gguf"
    with pytest.raises(InputError, match="there is no such file"):
        read_gguf(path)
    path.write_bytes(b"no such thing at all, and quite long enough")
    with pytest.raises(InputError, match="it is no GGUF file"):
        read_gguf(path)
    with pytest.raises(InputError, match="it is no GGUF file"):
        lm.load(str(path))
