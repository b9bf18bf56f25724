"""Directions in which a model's activations say something, and what adding them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.lm.patching import Edit, Edits, layer_of, together
from faithnb.lm.prompts import Contrast
from faithnb.lm.subject import Subject
from faithnb.model.transcoder import Transcoder

Sides = Sequence[Float[Tensor, "_ d"]]
"""Activations of two kinds of text, two of them."""


Known = dict[tuple[int, ...], list[Tensor]]
"""Activations by the tokens of a prompt."""


def at_last(
    m: Any, ids: Int[Tensor, "n pos"], *sites: str, known: Known | None = None
) -> list[Float[Tensor, "n d"]]:
    """The activations of each site at the last token.

    Args:
        m: the language model.
        ids: tokens.
        sites: of which the last comes last in the pass.
        known: what earlier calls for these sites found, which is not computed again; what is found
            is added.
    """
    known = {} if known is None else known
    rows = [tuple(row) for row in ids.tolist()]
    if new := [row for row in dict.fromkeys(rows) if row not in known]:
        with torch.no_grad():
            run = m.run(torch.tensor(new), keep=sites, until=sites[-1])
        for row, *found in zip(new, *(run[site][:, -1] for site in sites), strict=True):
            known[row] = found
    return [torch.stack(of) for of in zip(*(known[row] for row in rows), strict=True)]


def mean_difference(sides: Sides) -> Float[Tensor, "d"]:
    """The mean of the first minus that of the second (*difference in means*, Marks and Tegmark,
    2023)."""
    return sides[0].mean(0) - sides[1].mean(0)


def probe(sides: Sides, strength: float = 1.0) -> Float[Tensor, "d"]:
    """The weights of a logistic regression that tells the first from the second.

    Args:
        sides: activations.
        strength: C of scikit-learn's ``LogisticRegression``, on inputs of unit mean square.
    """
    from sklearn.linear_model import LogisticRegression

    x = torch.cat([*sides]).double()
    scale = x.square().mean().sqrt()
    y = [1] * len(sides[0]) + [0] * len(sides[1])
    fitted = LogisticRegression(C=strength, max_iter=1000).fit((x / scale).cpu().numpy(), y)
    return torch.as_tensor(fitted.coef_[0]).to(sides[0])


def accuracy(direction: Float[Tensor, "d"], seen: Sides, held_out: Sides) -> float:
    """How often the projection tells held-out activations apart, by the threshold half-way between
    the means of those seen; each side counts half."""
    first, second = (float((of @ direction).mean()) for of in seen)
    half, sign = (first + second) / 2, 1 if first >= second else -1
    right = [
        (sign * s * (of @ direction - half) > 0).double().mean()
        for of, s in zip(held_out, (1, -1), strict=True)
    ]
    return float(sum(right) / 2)


def best_feature(sides: Sides) -> int:
    """The feature that tells the first from the second best: the largest difference of means over
    the deviation within both.

    Args:
        sides: what features are at two kinds of text.
    """
    spread = ((sides[0].var(0) + sides[1].var(0)) / 2).sqrt()
    size = torch.cat([*sides]).abs().amax()
    return int((mean_difference(sides).abs() / (spread + 1e-2 * size)).argmax())


def along(direction: Float[Tensor, "d"], length: float, first: int = 1) -> Edit:
    """An edit that adds a direction, as long as ``length``, from a position on."""
    step = length * direction / direction.norm()

    def edit(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, first:] += step.to(x)
        return x

    return edit


def steer(
    m: Any,
    contrast: Contrast,
    site: str,
    directions: Mapping[str, Float[Tensor, "d"]],
    lengths: Sequence[float],
    edit: Edits | None = None,
) -> dict[str, list[float]]:
    """How far each direction moves the prediction from bad words to good ones, over lengths: the
    mean ``leaning`` of the contrast's neutral sentences with it, less that without."""

    first, last = min(layer_of(site), m.n_layers - 1), f"resid.{m.n_layers}"
    steps = [along(of, length) for of in directions.values() for length in (0.0, *lengths)]

    def all_steps(x: Tensor) -> Tensor:
        parts = x.chunk(len(steps))
        return torch.cat([step(part) for step, part in zip(steps, parts, strict=True)])

    edit = dict(edit or {})
    before = {of: one for of, one in edit.items() if layer_of(of) < first}
    after = {of: one for of, one in edit.items() if layer_of(of) >= first}
    ids, n = contrast.neutral, len(steps)
    with torch.no_grad():
        start = m.run(ids, keep=(f"resid.{first}",), edit=before, until=f"resid.{first}")
        stream = start[f"resid.{first}"].repeat(n, 1, 1)
        run = m.run(
            ids.repeat(n, 1), keep=(last,), edit=together(after, {site: all_steps}), until=last,
            start=(first, stream),
        )  # fmt: skip
        leaning = contrast.leaning(m.unembed(run[last][:, -1:])).view(len(directions), -1, len(ids))
    moved = leaning.mean(-1)
    return {name: (row[1:] - row[0]).tolist() for name, row in zip(directions, moved, strict=True)}


def directions(
    subject: Subject, contrast: Contrast, transcoder: Transcoder, known: Known | None = None
) -> tuple[dict[str, Float[Tensor, "d"]], dict[str, float]]:
    """Directions of the residual stream behind a subject's MLP that may tell praise from blame: the
    difference in means, a probe's weights, and what the feature writes that does so best.

    Args:
        subject: the MLP, in whose units the transcoder was trained.
        contrast: the sentences.
        transcoder: of one instance.
        known: as for :func:`at_last`.

    Returns:
        the directions, and how often each, or the feature itself, tells held-out sentences apart.
    """
    sides = contrast.good, contrast.bad, *contrast.held_out
    sites = f"mlp_in.{subject.k}", f"resid.{subject.k + 1}"
    at = [at_last(subject.model, ids, *sites, known=known) for ids in sides]
    read, streams = zip(*at, strict=True)
    seen, held_out = streams[:2], streams[2:]
    features = [transcoder.encode(x.cpu() / subject.scale)[0] for x in read]
    best = best_feature(features[:2])
    sign = mean_difference(features[:2])[best].sign()
    found = {"difference in means": mean_difference(seen), "probe": probe(seen)}
    right = {name: accuracy(of, seen, held_out) for name, of in found.items()}
    one = torch.eye(transcoder.d_sae)[best]
    right["feature"] = accuracy(one.to(features[0]), features[:2], features[2:])
    return found | {"feature": (sign * transcoder.W_dec[0, best]).to(seen[0].device)}, right
