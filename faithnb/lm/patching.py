"""Which parts of a language model matter: activations of a clean run put into a corrupted one.

A *site* is a place in the model, such as ``"mlp_out.3"``, see
:class:`faithnb.lm.model.LanguageModel`.
An effect is what a patch recovers of a prompt's logit difference, relative to the mean difference
between clean and corrupted runs: 0 is the corrupted run, and the clean ones have 1 on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.lm.prompts import Pairs

Edit: TypeAlias = Callable[[Tensor], Tensor]
Edits: TypeAlias = Mapping[str, Edit]

Kind = Literal["resid", "attn_out", "mlp_out", "heads"]
KINDS: tuple[Kind, ...] = ("resid", "attn_out", "mlp_out", "heads")


def layer_of(site: str) -> int:
    """The number of a site's layer."""
    return int(site.split(".")[1])


def put(value: Tensor, position: int | None = None, head: int | None = None) -> Edit:
    """An edit that puts a value in: whole, or at one position, or of one head."""

    def edit(x: Tensor) -> Tensor:
        if position is None and head is None:
            return value.expand_as(x)
        where: list[Any] = [slice(None), slice(None) if position is None else position]
        if head is not None:
            where.append(head)
        x = x.clone()
        x[tuple(where)] = value.expand_as(x)[tuple(where)]
        return x

    return edit


def together(*edits: Edits) -> dict[str, Edit]:
    """Several edits as one; where they meet at a site, the later ones come after the earlier."""
    found: dict[str, Edit] = {}
    for one in edits:
        for site, edit in one.items():
            found[site] = _after(found[site], edit) if site in found else edit
    return found


def _after(first: Edit, then: Edit) -> Edit:
    return lambda x: then(first(x))


class Patching:
    """Clean and corrupted runs of some prompts, and what patches between them do.

    Args:
        m: the language model.
        pairs: the prompts.
        edit: what is changed in every run, such as an MLP that a transcoder stands for; see
            :func:`faithnb.lm.replaced.replaced`.
    """

    def __init__(self, m: Any, pairs: Pairs, edit: Edits | None = None):
        self.m, self.pairs, self.edit = m, pairs, dict(edit or {})
        self.sites = [f"{kind}.{k}" for kind in KINDS for k in range(m.n_layers)]
        self.last = f"resid.{m.n_layers}"
        self.clean, self.corrupted = (self._run(ids, {}) for ids in (pairs.clean, pairs.corrupted))
        self.high, self.low = (self._difference(run) for run in (self.clean, self.corrupted))

    def effect(self, edits: Edits) -> Float[Tensor, "n"]:
        """The share of the logit difference that a corrupted run with these edits recovers."""
        return self.share(self._run(self.pairs.corrupted, edits, self.corrupted, (self.last,)))

    def share(self, run: Any) -> Float[Tensor, "n"]:
        """The same of a run, by its last residual stream."""
        return (self._difference(run) - self.low) / (self.high - self.low).mean()

    def _run(self, ids: Tensor, edits: Edits, like: Any = None, keep: Sequence[str] = ()) -> Any:
        """A run with edits; from their first layer on, if it is like another before that."""
        edit = together(self.edit, edits)
        start = None
        if like is not None:
            first = min(layer_of(site) for site in edits)
            start = (first, like[f"resid.{first}"])
            edit = {site: one for site, one in edit.items() if layer_of(site) >= first}
            if (begin := f"resid.{first}") in self.edit:  # which the other has seen already
                edit[begin] = edits.get(begin, lambda x: x)
        keep = keep or (*self.sites, self.last)
        with torch.no_grad():
            return self.m.run(ids, keep=keep, edit=edit, until=self.last, start=start)

    def _difference(self, run: Any) -> Float[Tensor, "n"]:
        """The logit difference after the last token."""
        return self.pairs.difference(self.m.unembed(run[self.last][:, -1:]))

    def patch(
        self, site: str, position: int | None = None, head: int | None = None
    ) -> Float[Tensor, "n"]:
        """The effect of a site's clean activation: whole, at one position, or of one head."""
        if site not in self.sites:
            raise InputError(
                f"site = {site!r} is not allowed: it must be one of "
                f"{', '.join(f'{kind}.0' for kind in KINDS)}, and so on for each layer."
            )
        return self.effect({site: put(self.clean[site], position, head)})

    def by_position(
        self, kind: Kind, layers: Sequence[int] | None = None
    ) -> Float[Tensor, "n layers pos"]:
        """The effect of each layer at each position; exactly 0 before the prompts differ."""
        layers = self._layers(layers)
        found = torch.zeros(len(layers), self.pairs.clean.shape[1], len(self.pairs))
        for row, k in enumerate(layers):
            for at in range(self.pairs.first_change, found.shape[1]):
                found[row, at] = self.patch(f"{kind}.{k}", position=at)
        return found.movedim(-1, 0)

    def by_head(self, layers: Sequence[int] | None = None) -> Float[Tensor, "n layers head"]:
        """The effect of each head at all positions."""
        heads = range(self.m.n_heads)
        rows = [
            torch.stack([self.patch(f"heads.{k}", head=h) for h in heads], -1)
            for k in self._layers(layers)
        ]
        return torch.stack(rows, 1)

    def by_layer(
        self, kind: Kind, layers: Sequence[int] | None = None
    ) -> Float[Tensor, "n layers"]:
        """The effect of each layer at all positions."""
        return torch.stack([self.patch(f"{kind}.{k}") for k in self._layers(layers)], -1)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """∂(logit difference)/∂(activation) at the corrupted run, by site."""
        start = {"resid.0": lambda x: x.detach().requires_grad_()}
        with torch.enable_grad():
            keep, edit = (*self.sites, self.last), together(self.edit, start)
            run = self.m.run(self.pairs.corrupted, keep=keep, edit=edit, until=self.last)
            logits = self.m.unembed(run[self.last][:, -1:])
            total = self.pairs.difference(logits).sum()  # prompts do not meet
            moved = [site for site in self.sites if run[site].requires_grad]  # others are constants
            found = torch.autograd.grad(total, [run[site] for site in moved])
        still = {site: torch.zeros_like(run[site]) for site in self.sites}
        return still | dict(zip(moved, found, strict=True))

    def attribution(
        self, kind: Kind, layers: Sequence[int] | None = None
    ) -> Float[Tensor, "n layers pos ..."]:
        """The linear estimate of every patch of a kind by one gradient (Nanda, "Attribution
        patching", 2023), over positions, and for ``"heads"`` over heads besides."""
        estimates = []
        for k in self._layers(layers):
            site = f"{kind}.{k}"
            change = self.clean[site] - self.corrupted[site]
            estimates.append((change * self.gradients[site]).sum(-1))
        return torch.stack(estimates, 1) / (self.high - self.low).mean()

    def estimated(self, without: int | None = None) -> Float[Tensor, "parts"]:
        """The estimated effects of all heads and all MLPs, one after the other, means over prompts.

        Args:
            without: a layer whose MLP is left out, as one that is replaced.
        """
        mlps = [k for k in range(self.m.n_layers) if k != without]
        heads = self.attribution("heads").sum(2).mean(0).flatten()
        return torch.cat([heads, self.attribution("mlp_out", mlps).sum(2).mean(0)])

    def path(
        self, sender: str, receiver: str | None, head: int | None = None
    ) -> Float[Tensor, "n"]:
        """The effect of a sender's clean activation by one path alone (path patching, Wang et al.,
        2022): to a receiver, with every other part as in the corrupted run, and on from there.

        Args:
            sender: a site, such as ``"heads.9"``.
            receiver: an ``attn_out`` or ``mlp_out`` behind it; ``None`` for the logits.
            head: of the sender.
        """
        first = layer_of(sender) + sender.startswith("mlp_out")
        behind = [f"{kind}.{k}" for k in range(first, self.m.n_layers)
                  for kind in ("attn_out", "mlp_out")]  # fmt: skip
        behind = behind[sender.startswith("attn_out") :]
        if receiver is not None and receiver not in behind:
            raise InputError(
                f"receiver = {receiver!r} is not allowed: it must be an attn_out or mlp_out behind "
                f"{sender}, or None for the logits."
            )
        own = f"attn_out.{layer_of(sender)}" if sender.startswith("heads") else None
        passing = {receiver, own}  # what a head writes is on its way, not behind it
        frozen = {site: put(self.corrupted[site]) for site in behind if site not in passing}
        sent = together(frozen, {sender: put(self.clean[sender], head=head)})
        run = self._run(
            self.pairs.corrupted, sent, self.corrupted, (receiver or self.last, self.last)
        )
        if receiver is None:
            return self.share(run)
        return self.effect({receiver: put(run[receiver])})

    def paths(self, layer: int, head: int) -> dict[str, Float[Tensor, "n"]]:
        """A head's effect, and what of it goes by single paths: straight to the logits, and by one
        later attention or one MLP, summed over these. Paths that meet more than one are in none."""
        site, none = f"heads.{layer}", torch.zeros(len(self.pairs))
        later = {"attn_out": range(layer + 1, self.m.n_layers),
                 "mlp_out": range(layer, self.m.n_layers)}  # fmt: skip
        through = {
            kind: sum((self.path(site, f"{kind}.{k}", head) for k in behind), none)
            for kind, behind in later.items()
        }
        return {
            "effect": self.patch(site, head=head), "directly": self.path(site, None, head),
            "by one later attention": through["attn_out"], "by one MLP": through["mlp_out"],
        }  # fmt: skip

    def kept(self, heads: Iterable[tuple[int, int]]) -> Float[Tensor, "n"]:
        """The effect that is left of a clean run if only these heads, pairs of layer and head, are
        as there and all others as in the corrupted run."""
        kept = set(heads)
        edits: dict[str, Edit] = {}
        for k in range(self.m.n_layers):
            others = [h for h in range(self.m.n_heads) if (k, h) not in kept]
            one = [{f"heads.{k}": put(self.corrupted[f"heads.{k}"], head=h)} for h in others]
            edits = together(edits, *one)
        return self.share(self._run(self.pairs.clean, edits, keep=(self.last,)))

    def _layers(self, layers: Sequence[int] | None) -> Sequence[int]:
        return range(self.m.n_layers) if layers is None else layers


def strongest(effects: Float[Tensor, "layers head"], n: int) -> list[tuple[int, int]]:
    """The n heads whose effect is largest in size, as pairs of layer and head."""
    order = effects.abs().flatten().argsort(descending=True)[:n]
    return [divmod(i, effects.shape[1]) for i in order.tolist()]


def map_error(found: Tensor, truth: Tensor) -> float:
    """‖found − truth‖ / ‖truth‖ of two maps of effects: 0 if they are the same, 1 for an empty
    one."""
    return float((found - truth).norm() / truth.norm())
