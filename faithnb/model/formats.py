"""Transcoders on disk, in SAELens' layout: ``cfg.json`` and ``sae_weights.safetensors``.

Architectures have SAELens' names there: ``transcoder`` is the ReLU, ``jumprelu_skip_transcoder`` a
JumpReLU with a linear part, and so on; autoencoders, which SAELens calls ``standard``, ``topk`` and
``jumprelu``, are read as transcoders whose output has the input's width. They subtract ``b_dec``
from the input unless they say that they do not, transcoders only if they say so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor

from faithnb.common.files import folder_named, read_json, write_whole

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

SIZES = ("n_inst", "d_in", "d_sae", "d_out")

AUTOENCODERS = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
"""SAELens' names of autoencoders, and the architectures here."""

UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "activation": ("relu",), "activation_fn": ("relu",), "normalize_activations": ("none",),
    "reshape_activations": ("none",), "apply_b_dec_to_input": (False, True),
    "rescale_acts_by_decoder_norm": (False,),
}  # fmt: skip
"""What a configuration may say of how the weights are used; whatever else it says is refused. Its
activation may also be that of its architecture."""

DESCRIBES = ("architecture", "device", "metadata", "dtype")
"""What it may say besides."""

DIGEST = "sae_weights_sha256"
"""Under which the metadata keep the hash of the weights' file, so that damage shows."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Found:
    """What a folder holds, as far as that can be said without knowing its architecture."""

    folder: Path
    architecture: str
    cfg: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    def refuse(self, reason: str) -> ValueError:
        return _refused(self.folder, reason)

    def require_fields(self, settings: Collection[str]) -> None:
        """That nothing is said whose meaning is not known."""
        for name, known in UNDERSTOOD.items():
            if name.startswith("activation"):
                known = tuple(dict.fromkeys((*known, self.architecture)))
            if (said := self.cfg.get(name, known[0])) not in known:
                raise self.refuse(
                    f"{CFG} says {name} = {said!r}, only {' or '.join(map(repr, known))} is "
                    "understood"
                )
        known_names = {*UNDERSTOOD, *SIZES, *DESCRIBES, *settings}
        if unknown := sorted(set(self.cfg) - known_names):
            raise self.refuse(
                f"{CFG} says {unknown[0]} = {self.cfg[unknown[0]]!r}, and what that means is not "
                "known here"
            )

    def require_weights(self, axes: Collection[str], own: Collection[str]) -> None:
        """That these are there and no others, in types that transcoders are trained in."""
        with_skip = str(self.cfg["architecture"]).endswith("skip_transcoder")
        optional = () if with_skip else ("W_skip",)
        needed = [name for name in (*axes, *own) if name not in optional]
        if missing := [name for name in needed if name not in self.weights]:
            raise self.refuse(f"{WEIGHTS} lacks {', '.join(missing)}")
        if unknown := sorted(set(self.weights) - set(needed)):
            raise self.refuse(f"{WEIGHTS} holds more than it should: {', '.join(unknown)}")
        for name, weight in sorted(self.weights.items()):
            kind = str(weight.dtype).removeprefix("torch.")
            if weight.dtype not in FLOATS:
                raise self.refuse(f"{name} is of type {kind}, which no transcoder is trained in")
            if str(self.cfg.get("dtype", kind)).removeprefix("torch.") != kind:
                raise self.refuse(
                    f"{CFG} says dtype = {self.cfg['dtype']!r}, {name} is of type {kind}"
                )

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """That the weights have the sizes that the configuration says."""
        for name, size in sizes.items():
            if (said := self.cfg.get(name, size)) != size or isinstance(said, bool):
                raise self.refuse(f"{CFG} says {name} = {said!r}, the weights say {size}")


def _refused(folder: Path, reason: str) -> ValueError:
    return ValueError(f"{folder} does not hold a faithnb transcoder: {reason}.")


def write(
    folder: str | os.PathLike[str],
    architecture: str,
    weights: Mapping[str, Tensor],
    says: Mapping[str, Any],
) -> None:
    """Both files. Weights have a leading instance axis; a single instance is written without it.

    Args:
        folder: made if need be.
        architecture: as the package names it.
        weights: by name.
        says: sizes and settings.
    """
    folder = folder_named("folder", folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.mT if k == "W_skip" else v for k, v in weights.items()}
    weights = {k: (v[0] if len(v) == 1 else v).contiguous() for k, v in weights.items()}
    content = serialise(weights)
    name = "" if architecture == "relu" else f"{architecture}_"
    name += "skip_transcoder" if "W_skip" in weights else "transcoder"
    cfg = {
        "architecture": name,
        **says,
        "activation": architecture,
        "dtype": str(weights["W_enc"].dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "metadata": {DIGEST: hashlib.sha256(content).hexdigest()},
    }
    write_whole(folder / WEIGHTS, content)
    write_whole(folder / CFG, json.dumps(cfg, indent=2) + "\n")


def read(folder: str | os.PathLike[str]) -> Found:
    """Both files. What is subtracted from the input is folded into the biases, and the linear part
    turned the way it is used here.

    Raises:
        ValueError: if a file is missing, damaged or no part of this layout.
    """
    folder = folder_named("folder", folder)
    for name in (CFG, WEIGHTS):
        if not (folder / name).is_file():
            raise _refused(folder, f"{name} is missing")
    try:
        cfg = read_json((folder / CFG).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        weights = deserialise(content)
    except (ValueError, OSError, SafetensorError) as error:
        raise _refused(folder, f"a file cannot be read ({error})") from error
    said = str(cfg.get("architecture")) if isinstance(cfg, dict) else ""
    found = re.fullmatch(r"(?:(?!skip_)(\w+?)_)?(?:skip_)?transcoder", said)
    if found is None and said not in AUTOENCODERS:
        raise _refused(folder, f"{CFG} does not say architecture = transcoder")
    architecture = AUTOENCODERS[said] if found is None else found[1] or "relu"
    about = cfg.get("metadata")
    digest = about.get(DIGEST) if isinstance(about, dict) else None
    if digest not in (None, hashlib.sha256(content).hexdigest()):
        raise _refused(folder, f"{WEIGHTS} is not the file that {CFG} was written with")
    if "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"].mT
    if cfg.get("apply_b_dec_to_input", said in AUTOENCODERS):
        _fold_bias(folder, weights)
    return Found(folder, architecture, cfg, weights)


def _fold_bias(folder: Path, weights: dict[str, Tensor]) -> None:
    """(x − b_dec) W_enc + b_enc = x W_enc + (b_enc − b_dec W_enc)."""
    try:
        read = weights["b_dec"].double()[..., None, :] @ weights["W_enc"].double()
        weights["b_enc"] = (weights["b_enc"].double() - read[..., 0, :]).to(weights["b_enc"])
    except (KeyError, RuntimeError) as error:
        raise _refused(
            folder, "b_dec cannot be subtracted from the input: it has another width"
        ) from error
