"""Text as windows of tokens."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from faithnb.common.errors import InputError


def windows_of(
    ids: Sequence[int], length: int, begin: int | None = None
) -> Int[Tensor, "n length"]:
    """Tokens cut into windows that follow each other; what is left over is dropped.

    Args:
        ids: tokens of a text.
        length: of a window, with the first token.
        begin: a token put before each window; none by default.

    Raises:
        InputError: if a window has no place for a token, or the text is shorter than a window.
    """
    own = length - (begin is not None)
    if own < 1 or len(ids) < own:
        raise InputError(
            f"length = {length} is not allowed: it must leave room for a token, and the text has "
            f"{len(ids)}."
        )
    windows = torch.tensor(ids[: len(ids) // own * own]).view(-1, own)
    if begin is None:
        return windows
    return torch.nn.functional.pad(windows, (1, 0), value=begin)


def standard_library(
    folders: Iterable[str] = ("encodings",), most: int | None = None
) -> dict[str, str]:
    """Files of Python's standard library, by their path in it.

    They differ between versions of Python in a few lines.

    Args:
        folders: of it; ``""`` for the modules that lie in none.
        most: how many files of each folder, in alphabetical order; all by default.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = {}
    for folder in folders:
        for path in sorted((root / folder).glob("*.py"))[:most]:
            found[path.relative_to(root).as_posix()] = path.read_text(
                encoding="utf-8", errors="replace"
            )
    return found
