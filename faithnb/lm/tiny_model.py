"""A small random language model, for tests and for looking at how a pass works."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from faithnb.data.rng import Stream
from faithnb.lm.model import LanguageModel
from faithnb.lm.parts import Block, Linear, Norm, Rotary
from faithnb.model.mlp import SwiGLU


@dataclass(frozen=True)
class Bytes:
    """Each byte of a text is a token, modulo the size of the vocabulary."""

    d_vocab: int

    def encode(self, text: str) -> list[int]:
        """The bytes."""
        return [byte % self.d_vocab for byte in text.encode()]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these bytes."""
        return bytes(i % 256 for i in ids).decode(errors="replace")


def frequencies(d_head: int, base: float) -> Tensor:
    """Radians a position of each plane of a head: ``base ** (-2 i / d_head)``."""
    return base ** -(torch.arange(0, d_head, 2, dtype=torch.float64) / d_head)


def tiny(
    seed: int = 0,
    n_layers: int = 3,
    d_model: int = 32,
    n_heads: int = 4,
    n_kv_heads: int = 2,
    d_mlp: int = 48,
    d_vocab: int = 101,
) -> LanguageModel:
    """A model of random weights, of SmolLM2's architecture.

    Args:
        seed: of its weights.
        n_layers: blocks.
        d_model: width of the residual stream.
        n_heads: a block's heads.
        n_kv_heads: how many of them have keys and values of their own.
        d_mlp: an MLP's neurons.
        d_vocab: tokens.
    """
    stream, d_head = Stream([seed], "init"), d_model // n_heads
    drawn = iter(range(10_000))

    def random(*shape: int) -> Tensor:
        return stream.normal(next(drawn), shape)[0] / shape[-1] ** 0.5

    def norm() -> Norm:
        return Norm(1 + random(1, d_model)[0], 1e-5)

    def block(k: int) -> Block:
        return Block(
            before_attention=norm(),
            query=Linear(random(d_model, d_model)),
            key=Linear(random(n_kv_heads * d_head, d_model)),
            value=Linear(random(n_kv_heads * d_head, d_model)),
            out=Linear(random(d_model, d_model)),
            before_mlp=norm(),
            mlp=SwiGLU(
                random(d_mlp, d_model), random(d_mlp, d_model), random(d_model, d_mlp), f"mlp.{k}"
            ),
        )

    return LanguageModel(
        name="tiny", tokenizer=Bytes(d_vocab), d_head=d_head,
        embedding=random(d_vocab, d_model) * d_model**0.5,
        blocks=[block(k) for k in range(n_layers)], final_norm=norm(),
        rotary=Rotary(frequencies(d_head, 1e4), interleaved=True),
    )  # fmt: skip
