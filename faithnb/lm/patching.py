"""Which parts of a language model matter: activations of a clean run put into a corrupted one.

A *site* is a place in the model, such as ``"mlp_out.3"``, see
:class:`faithnb.lm.model.LanguageModel`.
An effect is what a patch recovers of a prompt's logit difference, relative to the mean difference
between clean and corrupted runs: 0 is the corrupted run, and the clean ones have 1 on average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
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
        own: the same prompts without that edit, from which everything before it is taken.
    """

    def __init__(
        self, m: Any, pairs: Pairs, edit: Edits | None = None, own: Patching | None = None
    ):
        self.m, self.pairs, self.edit, self.own = m, pairs, dict(edit or {}), own
        self.sites = [f"{kind}.{k}" for kind in KINDS for k in range(m.n_layers)]
        self.last = f"resid.{m.n_layers}"
        self.first = 0 if own is None else min(m.n_layers - 1, *map(layer_of, self.edit))
        self._recorded: dict[int, Any] = {}

    @cached_property
    def clean(self) -> Any:
        """The clean run."""
        return self._whole(self.pairs.clean)

    @cached_property
    def corrupted(self) -> Any:
        """The corrupted run."""
        return self._whole(self.pairs.corrupted)

    @cached_property
    def high(self) -> Float[Tensor, "n"]:
        """The logit differences of the clean run."""
        return self._difference(self.clean)

    @cached_property
    def low(self) -> Float[Tensor, "n"]:
        """The logit differences of the corrupted run."""
        return self._difference(self.corrupted)

    def effect(self, edits: Edits) -> Float[Tensor, "n"]:
        """The share of the logit difference that a corrupted run with these edits recovers."""
        return self.share(self._run(edits))

    def share(self, run: Any) -> Float[Tensor, "n"]:
        """The same of a run, by its last residual stream."""
        return (self._difference(run) - self.low) / (self.high - self.low).mean()

    def _whole(self, ids: Tensor, begin: Tensor | None = None) -> Any:
        """A run with nothing but what is changed in all, with what comes before that; from another
        stream there, if one is given."""
        before, start = {}, None
        if self.own is not None:
            same = self.own.clean if ids is self.pairs.clean else self.own.corrupted
            before, start = same.kept, (self.first, same[f"resid.{self.first}"])
        if begin is not None:
            start = self.first, begin
        keep = (*(site for site in self.sites if layer_of(site) >= self.first), self.last)
        with torch.set_grad_enabled(begin is not None):
            run = self.m.run(ids, keep=keep, edit=self.edit, until=self.last, start=start)
        return replace(run, kept=before | run.kept)

    def _run(self, edits: Edits, keep: Sequence[str] = ()) -> Any:
        """A corrupted run with edits, from their first layer on."""
        first = min(map(layer_of, edits))
        edit = together(self.edit, edits)
        edit = {site: one for site, one in edit.items() if layer_of(site) >= first}
        if (begin := f"resid.{first}") in self.edit:  # which the corrupted run has seen already
            edit[begin] = edits.get(begin, lambda x: x)
        start, keep = (first, self.corrupted[begin]), (*keep, self.last)
        with torch.no_grad():
            ids = self.pairs.corrupted
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
        shape = len(layers), self.pairs.clean.shape[1], len(self.pairs)
        found = torch.zeros(shape, device=self.m.device)
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
        begin = self._begin().detach().requires_grad_()
        run = self._whole(self.pairs.corrupted, begin)
        moved = [site for site in self.sites if run[site].requires_grad]  # others are constants
        with torch.enable_grad():
            total = self._difference(run).sum()  # prompts do not meet
            at_begin, *found = torch.autograd.grad(total, [begin, *(run[site] for site in moved)])
        if "corrupted" not in vars(self):
            kept = {site: value.detach() for site, value in run.kept.items()}
            self.corrupted = replace(run, kept=kept)
        still = {site: torch.zeros_like(self.corrupted[site]) for site in self.sites}
        before = {} if self.own is None else self.own._gradients_before(self.first, at_begin)
        return still | before | dict(zip(moved, found, strict=True))

    def _begin(self) -> Tensor:
        """The residual stream that a corrupted run begins with."""
        if self.own is not None:
            return self.own.corrupted[f"resid.{self.first}"]
        return self.m.run(self.pairs.corrupted, keep=("resid.0",), until="resid.0")["resid.0"]

    def _gradients_before(self, first: int, at: Tensor) -> dict[str, Tensor]:
        """Gradients at all sites before a layer, given that at its stream."""
        sites, end = [site for site in self.sites if layer_of(site) < first], f"resid.{first}"
        if not sites:
            return {}
        if first not in self._recorded:
            begin = (0, self._begin().detach().requires_grad_())
            edit = {site: one for site, one in self.edit.items() if layer_of(site) < first}
            with torch.enable_grad():
                self._recorded[first] = self.m.run(
                    self.pairs.corrupted, keep=(*sites, end), edit=edit, until=end, start=begin
                )
        run = self._recorded[first]
        moved = [site for site in sites if run[site].requires_grad]
        found = torch.autograd.grad(run[end], [run[site] for site in moved], at, retain_graph=True)
        return dict(zip(moved, found, strict=True))

    def attribution(
        self, kind: Kind, layers: Sequence[int] | None = None
    ) -> Float[Tensor, "n layers pos ..."]:
        """The linear estimate of every patch of a kind by one gradient (Nanda, "Attribution
        patching", 2023), over positions, and for ``"heads"`` over heads besides."""
        estimates, gradients = [], self.gradients
        for k in self._layers(layers):
            site = f"{kind}.{k}"
            change = self.clean[site] - self.corrupted[site]
            estimates.append((change * gradients[site]).sum(-1))
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
        run = self._sent(sender, head)
        if receiver is None:
            return self.share(run)
        if receiver not in run.kept or receiver in (sender, self.last):
            raise InputError(
                f"receiver = {receiver!r} is not allowed: it must be an attn_out or mlp_out behind "
                f"{sender}, or None for the logits."
            )
        return self.effect({receiver: put(run[receiver])})

    def _sent(self, sender: str, head: int | None) -> Any:
        """A run in which a sender writes as in the clean one and all parts behind it as in the
        corrupted one. It holds what each of these would write."""
        first = layer_of(sender) + sender.startswith("mlp_out")
        behind = [f"{kind}.{k}" for k in range(first, self.m.n_layers)
                  for kind in ("attn_out", "mlp_out")][sender.startswith("attn_out") :]  # fmt: skip
        own = f"attn_out.{layer_of(sender)}" if sender.startswith("heads") else None
        would: dict[str, Tensor] = {}

        def frozen(site: str) -> Edit:
            def edit(x: Tensor) -> Tensor:
                would[site] = x
                return x if site == own else self.corrupted[site]  # what a head writes is sent

            return edit

        sent = {sender: put(self.clean[sender], head=head)}
        run = self._run(together({site: frozen(site) for site in behind}, sent))
        return replace(run, kept=run.kept | would)

    def paths(self, layer: int, head: int) -> dict[str, Float[Tensor, "n"]]:
        """A head's effect, and what of it goes by single paths: straight to the logits, and by one
        later attention or one MLP, summed over these. Paths that meet more than one are in none."""
        site, none = f"heads.{layer}", torch.zeros(len(self.pairs), device=self.m.device)
        run = self._sent(site, head)
        later = {"attn_out": range(layer + 1, self.m.n_layers),
                 "mlp_out": range(layer, self.m.n_layers)}  # fmt: skip
        through = {
            kind: sum((self.effect({f"{kind}.{k}": put(run[f"{kind}.{k}"])}) for k in behind), none)
            for kind, behind in later.items()
        }
        return {
            "effect": self.patch(site, head=head), "directly": self.share(run),
            "by one later attention": through["attn_out"], "by one MLP": through["mlp_out"],
        }  # fmt: skip

    def kept(self, heads: Iterable[tuple[int, int]]) -> Float[Tensor, "n"]:
        """The effect that is left of a clean run if only these heads, pairs of layer and head, are
        as there and all others as in the corrupted run."""
        left = torch.zeros(self.m.n_layers, self.m.n_heads, dtype=torch.bool)
        for k, h in heads:
            left[k, h] = True
        if left.all():
            return self.share(self.clean)

        def only(k: int) -> Edit:
            others = self.corrupted[f"heads.{k}"]
            return lambda x: torch.where(left[k, :, None].to(x.device), x, others)

        edit = together(self.edit, {f"heads.{k}": only(k) for k in range(self.m.n_layers)})
        with torch.no_grad():
            run = self.m.run(self.pairs.clean, keep=(self.last,), edit=edit, until=self.last)
        return self.share(run)

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
