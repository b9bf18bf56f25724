"""Transcoders on disk, in SAELens' layout: ``cfg.json`` and ``sae_weights.safetensors``.

Architectures have SAELens' names there: ``transcoder`` is the ReLU, ``jumprelu_skip_transcoder`` a
JumpReLU with a linear part, and so on; autoencoders, which SAELens calls ``standard``, ``topk`` and
``jumprelu``, are read as transcoders whose output has the input's width. They subtract ``b_dec``
from the input unless they say that they do not, transcoders only if they say so. What is done to
an input, and undone in the output, goes into the weights: :mod:`faithnb.model.folding`.
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
    "activation": ("relu",), "activation_fn": ("relu",), "activation_fn_str": ("relu",),
    "activation_fn_kwargs": ({},), "reshape_activations": ("none",),
    "apply_b_dec_to_input": (False, True), "rescale_acts_by_decoder_norm": (False,),
    "finetuning_scaling_factor": (False,),
}  # fmt: skip
"""What a configuration may say of how the weights are used; whatever else it says is refused. The
names of activations may also be that of its architecture."""

OF_TOPK: dict[str, tuple[Any, ...]] = {"rescale_acts_by_decoder_norm": (False, True)}
"""What TopK may say besides: its features are ranked by what they write."""

DESCRIBES = (
    "architecture", "device", "metadata", "dtype", "normalize_activations", "model_name",
    "hook_name", "hook_layer", "hook_head_index", "context_size", "prepend_bos", "dataset_path",
    "dataset_trust_remote_code", "neuronpedia_id", "sae_lens_version",
    "sae_lens_training_version", "model_from_pretrained_kwargs", "seqpos_slice",
)  # fmt: skip
"""What it may say besides, as SAELens did before its metadata had a place of their own. Norms are
read by :mod:`faithnb.model.folding`."""

BESIDE = ("sparsity.safetensors", "activation_whitening.safetensors",
          "activations_store_state.safetensors")  # fmt: skip
"""Files of SAELens that are no weights of a transcoder."""

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
        for name, known in self._understood().items():
            if (said := self.cfg.get(name, known[0])) not in known:
                raise self.refuse(
                    f"{CFG} says {name} = {said!r}, only {' or '.join(map(repr, known))} is "
                    "understood"
                )
        known_names = {*UNDERSTOOD, *SIZES, *DESCRIBES, *settings, *self._of_training()}
        if unknown := sorted(set(self.cfg) - known_names):
            raise self.refuse(
                f"{CFG} says {unknown[0]} = {self.cfg[unknown[0]]!r}, and what that means is not "
                "known here"
            )

    def _understood(self) -> dict[str, tuple[Any, ...]]:
        of_topk = self.architecture == "topk"
        known = UNDERSTOOD | (OF_TOPK if of_topk else {})
        for name in ("activation", "activation_fn", "activation_fn_str"):
            known[name] = tuple(dict.fromkeys((*known[name], self.architecture)))
        if of_topk:
            known["activation_fn_kwargs"] = ({}, {"k": self.cfg.get("k")})
        return known

    def _of_training(self) -> set[str]:
        """What the metadata repeat as having to do with training alone."""
        about = self.cfg.get("metadata")
        details = about.get("training_architecture_details") if isinstance(about, dict) else None
        told = details if isinstance(details, dict) else {}
        return {name for name, value in told.items() if self.cfg.get(name) == value}

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
            # SAELens keeps thresholds in float32, whatever the type of the others
            said = str(self.cfg.get("dtype", kind)).removeprefix("torch.")
            if said != kind and name in axes:
                raise self.refuse(
                    f"{CFG} says dtype = {self.cfg['dtype']!r}, {name} is of type {kind}"
                )

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """That the weights have the sizes that the configuration says."""
        for name, size in sizes.items():
            if (said := self.cfg.get(name, size)) != size or isinstance(said, bool):
                raise self.refuse(f"{CFG} says {name} = {said!r}, the weights say {size}")


def _refused(folder: Path, reason: str) -> ValueError:
    return ValueError(f"{folder} does not hold a transcoder that can be read: {reason}.")


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
    if name == "topk_transcoder" and says["d_in"] == says["d_out"]:
        name = "topk"  # the one TopK that SAELens knows
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
    """Both files, the linear part turned the way it is used here.

    Raises:
        ValueError: if a file is missing, damaged or no part of this layout, or there are weights
            of several layouts.
    """
    folder = folder_named("folder", folder)
    if not folder.is_dir():
        raise _refused(folder, "there is no such folder")
    others = sorted(path.name for path in folder.iterdir() if _may_be_weights(path))
    for name in (CFG, WEIGHTS):
        if not (folder / name).is_file():
            beside = f", and {others[0]} is no file of this layout" if others else ""
            raise _refused(folder, f"{name} is missing{beside}")
    if others:
        raise _refused(folder, f"weights stand in {WEIGHTS} and in {', '.join(others)}")
    try:
        cfg = read_json((folder / CFG).read_text(encoding="utf-8"))
        content = (folder / WEIGHTS).read_bytes()
        weights = deserialise(content)
    except (ValueError, OSError, SafetensorError) as error:
        raise _refused(folder, f"a file cannot be read ({error})") from error
    if not isinstance(cfg, dict) or "architecture" not in cfg:
        raise _refused(folder, f"{CFG} does not say architecture")
    said = str(cfg["architecture"])
    found = re.fullmatch(r"(?:(?!skip_)(\w+?)_)?(?:skip_)?transcoder", said)
    if found is None and said not in AUTOENCODERS:
        raise _refused(
            folder,
            f"{CFG} says architecture = {said!r}, only {', '.join(AUTOENCODERS)} and what ends in "
            "transcoder is understood",
        )
    about = cfg.get("metadata")
    digest = about.get(DIGEST) if isinstance(about, dict) else None
    if digest not in (None, hashlib.sha256(content).hexdigest()):
        raise _refused(folder, f"{WEIGHTS} is not the file that {CFG} was written with")
    if "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"].mT
    architecture = AUTOENCODERS[said] if found is None else found[1] or "relu"
    return Found(folder, *_of_before(architecture, cfg, weights))


def _may_be_weights(path: Path) -> bool:
    known = path.name in (WEIGHTS, *BESIDE)
    return not known and (path.suffix in (".safetensors", ".npz") or path.name == "ae.pt")


def _of_before(
    architecture: str, cfg: dict[str, Any], weights: dict[str, Tensor]
) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """What SAELens wrote before version 6, as it is said now."""
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn"))
    given = cfg.get("activation_fn_kwargs")
    if cfg["architecture"] == "standard" and activation == "topk" and isinstance(given, dict):
        architecture, cfg = "topk", cfg | {"k": given.get("k")}
    if "log_threshold" in weights and "threshold" not in weights:
        weights["threshold"] = weights.pop("log_threshold").exp()
    if "scaling_factor" in weights and (weights["scaling_factor"] == 1).all():
        del weights["scaling_factor"]
    return architecture, cfg, weights
