"""Which edges between the heads of a circuit carry a behaviour: each by a linear estimate, and as
few as needed by patching (edge pruning).

An *edge* goes from a head to what reads what it writes: another head of the circuit, the MLP of a
layer, or the logits. Heads outside of the circuit write what they do in the corrupted run. Where
an edge is cut, its reader reads of that head what it writes in the corrupted run, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.lm.patching import Edit, Patching, together

Head: TypeAlias = tuple[int, int]
"""A layer's number, and the head's."""

Reader: TypeAlias = Head | int | None
"""A head; the MLP of a layer; or, as ``None``, the logits."""

Edge: TypeAlias = tuple[Head, Reader]


def name_of(part: Reader) -> str:
    """A reader for people: ``"9.3"``, ``"MLP 4"`` or ``"logits"``; heads count from 1."""
    if part is None:
        return "logits"
    return f"MLP {part}" if isinstance(part, int) else f"{part[0]}.{part[1] + 1}"


class Edges:
    """The edges of a circuit of heads.

    Args:
        of: clean and corrupted runs.
        heads: the circuit's.

    Attributes:
        edges: all of them.

    Raises:
        InputError: if there is no such head.
    """

    def __init__(self, of: Patching, heads: Iterable[Head]):
        m = of.m
        self.of, self.m, self.heads = of, m, sorted(set(heads))
        for k, h in self.heads:
            if k not in range(m.n_layers) or h not in range(m.n_heads):
                raise InputError(
                    f"heads = {(k, h)} is not allowed: layers are 0 to {m.n_layers - 1}, heads 0 "
                    f"to {m.n_heads - 1}."
                )
        readers: list[Reader] = [*self.heads, *range(m.n_layers), None]
        self.edges: list[Edge] = [(s, r) for r in readers for s in self.heads if _before(s, r)]

    def effect(self, kept: Iterable[Edge]) -> Float[Tensor, "n"]:
        """The effect that is left of a clean run if only these edges carry what they do there."""
        left = set(kept)
        cut: dict[Reader, list[Head]] = {}
        for sender, reader in self.edges:
            if (sender, reader) not in left:
                cut.setdefault(reader, []).append(sender)

        def less(reader: Reader, x: Tensor, written: Mapping[Head, Tensor]) -> Tensor:
            return x - sum(written[sender] for sender in cut[reader])

        with torch.no_grad():
            return self._run(less, set(cut))[0]

    @cached_property
    def estimates(self) -> Float[Tensor, "n edges"]:
        """What each edge adds to the effect, by one gradient where all of them carry (edge
        attribution patching, Syed et al., 2023): what the head writes more than in the corrupted
        run, times the gradient at what its reader reads. It is exact where the model is linear."""
        readers = {reader for _, reader in self.edges}
        nothing = torch.zeros_like(self.of.clean["resid.0"])
        moved = {reader: nothing.clone().requires_grad_() for reader in readers}
        with torch.enable_grad():
            effect, written = self._run(lambda reader, x, _: x + moved[reader], readers)
            found = torch.autograd.grad(effect.sum(), [*moved.values()])  # prompts do not meet
        gradients = dict(zip(moved, found, strict=True))
        edges = [(written[s].detach() * gradients[r]).sum((1, 2)) for s, r in self.edges]
        return torch.stack(edges, 1)

    @property
    def ranked(self) -> list[Edge]:
        """All edges, those whose estimate is largest in size first, in the mean over prompts."""
        order = self.estimates.mean(0).abs().argsort(descending=True, stable=True)
        return [self.edges[i] for i in order.tolist()]

    def fewest(self, ranked: Sequence[Edge], least: float) -> list[Edge]:
        """The first edges of a ranking that keep an effect of ``least`` in the mean, as few as
        halving the interval finds; all where none do."""
        low, high = 0, len(ranked)
        while low < high:
            half = (low + high) // 2
            if float(self.effect(ranked[:half]).mean()) >= least:
                high = half
            else:
                low = half + 1
        return list(ranked[:high])

    def pruned(self, kept: Sequence[Edge], least: float, tries: int) -> list[Edge]:
        """Edges one by one from the last: each is dropped without which the effect stays at
        ``least`` in the mean (as ACDC does, Conmy et al., 2023).

        Args:
            kept: edges, the one that matters least last.
            least: an effect.
            tries: how many are tried, each by a run.
        """
        left = list(kept)
        for edge in kept[::-1][:tries]:
            fewer = [other for other in left if other != edge]
            if float(self.effect(fewer).mean()) >= least:
                left = fewer
        return left

    def _run(
        self, read: Callable[[Reader, Tensor, Mapping[Head, Tensor]], Tensor], changed: set[Reader]
    ) -> tuple[Tensor, dict[Head, Tensor]]:
        """The effect of a run in which some readers read another stream, and what each head writes
        more than in the corrupted run."""
        m, written, stream = self.m, dict[Head, Tensor](), dict[str, Tensor]()

        def noted(name: str) -> Edit:
            def edit(x: Tensor) -> Tensor:
                stream[name] = x
                return x

            return edit

        def heads(k: int) -> Edit:
            W = m.blocks[k].out.W.unflatten(1, (m.n_heads, m.d_head))

            def edit(x: Tensor) -> Tensor:
                old = self.of.corrupted[f"heads.{k}"]
                new = old.clone()
                for head in (one for one in self.heads if one[0] == k):
                    h = head[1]
                    value = x[:, :, h]
                    if head in changed:
                        value = head_of(m, k, h, read(head, stream["resid"], written))
                    new[:, :, h] = value
                    written[head] = (value - old[:, :, h]) @ W[:, h].T
                return new

            return edit

        def mlp(k: int) -> Edit:
            return lambda x: m.blocks[k].before_mlp(read(k, stream["mid"], written))

        edits: dict[str, Edit] = {}
        for k in range(m.n_layers):
            edits |= {f"resid.{k}": noted("resid"), f"heads.{k}": heads(k)}
            if k in changed:
                edits |= {f"mid.{k}": noted("mid"), f"mlp_in.{k}": mlp(k)}
        if None in changed:
            edits[self.of.last] = lambda x: read(None, x, written)
        edit = together(edits, self.of.edit)
        run = m.run(self.of.pairs.clean, keep=(self.of.last,), edit=edit, until=self.of.last)
        return self.of.share(run), written


def _before(sender: Head, reader: Reader) -> bool:
    """Whether the reader comes after the sender in the pass."""
    if reader is None:
        return True
    return sender[0] <= reader if isinstance(reader, int) else sender[0] < reader[0]


def head_of(
    m: Any, k: int, h: int, x: Float[Tensor, "n pos d_model"]
) -> Float[Tensor, "n pos d_head"]:
    """What one head of a layer gives for a residual stream, before ``W_O``."""
    block = m.blocks[k]
    group = m.n_heads * m.d_head // len(block.key.W)
    x = block.before_attention(x)
    q, key, v = (
        _part(linear, i, m.d_head, x)[:, None]
        for linear, i in ((block.query, h), (block.key, h // group), (block.value, h // group))
    )
    if m.rotary is not None:
        q, key = m.rotary(q), m.rotary(key)
    return F.scaled_dot_product_attention(q, key, v, is_causal=True)[:, 0]


def _part(linear: Any, i: int, size: int, x: Tensor) -> Tensor:
    rows = slice(i * size, (i + 1) * size)
    return F.linear(x, linear.W[rows], None if linear.b is None else linear.b[rows])
