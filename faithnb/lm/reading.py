"""A window of text, token by token: which features act, and what follows if one is replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.lm.model import LanguageModel
from faithnb.lm.subject import Subject
from faithnb.measures.activity import contribution_sizes
from faithnb.measures.registry import CONTRIBUTES, ROUNDING
from faithnb.model.transcoder import Transcoder

CHUNK = 8
"""Replacements that are computed together."""


@dataclass(frozen=True, eq=False)
class Reading:
    """What one transcoder does in a window.

    Rows of the square arrays are replaced positions, columns the positions where something
    changes. They are NaN where nothing is replaced, or the layer's output does not change.

    Attributes:
        features: the strongest at each position, the strongest first; -1 where fewer contribute.
        contributions: how much each of them writes, in the layer's own units.
        n_active: how many contribute.
        output_error: relative squared error of the output at each position.
        change: norm of the change of the transcoder's output.
        change_error: relative squared error of that change.
        patched: norm of the change that the features active before predict.
        patching_error: relative squared error of this prediction.
    """

    features: Int[Tensor, "pos k"]
    contributions: Float[Tensor, "pos k"]
    n_active: Int[Tensor, "pos"]
    output_error: Float[Tensor, "pos"]
    change: Float[Tensor, "pos pos"]
    change_error: Float[Tensor, "pos pos"]
    patched: Float[Tensor, "pos pos"]
    patching_error: Float[Tensor, "pos pos"]


@dataclass(frozen=True, eq=False)
class Window:
    """A window of text and one replacement for each position.

    Attributes:
        title: what it is.
        tokens: as strings.
        replacements: what stands at a position instead; ``None`` where nothing does.
        output: norm of the layer's output.
        change: norm of its change; rows are replaced positions, columns where it changes.
        transcoders: by name.
    """

    title: str
    tokens: tuple[str, ...]
    replacements: tuple[str | None, ...]
    output: Float[Tensor, "pos"]
    change: Float[Tensor, "pos pos"]
    transcoders: dict[str, Reading]


def other_tokens(ids: Sequence[int]) -> dict[int, int]:
    """A replacement for each position: the first different token from half a window later on, where
    the window goes round. Positions have none if all tokens are the same."""
    n = len(ids)
    later = ([ids[(k + n // 2 + j) % n] for j in range(n)] for k in range(n))
    found = ((k, next((t for t in ts if t != ids[k]), None)) for k, ts in enumerate(later))
    return {k: t for k, t in found if t is not None}


@torch.no_grad()
def read_window(
    subject: Subject,
    transcoders: Mapping[str, Transcoder],
    ids: Sequence[int],
    replacements: Mapping[int, int] | None = None,
    title: str = "window",
    n_features: int = 5,
) -> Window:
    """What transcoders of an MLP do in a window, and when one of its tokens is replaced.

    Args:
        subject: the MLP, and the units that the transcoders were trained in.
        transcoders: of one instance each, by the name of their condition.
        ids: the window's tokens.
        replacements: another token for a position; by default :func:`other_tokens`.
        title: what the window is.
        n_features: kept at each position.

    Raises:
        InputError: if a transcoder or a replacement does not fit.
    """
    model, output_scale = subject.model, subject.output_scale
    replacements = other_tokens(ids) if replacements is None else replacements
    _require(model, transcoders, ids, replacements)
    sites = f"mlp_in.{subject.k}", f"mlp_out.{subject.k}"

    def layer_at(tokens: Tensor) -> tuple[Tensor, Tensor]:
        run = model.run(tokens, keep=sites, until=sites[1])
        x, y = (run[site].to("cpu", torch.float64) for site in sites)
        return x / subject.scale, y / output_scale

    window = torch.tensor([list(ids)], device=model.device)
    x, y = (of[0] for of in layer_at(window))
    n = len(ids)
    change = x.new_full((n, n), torch.nan)
    squares = {name: x.new_full((4, n, n), torch.nan) for name in transcoders}
    at = sorted(replacements)
    for some in (at[k : k + CHUNK] for k in range(0, len(at), CHUNK)):
        changed = window.repeat(len(some), 1)
        changed[range(len(some)), some] = changed.new_tensor([replacements[k] for k in some])
        x_new, y_new = layer_at(changed)
        rows = torch.cat([torch.tensor([[j, k] for k in range(some[j], n)])
                          for j in range(len(some))]).T  # fmt: skip
        which, where = rows
        effect = y_new[which, where] - y[where]
        placed = torch.tensor(some)[which], where
        change[placed] = effect.norm(dim=-1) * output_scale
        known = effect.norm(dim=-1) > ROUNDING * y[where].norm(dim=-1)
        for name, t in transcoders.items():
            for k, predicted in enumerate(_predicted(t, x, x_new[which, where], where)):
                error = (predicted - effect).square().sum(-1) / effect.square().sum(-1)
                squares[name][2 * k][placed] = predicted.norm(dim=-1) * output_scale
                squares[name][2 * k + 1][placed] = error.where(known, torch.nan)
    return Window(
        title=title,
        tokens=tuple(model.decode([i]) for i in ids),
        replacements=tuple(
            model.decode([replacements[k]]) if k in replacements else None for k in range(n)
        ),
        output=y.norm(dim=-1) * output_scale,
        change=change,
        transcoders={
            name: _reading(t, x, y, squares[name], output_scale, n_features)
            for name, t in transcoders.items()
        },
    )


def _predicted(t: Transcoder, x: Tensor, x_new: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """The change of the whole output, and that of the features active before, as the measure
    ``patched_change``; but a window's inputs are encoded once."""
    h, moved = t.encode(x)[0], x_new - x[where]
    acts = h.abs() * t.decoder_norms()[0] > CONTRIBUTES
    change = t.encode(x_new)[0] - h[where]

    def written(by: Tensor) -> Tensor:
        return t.with_linear((by @ t.W_dec[0])[None], moved)[0].to(x)

    return written(change), written(change * acts[where])


def _reading(
    t: Transcoder, x: Tensor, y: Tensor, squares: Tensor, scale: float, n_features: int
) -> Reading:
    sizes = contribution_sizes(t, x)[0].cpu()
    largest = sizes.topk(min(n_features, t.d_sae), dim=-1)
    acts = largest.values > CONTRIBUTES
    return Reading(
        features=largest.indices.where(acts, -1),
        contributions=largest.values * scale,
        n_active=(sizes > CONTRIBUTES).sum(-1),
        output_error=(t(x)[0].to(y) - y).square().sum(-1) / y.square().sum(-1),
        change=squares[0],
        change_error=squares[1],
        patched=squares[2],
        patching_error=squares[3],
    )


def _require(
    model: LanguageModel,
    transcoders: Mapping[str, Transcoder],
    ids: Sequence[int],
    replacements: Mapping[int, int],
) -> None:
    for name, t in transcoders.items():
        if (t.n_inst, t.d_in, t.d_out) != (1, model.d_model, model.d_model):
            raise InputError(
                f"transcoders[{name!r}] is not allowed: it must be one instance, from "
                f"{model.d_model} to {model.d_model} coordinates."
            )
    for at, token in replacements.items():
        if at not in range(len(ids)) or token not in range(model.d_vocab):
            raise InputError(
                f"replacements[{at}] = {token} is not allowed: positions are 0 to {len(ids) - 1}, "
                f"tokens 0 to {model.d_vocab - 1}."
            )
