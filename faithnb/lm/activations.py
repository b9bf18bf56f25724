"""A layer's inputs on a text, kept in a file that is mapped into memory."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.common.files import digest_of, read_json, write_whole
from faithnb.common.progress import progress_bar
from faithnb.common.store import default_folder
from faithnb.lm.model import LanguageModel

AT_ONCE = 8
"""Windows that go through the model together."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A layer's inputs at every token of some windows.

    Attributes:
        path: a ``.npy`` file, ``[n · length, d_in]`` in float16, window after window.
        windows: the tokens, ``[n, length]``.
    """

    path: Path
    windows: Int[Tensor, "n length"]

    @cached_property
    def rows(self) -> np.ndarray:
        """Its content, mapped."""
        return np.load(self.path, mmap_mode="r", allow_pickle=False)

    def at(self, window: int, first: int = 0, last: int | None = None) -> range:
        """The rows of a window, from position ``first`` to before ``last``."""
        length = self.windows.shape[1]
        return range(window * length, (window + 1) * length)[first:last]


def activations(
    m: LanguageModel,
    windows: Int[Tensor, "n length"],
    layer: int,
    folder: Path | None = None,
    progress: bool = True,
) -> Kept:
    """The inputs of MLP ``layer`` at every token.

    They are written as they come, so a run that was interrupted goes on where it was, and one that
    was done is found again. What the layer makes of them follows from it.

    Args:
        m: the model.
        windows: tokens; each window is seen by itself.
        layer: which MLP.
        folder: where the file lies; by default ``activations`` beside the store's results.
        progress: show a bar.

    Raises:
        InputError: if there is no such layer, a token is none, or the file is damaged.
        OSError: if it cannot be written.
    """
    m.layer(layer)
    folder = folder or default_folder() / "activations"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{activations_key(m, windows, layer)}.npy"
    if _is_whole(path):
        return Kept(path, windows)
    site, length = f"mlp_in.{layer}", windows.shape[1]
    part, noted = path.with_suffix(".part.npy"), path.with_suffix(".part.json")
    rows, done = _opened(part, noted, (windows.numel(), m.d_model))
    with progress_bar(len(windows), "window", progress, "activations", initial=done) as bar:
        for first in range(done, len(windows), AT_ONCE):
            some = windows[first : first + AT_ONCE]
            with torch.no_grad():
                found = m.run(some, keep=(site,), until=site)[site].flatten(0, 1)
            rows[first * length : first * length + len(found)] = found.cpu().numpy()
            rows.flush()
            write_whole(noted, json.dumps({"windows": first + len(some)}))
            bar.update(len(some))
    del rows
    write_whole(_digest_file(path), digest_of(part))
    part.replace(path)
    noted.unlink(missing_ok=True)
    return Kept(path, windows)


def _is_whole(path: Path) -> bool:
    """Whether it was written to its end; one that is and has changed since is refused."""
    if not path.is_file():
        return False
    noted = _digest_file(path)
    if not noted.is_file() or noted.read_text(encoding="utf-8") != digest_of(path):
        raise InputError(
            f"{path} is damaged: its content is not what was written. Remove it, and it is made "
            "again."
        )
    return True


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _opened(part: Path, noted: Path, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """The file that is being written, and how many windows it holds."""
    try:
        done = int(read_json(noted.read_text(encoding="utf-8"))["windows"])
        rows = np.lib.format.open_memmap(part, "r+")
        if rows.shape == shape:
            return rows, done
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return np.lib.format.open_memmap(part, "w+", np.float16, shape), 0


def activations_key(m: LanguageModel, windows: Tensor, layer: int) -> str:
    """What the activations depend on: the model up to there, the tokens."""
    digest = hashlib.sha256(f"{m.name} {layer} {list(windows.shape)}".encode())
    digest.update(windows.to(torch.int64).numpy().tobytes())
    held: list[Any] = [m.embedding]
    held += [w for k in range(layer + 1) for w in vars(m.layer(k)).values()]
    for weight in held:
        if isinstance(weight, Tensor):
            digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
