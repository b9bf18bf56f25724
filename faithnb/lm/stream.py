"""The residual stream as what layers have added to it so far, read as logits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.lm.patching import Edits
from faithnb.lm.prompts import Pairs


def lens(m: Any, pairs: Pairs, edit: Edits | None = None) -> Float[Tensor, "n_layers_and_1"]:
    """The mean logit difference of the clean prompts, read from the residual stream before each
    layer and after the last one (the *logit lens*, nostalgebraist, 2020)."""
    sites = [f"resid.{k}" for k in range(m.n_layers + 1)]
    with torch.no_grad():
        run = m.run(pairs.clean, keep=sites, edit=edit or {}, until=sites[-1])
        read = [pairs.difference(m.unembed(run[site][:, -1:])).mean() for site in sites]
    return torch.stack(read)


def contributions(m: Any, pairs: Pairs, edit: Edits | None = None) -> Float[Tensor, "n_layers 2"]:
    """What attention and MLP of each layer add to the mean logit difference of the clean prompts
    directly, with the last normalisation's scale as it is. Together with the embedding's part they
    sum to the difference, where the normalisation is that of root mean squares."""
    last = f"resid.{m.n_layers}"
    sites = [f"{kind}.{k}" for k in range(m.n_layers) for kind in ("attn_out", "mlp_out")]
    with torch.no_grad():
        run = m.run(pairs.clean, keep=(*sites, last), edit=edit or {}, until=last)
        final = run[last][:, -1]
        scale = m.final_norm(final) / torch.where(final == 0, torch.ones_like(final), final)
        rows = torch.arange(len(pairs), device=final.device)
        answer, wrong = (of.to(final.device) for of in (pairs.answer, pairs.wrong))
        read = (m.unembedding[answer] - m.unembedding[wrong])[rows] * scale
        found = [(run[site][:, -1] * read).sum(-1).mean() for site in sites]
    return torch.stack(found).unflatten(0, (m.n_layers, 2))


def attention(
    m: Any, ids: Int[Tensor, "n pos"], to: int, layers: Iterable[int] | None = None
) -> Float[Tensor, "n layers head"]:
    """How much each head attends from the last position to another.

    Args:
        m: the language model.
        ids: tokens.
        to: the other position.
        layers: all by default.
    """
    sites = [f"pattern.{k}" for k in (range(m.n_layers) if layers is None else layers)]
    with torch.no_grad():
        run = m.run(ids, keep=sites)
    return torch.stack([run[site][:, :, -1, to] for site in sites], 1)
