"""Directions in which a model's activations say something, and what adding them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.lm.patching import Edit, Edits, together
from faithnb.lm.prompts import Contrast
from faithnb.lm.subject import Subject
from faithnb.model.transcoder import Transcoder

Sides = Sequence[Float[Tensor, "_ d"]]
"""Activations of two kinds of text, two of them."""


def at_last(m: Any, ids: Int[Tensor, "n pos"], *sites: str) -> list[Float[Tensor, "n d"]]:
    """The activations of each site at the last token; the last of the sites comes last in the
    pass."""
    with torch.no_grad():
        run = m.run(ids, keep=sites, until=sites[-1])
    return [run[site][:, -1] for site in sites]


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

    def leaning(steered: Edits) -> float:
        with torch.no_grad():
            run = m.run(contrast.neutral, edit=together(edit or {}, steered))
        return float(contrast.leaning(run.logits).mean())

    before = leaning({})
    return {
        name: [leaning({site: along(of, length)}) - before for length in lengths]
        for name, of in directions.items()
    }


def directions(
    subject: Subject, contrast: Contrast, transcoder: Transcoder
) -> tuple[dict[str, Float[Tensor, "d"]], dict[str, float]]:
    """Directions of the residual stream behind a subject's MLP that may tell praise from blame: the
    difference in means, a probe's weights, and what the feature writes that does so best.

    Args:
        subject: the MLP, in whose units the transcoder was trained.
        contrast: the sentences.
        transcoder: of one instance.

    Returns:
        the directions, and how often each, or the feature itself, tells held-out sentences apart.
    """
    sides = contrast.good, contrast.bad, *contrast.held_out
    sites = f"mlp_in.{subject.k}", f"resid.{subject.k + 1}"
    read, streams = zip(*(at_last(subject.model, ids, *sites) for ids in sides), strict=True)
    seen, held_out = streams[:2], streams[2:]
    features = [transcoder.encode(x / subject.scale)[0] for x in read]
    best = best_feature(features[:2])
    sign = mean_difference(features[:2])[best].sign()
    found = {"difference in means": mean_difference(seen), "probe": probe(seen)}
    right = {name: accuracy(of, seen, held_out) for name, of in found.items()}
    one = torch.eye(transcoder.d_sae)[best]
    right["feature"] = accuracy(one.to(features[0]), features[:2], features[2:])
    return found | {"feature": sign * transcoder.W_dec[0, best]}, right
