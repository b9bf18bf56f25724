"""A training as a story to scroll through: scenes with words, and a picture that follows."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from faithnb.widgets.in_page import InPage
from faithnb.widgets.portraits import Portrait, arrows, bar, cells


@dataclass(frozen=True)
class Scene:
    """A part of a training, with what is said about it."""

    title: str
    words: Sequence[str]
    """Paragraphs."""
    steps: Sequence[int]
    """After how many steps each frame is."""
    frames: Sequence[Portrait]


def story(scenes: Sequence[Scene], n_steps: int) -> InPage:
    """Scenes one below the other, each with its last frame. With scripts, on a wide screen, one
    picture stands beside the words and follows the scrolling, frame by frame.

    Args:
        scenes: in their order.
        n_steps: of a whole training.

    Raises:
        ValueError: if a scene has no frame, or another number of steps than of frames.
    """
    pictures, names, stands = [], [], []
    for k, scene in enumerate(scenes):
        if not scene.frames or len(scene.frames) != len(scene.steps):
            raise ValueError(f"scene {k} needs as many steps as frames, and at least one.")
        names.append([f"step {step:,}" for step in scene.steps])
        pictures.append([
            _picture(frame, f"step {step:,} of {n_steps:,}")
            for step, frame in zip(scene.steps, scene.frames, strict=True)
        ])  # fmt: skip
        words = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in scene.words)
        stands.append(
            f'<section class="fn-scene" aria-labelledby="fn-scene-{k}"><div class="fn-words">'
            f'<h2 id="fn-scene-{k}">{html.escape(scene.title)}</h2>{words}</div>'
            f'<div class="fn-still">{pictures[-1][-1]}</div></section>'
        )
    return InPage(
        f'<div class="fn-story">{"".join(stands)}</div>',
        "story.js",
        {"frames": pictures, "names": names},
    )


def _picture(portrait: Portrait, where: str) -> str:
    return (
        f'<div class="fn-view"><div>{arrows(portrait)}{bar(portrait)}'
        f'<p class="fn-small">{where}; error on the data (FVU) {portrait.fvu:.3f}</p></div>'
        f"<div>{cells(portrait)}</div></div>"
    )
