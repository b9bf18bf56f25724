"""Language models of Hugging Face, through transformers: Llama's architecture and GPT-2's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.lm.errors import Unavailable
from faithnb.lm.model import LanguageModel
from faithnb.lm.parts import Block, Linear, Norm, Rotary
from faithnb.model.mlp import GeluMLP, SwiGLU

PLAIN_ROTARY = ("default", "linear", "llama3")
"""Ways to tell positions in which the frequencies do not depend on the text's length."""

TANH = {"gelu_new": True, "gelu_pytorch_tanh": True, "gelu": False}


class OfTransformers:
    """Its tokenizer, which adds no token.

    Args:
        name: of the model, for messages.
        tokenizer: transformers'; ``None`` if the model has none.
    """

    def __init__(self, name: str, tokenizer: Any):
        self.name, self.tokenizer = name, tokenizer

    def _own(self) -> Any:
        if self.tokenizer is None:
            raise InputError(f"text is not allowed: {self.name} comes without a tokenizer.")
        return self.tokenizer

    def encode(self, text: str) -> list[int]:
        """A text's tokens.

        Raises:
            InputError: if the model comes without a tokenizer.
        """
        found: list[int] = self._own()(text, add_special_tokens=False)["input_ids"]
        return found

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens.

        Raises:
            InputError: if the model comes without a tokenizer.
        """
        found: str = self._own().decode(
            [int(i) for i in ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return found


def read_huggingface(name: str) -> LanguageModel:
    """A model by its name on the hub, or from a local folder, in float32.

    Args:
        name: as transformers takes it.

    Raises:
        Unavailable: if transformers is not installed, or cannot have the model.
        InputError: if its architecture is not known here.
    """
    try:
        transformers = import_module("transformers")
    except ImportError:
        raise Unavailable(
            f"model = {name!r} cannot be had: transformers is not installed (pip install "
            "transformers)."
        ) from None
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0].rstrip(".")
        raise Unavailable(f"model = {name!r} cannot be had: {why}.") from error
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError):
        tokenizer = None
    return of_transformers(model, tokenizer, name)


def of_transformers(model: Any, tokenizer: Any = None, name: str | None = None) -> LanguageModel:
    """A model of transformers as one of ours, with the same weights.

    Args:
        model: with a head for language modelling.
        tokenizer: transformers'.
        name: for tables; by default what the model says.

    Raises:
        InputError: if its architecture is not known here.
    """
    kind = model.config.model_type
    name = name or getattr(model, "name_or_path", "") or kind
    if kind not in READ:
        known = ", ".join(map(repr, READ))
        raise InputError(
            f"model = {name!r} is not allowed: its architecture is {kind!r}, and known are {known}."
        )
    if why := next(_unlike(model.config), None):
        raise InputError(f"model = {name!r} is not allowed: its {why} is not known here.")
    model = model.eval()
    return LanguageModel(name=name, tokenizer=OfTransformers(name, tokenizer), **READ[kind](model))


CHANGING = {
    "mlp_bias": False, "sliding_window": None, "hidden_act": "silu", "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
}  # fmt: skip
"""What would change the pass, and what it must be if a configuration says it."""


def _unlike(config: Any) -> Iterator[str]:
    for key, wanted in CHANGING.items():
        unused = key == "sliding_window" and not getattr(config, "use_sliding_window", True)
        if (said := getattr(config, key, wanted)) != wanted and not unused:
            yield f"{key} = {said!r}"
    act = getattr(config, "activation_function", "gelu_new")
    if act not in TANH:
        yield f"activation_function = {act!r}"


def _of_llama(model: Any) -> dict[str, Any]:
    inside, config = model.model, model.config
    rotary, eps = inside.rotary_emb, config.rms_norm_eps
    if rotary.rope_type not in PLAIN_ROTARY or rotary.attention_scaling != 1:
        raise InputError(
            f"the model is not allowed: its rotary embedding {rotary.rope_type!r} is not known "
            "here."
        )
    blocks = [
        Block(
            before_attention=_norm(of.input_layernorm, eps),
            query=_linear(of.self_attn.q_proj), key=_linear(of.self_attn.k_proj),
            value=_linear(of.self_attn.v_proj), out=_linear(of.self_attn.o_proj),
            before_mlp=_norm(of.post_attention_layernorm, eps),
            mlp=SwiGLU(
                _own(of.mlp.gate_proj.weight), _own(of.mlp.up_proj.weight),
                _own(of.mlp.down_proj.weight), f"mlp.{k}",
            ),
        )
        for k, of in enumerate(inside.layers)
    ]  # fmt: skip
    return {
        "d_head": inside.layers[0].self_attn.head_dim,
        "embedding": _own(inside.embed_tokens.weight),
        "blocks": blocks,
        "final_norm": _norm(inside.norm, eps),
        "unembedding": _head(model, inside.embed_tokens),
        "rotary": Rotary(_own(rotary.inv_freq).double(), interleaved=False),
    }


def _of_gpt2(model: Any) -> dict[str, Any]:
    inside, config = model.transformer, model.config
    eps, d = config.layer_norm_epsilon, config.n_embd
    blocks = []
    for k, of in enumerate(inside.h):
        W, b = _own(of.attn.c_attn.weight).T, _own(of.attn.c_attn.bias)
        q, key, v = (Linear(W[i : i + d], b[i : i + d]) for i in (0, d, 2 * d))
        blocks.append(Block(
            before_attention=_norm(of.ln_1, eps),
            query=q, key=key, value=v,
            out=Linear(_own(of.attn.c_proj.weight).T, _own(of.attn.c_proj.bias)),
            before_mlp=_norm(of.ln_2, eps),
            mlp=GeluMLP(
                _own(of.mlp.c_fc.weight).T, _own(of.mlp.c_fc.bias),
                _own(of.mlp.c_proj.weight).T, _own(of.mlp.c_proj.bias),
                tanh=TANH[config.activation_function], name=f"mlp.{k}",
            ),
        ))  # fmt: skip
    return {
        "d_head": d // config.n_head,
        "embedding": _own(inside.wte.weight),
        "blocks": blocks,
        "final_norm": _norm(inside.ln_f, eps),
        "unembedding": _head(model, inside.wte),
        "positions": _own(inside.wpe.weight),
    }


READ = {"llama": _of_llama, "mistral": _of_llama, "qwen2": _of_llama, "gpt2": _of_gpt2}
"""What reads an architecture, by transformers' name of it."""


def _own(weight: Tensor) -> Tensor:
    return weight.detach().float()


def _linear(module: Any) -> Linear:
    return Linear(_own(module.weight), None if module.bias is None else _own(module.bias))


def _norm(module: Any, eps: float) -> Norm:
    bias = getattr(module, "bias", None)
    return Norm(_own(module.weight), eps, None if bias is None else _own(bias))


def _head(model: Any, embedding: Any) -> Tensor | None:
    """``None`` if it is the embedding."""
    return None if model.lm_head.weight is embedding.weight else _own(model.lm_head.weight)
