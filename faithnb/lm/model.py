"""A transformer's pass in plain torch, with every site of it open to look at and to edit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.common.errors import InputError, shown
from faithnb.lm.parts import Block, Linear, Norm, Rotary, pattern
from faithnb.lm.visit import Edit, Stop, Visit
from faithnb.model.layer import Layer

Ids = Int[Tensor, "batch pos"] | list[int]


class Tokenizer(Protocol):
    """Text as tokens."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Iterable[int]) -> str: ...


class LanguageModel:
    """A decoder-only transformer, read from somebody's weights.

    Sites, in the order of the pass: of block k ``resid.{k}``, its input; ``attn_in.{k}``,
    normalised; ``pattern.{k}`` ``[batch head query key]``; ``heads.{k}`` ``[batch pos head
    d_head]``, before ``W_O``; ``attn_out.{k}``; ``mid.{k}``, the stream after attention;
    ``mlp_in.{k}``, normalised; ``mlp_out.{k}``. ``resid.{n_layers}`` is the last. All others are
    ``[batch pos d_model]``.

    Args:
        name: whose weights.
        tokenizer: text as tokens.
        d_head: width of a head.
        embedding: a row a token.
        blocks: in order.
        final_norm: before the logits.
        unembedding: a row a token; without it the embedding.
        rotary: how positions are told.
        positions: or a row for each position.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        d_head: int,
        embedding: Float[Tensor, "d_vocab d_model"],
        blocks: Iterable[Block],
        final_norm: Norm,
        unembedding: Float[Tensor, "d_vocab d_model"] | None = None,
        rotary: Rotary | None = None,
        positions: Float[Tensor, "n_ctx d_model"] | None = None,
    ):
        self.name, self.tokenizer, self.d_head = name, tokenizer, d_head
        self.embedding, self.blocks, self.final_norm = embedding, tuple(blocks), final_norm
        self.unembedding = embedding if unembedding is None else unembedding
        self.rotary, self.positions = rotary, positions
        self.d_vocab, self.d_model = embedding.shape
        self.n_layers = len(self.blocks)
        self.n_heads = self.blocks[0].query.W.shape[0] // d_head

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.embedding.device

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Self:
        """The same on another device, or in another precision."""
        moved: Self = _moved(self, device, dtype)
        if self.unembedding is self.embedding:
            moved.unembedding = moved.embedding
        return moved

    def encode(self, text: str) -> list[int]:
        """A text's tokens; none is added."""
        return self.tokenizer.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens."""
        return self.tokenizer.decode(ids)

    def layer(self, k: int) -> Layer:
        """MLP k: from its normalised input, ``mlp_in.{k}``, to ``mlp_out.{k}``.

        Raises:
            InputError: if there is no block k.
        """
        if k not in range(self.n_layers):
            raise InputError(
                f"layer = {shown(k)} is not allowed: {self.name} has layers 0 to "
                f"{self.n_layers - 1}."
            )
        return self.blocks[k].mlp

    @property
    def sites(self) -> list[str]:
        """Their names, in the order of the pass."""
        of_a_block = "resid", "attn_in", "pattern", "heads", "attn_out", "mid", "mlp_in", "mlp_out"
        inside = [f"{site}.{k}" for k in range(self.n_layers) for site in of_a_block]
        return [*inside, f"resid.{self.n_layers}"]

    def logits(self, ids: Ids) -> Float[Tensor, "batch pos d_vocab"]:
        """What it predicts after each position.

        Args:
            ids: tokens, or those of one text as :meth:`encode` gives them.

        Raises:
            InputError: as :meth:`run`.
        """
        found = self.run(ids).logits
        assert found is not None
        return found

    def next_token_loss(self, ids: Ids) -> Float[Tensor, "batch pos_less_1"]:
        """Nats for each token but the first.

        Args:
            ids: as for :meth:`logits`.

        Raises:
            InputError: as :meth:`run`.
        """
        ids, last = self._checked(ids).to(self.device), f"resid.{self.n_layers}"
        stream = self.run(ids, keep=(last,), until=last)[last]
        losses = [  # one row's logits at a time: they are far larger than the rest
            F.cross_entropy(self.unembed(row[:-1]), of[1:].long(), reduction="none")
            for row, of in zip(stream, ids, strict=True)
        ]
        return torch.stack(losses)

    def unembed(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """The logits of the last residual stream."""
        return F.linear(self.final_norm(x), self.unembedding)

    def run(
        self,
        ids: Ids,
        keep: Iterable[str] = (),
        edit: Mapping[str, Edit] | None = None,
        until: str | None = None,
        start: tuple[int, Float[Tensor, "batch pos d_model"]] | None = None,
    ) -> Run:
        """One pass. Gradients are recorded if torch records them and an edit brings some in.

        Args:
            ids: as for :meth:`logits`.
            keep: sites whose activations the run holds, as edited, within the graph.
            edit: what is done to the activation at a site, on which everything after it depends.
            until: the site after which the pass ends, without logits.
            start: a block and its input; the pass begins there.

        Raises:
            InputError: if a token or a site does not exist, or comes before ``start`` or after
                ``until``, or an edit changes a shape.
        """
        first, x = (0, None) if start is None else start
        ids = self._checked(ids)
        self.layer(first)
        at = Visit(self.sites, tuple(keep), dict(edit or {}), until, first)
        try:
            x = self._embed(ids.to(self.device).long()) if x is None else x
            for k in range(first, self.n_layers):
                x = self._through(k, at(f"resid.{k}", x), at)
            return Run(self.unembed(at(f"resid.{self.n_layers}", x)), at.kept)
        except Stop:
            return Run(None, at.kept)

    def _embed(self, ids: Tensor) -> Tensor:
        x = F.embedding(ids, self.embedding)
        return x if self.positions is None else x + self.positions[: ids.shape[1]]

    def _through(self, k: int, x: Tensor, at: Visit) -> Tensor:
        block = self.blocks[k]
        heads = self._heads(k, at(f"attn_in.{k}", block.before_attention(x)), at)
        attended = at(f"attn_out.{k}", block.out(heads.flatten(-2)))
        x = at(f"mid.{k}", x + attended)
        return x + at(f"mlp_out.{k}", block.mlp(at(f"mlp_in.{k}", block.before_mlp(x))))

    def _heads(self, k: int, x: Tensor, at: Visit) -> Float[Tensor, "batch pos head d_head"]:
        block = self.blocks[k]
        q, key, v = (
            of(x).unflatten(-1, (-1, self.d_head)).transpose(1, 2)
            for of in (block.query, block.key, block.value)
        )
        if self.rotary is not None:
            q, key = self.rotary(q), self.rotary(key)
        group = self.n_heads // key.shape[1]
        key, v = (of.repeat_interleave(group, 1) if group > 1 else of for of in (key, v))
        if at.wants(f"pattern.{k}"):
            heads = at(f"pattern.{k}", pattern(q, key)) @ v
        else:
            heads = F.scaled_dot_product_attention(q, key, v, is_causal=True)
        return at(f"heads.{k}", heads.transpose(1, 2))

    def _checked(self, ids: Ids) -> Int[Tensor, "batch pos"]:
        if isinstance(ids, list) and ids and all(type(i) is int for i in ids):
            ids = torch.tensor([ids])
        if (
            not isinstance(ids, Tensor)
            or ids.ndim != 2
            or ids.is_floating_point()
            or ids.numel() == 0
            or ids.min() < 0
            or ids.max() >= self.d_vocab
        ):
            raise InputError(
                f"ids = {shown(ids)} is not allowed: it must be a tensor of shape [batch, pos] of "
                f"whole numbers from 0 to {self.d_vocab - 1}, or a list of them."
            )
        if self.positions is not None and ids.shape[1] > len(self.positions):
            raise InputError(
                f"ids of shape {list(ids.shape)} are not allowed: {self.name} knows "
                f"{len(self.positions)} positions."
            )
        return ids


@dataclass(frozen=True, eq=False)
class Run:
    """What a pass gave.

    Attributes:
        logits: after each position, unless it ended before.
        kept: activations by site.
    """

    logits: Float[Tensor, "batch pos d_vocab"] | None
    kept: dict[str, Tensor]

    def __getitem__(self, site: str) -> Tensor:
        return self.kept[site]


def _moved(held: Any, device: torch.device | None, dtype: torch.dtype | None) -> Any:
    if isinstance(held, Tensor):
        return held.to(device=device, dtype=dtype)
    if isinstance(held, tuple):
        return tuple(_moved(one, device, dtype) for one in held)
    if isinstance(held, LanguageModel | Block | Layer | Linear | Norm | Rotary):
        moved = copy(held)
        for name, value in vars(held).items():
            setattr(moved, name, _moved(value, device, dtype))
        return moved
    return held
