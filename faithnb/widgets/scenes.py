"""The story's five scenes: what is said of a training follows from what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faithnb.measures.memorization import MEMORIZED
from faithnb.widgets.portraits import LOST, Portrait
from faithnb.widgets.story import Scene

Frames = Mapping[int, Portrait]
"""A training by the step after which each frame is."""

FORMED = {
    "datapoint": ("One feature for p", "a feature writes all of p at once, which no circuit of the "
                  "layer does"),
    "pair": ("A feature for a part of p", "a feature writes two of the coordinates at once, which "
             "no circuit of the layer does"),
    "generalising": ("A feature for each coordinate", "each coordinate has a feature that writes "
                     "it alone, as in the layer"),
    "other": ("Neither one nor the other", "the features at p are a mixture: they write all of p "
              "in part, and no coordinate alone"),
    LOST: ("The task is not learned", "the transcoder has not learned the task"),
}  # fmt: skip
"""By the state at the end of the third scene: its title, and what is said."""


def five_scenes(
    before: Frames,
    matched: Frames,
    plain: Frames,
    experiment: Mapping[str, Any],
    seeds: Mapping[str, int],
    lost: Mapping[str, float],
) -> list[Scene]:
    """A transcoder is trained on data that repeat, then Jacobians are matched, in two ways.

    Args:
        before: without matching, from the initialisation on.
        matched: what follows with matching.
        plain: what follows with plain matching.
        experiment: ``d_in``, ``repeat_frac`` and the form of ``jacobian_matching``.
        seeds: of how many, ``n``, memorize ``before``, and after ``matched`` and ``plain``.
        lost: the share of a scan that loses the task, from the fourth chapter; empty if it did
            not run.
    """
    steps = sorted(before)
    third = [list(part) for part in np.array_split(steps, 3)]
    third[1].insert(0, third[0][-1])
    third[2].insert(0, third[1][-1])
    parts = [{k: before[k] for k in part} for part in third]
    return [
        _begins(parts[0], experiment),
        _turns(parts[1], experiment),
        _forms(parts[2], seeds),
        _is_matched(matched, experiment, seeds),
        _is_matched_plainly(plain, seeds, lost),
    ]


def _scene(title: str, words: Sequence[str], frames: Frames) -> Scene:
    return Scene(title, words, list(frames), list(frames.values()))


def _ends(frames: Frames) -> tuple[Portrait, Portrait, int]:
    """The first frame, the last, and its step."""
    first, *_, last = sorted(frames)
    return frames[first], frames[last], last


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _begins(frames: Frames, experiment: Mapping[str, Any]) -> Scene:
    first, last, step = _ends(frames)
    return _scene("A transcoder begins", (
        f"The layer is y = |x|, on {experiment['d_in']:.0f} coordinates. At the point "
        "p = (1, 1, 1, 0, …) it uses three circuits, one for each coordinate that is not 0.",
        f"A transcoder starts from random weights: {len(first.writes)} features write something "
        "at p, in all directions.",
        f"After {step:,} steps {len(last.writes)} are left.",
    ), frames)  # fmt: skip


def _turns(frames: Frames, experiment: Mapping[str, Any]) -> Scene:
    first, last, step = _ends(frames)
    of = f"from {_percent(first.share)} of a whole datapoint feature to {_percent(last.share)}"
    if last.share > first.share:
        title, turn = (
            "The features turn towards p",
            f"They turn towards it: memorization rises {of}",
        )
    else:
        title, turn = (
            "The features keep apart",
            f"They do not turn towards it: memorization goes {of}",
        )
    return _scene(title, (
        f"Of the data {_percent(experiment['repeat_frac'])} is p. Sparsity is rewarded, and one "
        "feature at p is sparser than three.",
        f"{turn}, by step {step:,}.",
        f"The error on the data goes from {first.fvu:.2g} to {last.fvu:.2g} of the variance (FVU).",
    ), frames)  # fmt: skip


def _forms(frames: Frames, seeds: Mapping[str, int]) -> Scene:
    _, last, step = _ends(frames)
    title, said = FORMED[last.state]
    apart = last.jacobian - np.diag(np.diag(last.jacobian))
    return _scene(title, (
        f"After {step:,} steps {said}. Memorization is {_percent(last.share)}.",
        f"The Jacobian has up to {np.abs(apart).max():.2f} beside its diagonal, where the layer’s "
        "has 0: the outputs depend on each other’s inputs.",
        f"FVU is {last.fvu:.2g} and does not show it. Of {seeds['n']} seeds {seeds['before']} "
        "memorize p by now.",
    ), frames)  # fmt: skip


HOW = {
    "smoothed": "at inputs with a little noise on them (smoothed matching)",
    "finite": "by finite differences between inputs",
}
"""What a form of matching compares."""


def _is_matched(frames: Frames, experiment: Mapping[str, Any], seeds: Mapping[str, int]) -> Scene:
    first, last, _ = _ends(frames)
    n = max(frames) - min(frames)
    title = "Matching the Jacobian " + _outcome(first, last)
    return _scene(title, (
        "From here on the loss also asks for the layer’s Jacobian, "
        f"{HOW[experiment['jacobian_matching']]}.",
        f"In {n:,} steps memorization goes from {_percent(first.share)} to {_percent(last.share)}.",
        f"Of {seeds['n']} seeds {seeds['matched']} still memorize p.",
    ), frames)  # fmt: skip


def _is_matched_plainly(
    frames: Frames, seeds: Mapping[str, int], lost: Mapping[str, float]
) -> Scene:
    first, last, _ = _ends(frames)
    title = "The plain reading " + _outcome(first, last)
    words = [
        "The same transcoder, matched as the note’s formula reads: at the data themselves, where "
        "most coordinates are 0 and |x| has no derivative; 0 is taken for it.",
        f"Memorization goes from {_percent(first.share)} to {_percent(last.share)}, and FVU is "
        f"{last.fvu:.2g}. Of {seeds['n']} seeds {seeds['plain']} still memorize p.",
    ]
    if lost:
        words.append(
            "Where matching is on from the first step, over weaker and stronger penalties, the "
            f"plain reading makes {_percent(lost['with matching'])} of the transcoders lose the "
            f"task; {_percent(lost['without matching'])} do without matching."
        )
    return _scene(title, words, frames)


def _outcome(first: Portrait, last: Portrait) -> str:
    """What became of a feature for p, as the end of a title."""
    if last.state == LOST and first.state != LOST:
        return "loses the task"
    if first.state not in MEMORIZED:
        return "finds nothing to remove"
    if last.state in MEMORIZED:
        return "leaves the feature"
    return "removes the feature"
