"""Weights in a file of our own, with the digest of what was written."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from faithnb.common.files import part_of
from faithnb.common.store import StoreWarning

DIGEST = "sha256"


def write_weights(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a file whole or not at all.

    Args:
        path: a ``.safetensors`` file, in a folder that may have to be made.
        tensors: by name.
        about: what else the file says.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: w.detach().cpu().contiguous() for name, w in tensors.items()}
    part = part_of(path)
    try:
        save_file(tensors, part, {**about, DIGEST: _digest(tensors, about)})
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_weights(
    path: Path, of: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """What a file holds, mapped into memory, and what else it says.

    Args:
        path: it.
        of: what it must say; a file that says otherwise was made of something else.

    Returns:
        ``None`` if there is no such file, or it cannot be read, or its content is not what was
        written, which a warning says.
    """
    try:
        with safe_open(path, "pt") as file:
            about = dict(file.metadata() or {})
            if any(about.get(name) != value for name, value in of.items()):
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError:
        return None
    except SafetensorError:
        _say_damage(path)
        return None
    if about.pop(DIGEST, None) != _digest(tensors, about):
        _say_damage(path)
        return None
    return tensors, about


def _say_damage(path: Path) -> None:
    warnings.warn(
        f"{path} is damaged: its content is not what was written. It is made again.",
        StoreWarning,
        stacklevel=4,
    )


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    digest = hashlib.sha256(repr(sorted(about.items())).encode())
    for name in sorted(tensors):
        w = tensors[name]
        digest.update(f"{name} {w.dtype} {list(w.shape)} ".encode())
        digest.update(w.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
