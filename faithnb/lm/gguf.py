"""A language model from a GGUF file, as llama.cpp reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faithnb.common.errors import InputError, shown
from faithnb.common.files import PACKAGE, digest_of
from faithnb.common.meaning import meaning
from faithnb.lm.fetched import folder
from faithnb.lm.model import LanguageModel
from faithnb.lm.parts import Block, Linear, Norm, Rotary
from faithnb.lm.tiny_model import frequencies
from faithnb.lm.tokenizer import BytePairs
from faithnb.lm.weights import read_weights, write_weights
from faithnb.model.mlp import SwiGLU

CONTROL = 3
"""The type of a token that stands for no text."""


def read_gguf(path: Path) -> LanguageModel:
    """The model of a file.

    To decode a file takes some seconds. So what it says is kept beside the fetched files, in
    float32, and mapped into memory from then on; several processes share it. It is checked by its
    digest whenever it is read, and decoded again if it is damaged.

    Raises:
        InputError: if it is no GGUF file, or of an architecture that is not known here.
    """
    decoded, of = folder() / f"{path.stem}.safetensors", {"of": _key(path)}
    if (held := read_weights(decoded, of)) is None:
        about, tensors = _decode(path)
        with suppress(OSError):  # a store without room: decoded again next time
            write_weights(decoded, tensors, of | {"about": json.dumps(about)})
            held = read_weights(decoded, of)
        if held is None:
            return _model(path.stem, about, tensors)
    return _model(path.stem, json.loads(held[1]["about"]), held[0])


def _key(path: Path) -> str:
    """Of a file's content, and of what decodes it.

    Raises:
        InputError: if there is no such file.
    """
    if not path.is_file():
        raise InputError(f"model = {str(path)!r} is not allowed: there is no such file.")
    sources = ((PACKAGE / "lm" / f"{name}.py").read_bytes() for name in ("gguf", "tokenizer"))
    source = "".join(map(meaning, sources))
    return digest_of(path) + hashlib.sha256(source.encode()).hexdigest()


def _decode(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a file says of the model, and its weights in float32."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{path} is not allowed: it is no GGUF file ({error}).") from None
    said = {name: field.contents() for name, field in reader.fields.items()}
    about = _about(path, said)
    tensors = {}
    for held in reader.tensors:
        weights = np.array(dequantize(held.data, held.tensor_type), np.float32)
        tensors[held.name] = torch.from_numpy(weights)
    return about, tensors


KNOWN = {"general.architecture": ("llama",), "tokenizer.ggml.model": ("gpt2",)}
"""What is read here, of all that GGUF can say."""

PLAIN = ("llama.expert_count", "llama.rope.scaling.type", "tokenizer.ggml.add_bos_token")
"""Keys that would change the pass, or the tokens, if they said anything."""


def _about(path: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the pass and the tokens depend on.

    Raises:
        InputError: if it is not known here.
    """
    for key, allowed in KNOWN.items():
        if said.get(key) not in allowed:
            raise InputError(
                f"{path} is not allowed: its {key} is {shown(said.get(key))}, and only "
                f"{' and '.join(map(repr, allowed))} is known here."
            )
    for key in PLAIN:
        if said.get(key) not in (None, 0, False, "none"):
            raise InputError(
                f"{path} is not allowed: its {key} = {shown(said[key])} is not known here."
            )
    heads = said["llama.attention.head_count"]
    tokens, types = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    tokenizer = BytePairs.of(
        tokens, said["tokenizer.ggml.merges"],
        special=[t for t, of in zip(tokens, types, strict=True) if of == CONTROL],
        digits_alone=said.get("tokenizer.ggml.pre") in ("smollm", "starcoder", "refact"),
    )  # fmt: skip
    return {
        "n_layers": said["llama.block_count"],
        "d_head": said.get("llama.rope.dimension_count", said["llama.embedding_length"] // heads),
        "base": said.get("llama.rope.freq_base", 1e4),
        "eps": said["llama.attention.layer_norm_rms_epsilon"],
        "tokenizer": tokenizer.written(),
    }


def _model(name: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LanguageModel:
    """Rows of queries and keys are permuted in these files, so that planes are neighbours."""
    eps, d_head = about["eps"], about["d_head"]
    return LanguageModel(
        name=name,
        tokenizer=BytePairs.read(about["tokenizer"]),
        d_head=d_head,
        embedding=tensors["token_embd.weight"],
        blocks=list(_blocks(about["n_layers"], eps, tensors)),
        final_norm=Norm(tensors["output_norm.weight"], eps),
        unembedding=tensors.get("output.weight"),
        rotary=Rotary(frequencies(d_head, about["base"]), interleaved=True),
    )


def _blocks(n: int, eps: float, tensors: Mapping[str, Tensor]) -> Iterator[Block]:
    for k in range(n):
        of = {name: tensors.get(f"blk.{k}.{name}.weight") for name in _NAMES}
        if missing := [name for name, weight in of.items() if weight is None]:
            raise InputError(f"the model is not allowed: its block {k} lacks {missing[0]!r}.")
        q, key, v, out, gate, up, down, norm, ffn_norm = (w for w in of.values() if w is not None)
        yield Block(
            before_attention=Norm(norm, eps),
            query=Linear(q), key=Linear(key), value=Linear(v), out=Linear(out),
            before_mlp=Norm(ffn_norm, eps), mlp=SwiGLU(gate, up, down, f"mlp.{k}"),
        )  # fmt: skip


_NAMES = (
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm",
    "ffn_norm",
)  # fmt: skip
