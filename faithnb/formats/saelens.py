"""SAELens: ``cfg.json`` and ``sae_weights.safetensors``, the layout that this package writes.

Architectures have SAELens' names there: ``transcoder`` is the ReLU, ``jumprelu_skip_transcoder`` a
JumpReLU with a linear part, and so on; autoencoders, which SAELens calls ``standard``, ``topk``,
``jumprelu`` and ``gated``, are read as transcoders whose output has the input's width. They
subtract ``b_dec`` from the input unless they say that they do not, transcoders only if they say so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from safetensors.torch import save as serialise
from torch import Tensor

from faithnb.formats.folder import Folder
from faithnb.formats.folding import Folding
from faithnb.formats.layout import PLAIN, Found, Held, Kind, Layout, Match, kind_of

CFG, WEIGHTS = "cfg.json", "sae_weights.safetensors"

SIZES = ("n_inst", "d_in", "d_sae", "d_out")

AUTOENCODERS = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}
"""SAELens' names of autoencoders, and the architectures here."""

AS_AUTOENCODERS = ("topk", "gated")
"""Those for which it has no transcoder."""

OF_GATED = {"b_enc": "b_gate"}
"""Its names of a gated layer's weights, where they are others than ours."""

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
"""What it may say besides, as SAELens did before its metadata had a place of their own."""

DIGEST = "sae_weights_sha256"
"""Under which the metadata keep the hash of the weights' file, so that damage shows."""

AVERAGE, SCALER = "expected_average_only_in", "activation_scaler.json"
"""The norm that is one number for all inputs, and the file that SAELens keeps it in."""

BY_INPUT = {
    "constant_norm_rescale": "every input is divided by its own norm",
    "layer_norm": "every input is divided by its own standard deviation",
}
"""Norms that no weights can do."""


class SAELens(Layout):
    """W_enc ``[d_in, d_sae]``, W_dec, biases, W_skip ``[d_out, d_in]``, threshold; a gated layer's
    b_gate, b_mag and r_mag. Of ours every architecture, an ensemble with a leading axis."""

    name = "saelens"

    @classmethod
    def match(cls, folder: Folder) -> Match:
        if "architecture" in folder.settings(CFG):
            return Match.SAID
        reads, writes = folder.shape("W_enc"), folder.shape("W_dec")
        fits = min(len(reads), len(writes)) >= 2 and reads[-1] == writes[-2]
        alone = "activation_function.threshold" not in folder.tensors
        return Match.KEYS if fits and alone and folder.container == "safetensors" else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        if not folder.has(CFG):
            raise folder.refuse(f"{CFG} is missing")
        cfg = folder.settings(CFG)
        if "architecture" not in cfg:
            raise folder.refuse(f"{CFG} does not say architecture")
        named = str(cfg["architecture"])
        found = re.fullmatch(r"(?:(?!skip_)(\w+?)_)?(?:skip_)?transcoder", named)
        if found is None and named not in AUTOENCODERS:
            raise folder.refuse(
                f"{CFG} says architecture = {named!r}, only {', '.join(AUTOENCODERS)} and what "
                "ends in transcoder is understood"
            )
        about = cfg.get("metadata")
        digest = about.get(DIGEST) if isinstance(about, dict) else None
        if digest not in (None, folder.digest):
            raise folder.refuse(
                f"{folder.weights_file} is not the file that {CFG} was written with"
            )
        architecture = AUTOENCODERS[named] if found is None else found[1] or "relu"
        weights = dict(folder.tensors)
        architecture, cfg = _of_before(architecture, cfg, weights)
        kind = kind_of(folder, architecture, kinds)
        return _found(folder, architecture, cfg, weights, kind)

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        """None: what SAELens has no class for has a name of ours."""
        return iter(())

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        """A single instance is written without its axis."""
        renamed = OF_GATED if held.architecture == "gated" else {}
        weights = {renamed.get(k, k): (w[0] if len(w) == 1 else w) for k, w in held.weights.items()}
        if "W_skip" in weights:
            weights["W_skip"] = weights["W_skip"].mT
        content = serialise({k: w.contiguous() for k, w in weights.items()})
        name = "" if held.architecture == "relu" else f"{held.architecture}_"
        name += "skip_transcoder" if "W_skip" in weights else "transcoder"
        square = held.sizes["d_in"] == held.sizes["d_out"]
        if square and name.removesuffix("_transcoder") in AS_AUTOENCODERS:
            name = held.architecture  # the only one of its kind that SAELens knows
        cfg = {
            "architecture": name,
            **held.sizes,
            **held.settings,
            "activation": held.architecture,
            "dtype": held.dtype,
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "metadata": {DIGEST: hashlib.sha256(content).hexdigest()},
        }
        return {WEIGHTS: content, CFG: json.dumps(cfg, indent=2) + "\n"}


def _of_before(
    architecture: str, cfg: dict[str, Any], weights: dict[str, Tensor]
) -> tuple[str, dict[str, Any]]:
    """What SAELens wrote before version 6, as it is said now; weights are changed in place."""
    activation = cfg.get("activation_fn_str", cfg.get("activation_fn"))
    given = cfg.get("activation_fn_kwargs")
    if cfg["architecture"] == "standard" and activation == "topk" and isinstance(given, dict):
        architecture, cfg = "topk", cfg | {"k": given.get("k")}
    if "log_threshold" in weights and "threshold" not in weights:
        weights["threshold"] = weights.pop("log_threshold").exp()
    if "scaling_factor" in weights and (weights["scaling_factor"] == 1).all():
        del weights["scaling_factor"]
    return architecture, cfg


def _found(
    folder: Folder, architecture: str, cfg: dict[str, Any], weights: dict[str, Tensor], kind: Kind
) -> Found:
    settings = {name: cfg.get(name) for name in kind.settings}
    if unset := [name for name, value in settings.items() if value is None]:
        raise folder.refuse(f"{CFG} does not say {unset[0]}")
    folder.require_settings(
        CFG, cfg, _understood(architecture, cfg),
        {*SIZES, *DESCRIBES, *kind.settings, *_of_training(cfg)},
    )  # fmt: skip
    renamed = OF_GATED if architecture == "gated" else {}
    needed = [renamed.get(name, name) for name in (*PLAIN, *kind.own_axes)]
    needed += ["W_skip"] if str(cfg["architecture"]).endswith("skip_transcoder") else []
    replace(folder, tensors=weights).require_weights(needed)
    for name in sorted((*PLAIN, "W_skip")):
        # SAELens keeps thresholds in float32, whatever the type of the others
        stored = weights.get(renamed.get(name, name))
        kind_of = "" if stored is None else str(stored.dtype).removeprefix("torch.")
        if stored is not None and str(cfg.get("dtype", kind_of)).removeprefix("torch.") != kind_of:
            raise folder.refuse(f"{CFG} says dtype = {cfg['dtype']!r}, {name} is of type {kind_of}")
    if "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"].mT
    factor = _factor(folder, cfg)
    return Found(
        folder,
        architecture,
        {name: weights[renamed.get(name, name)] for name in _ours(needed, renamed)},
        settings,
        Folding(
            factor,
            factor,
            bool(cfg.get("apply_b_dec_to_input", cfg["architecture"] in AUTOENCODERS)),
            "activations" if cfg.get("rescale_acts_by_decoder_norm", False) else "",
        ),
        {name: (f"{CFG} says {name}", cfg[name]) for name in SIZES if name in cfg},
    )


def _ours(names: list[str], renamed: Mapping[str, str]) -> list[str]:
    back = {theirs: ours for ours, theirs in renamed.items()}
    return [back.get(name, name) for name in names]


def _understood(architecture: str, cfg: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    of_topk = architecture == "topk"
    known = UNDERSTOOD | (OF_TOPK if of_topk else {})
    for name in ("activation", "activation_fn", "activation_fn_str"):
        known[name] = tuple(dict.fromkeys((*known[name], architecture)))
    if of_topk:
        known["activation_fn_kwargs"] = ({}, {"k": cfg.get("k")})
    return known


def _of_training(cfg: Mapping[str, Any]) -> set[str]:
    """What the metadata repeat as having to do with training alone."""
    about = cfg.get("metadata")
    details = about.get("training_architecture_details") if isinstance(about, dict) else None
    told = details if isinstance(details, dict) else {}
    return {name for name, value in told.items() if cfg.get(name) == value}


def _factor(folder: Folder, cfg: Mapping[str, Any]) -> float:
    """What inputs are multiplied by, and outputs divided."""
    said = cfg.get("normalize_activations", "none")
    if said in (None, False, "none"):
        return 1.0
    says = f"{CFG} says normalize_activations = {said!r}"
    if isinstance(said, str) and said in BY_INPUT:
        raise folder.refuse(f"{says}: {BY_INPUT[said]}, which no weights can do")
    if said not in (True, AVERAGE):
        raise folder.refuse(f"{says}, only 'none' or {AVERAGE!r} is understood")
    if not folder.has(SCALER):
        raise folder.refuse(f"{says}, and {SCALER}, which holds the factor, is missing")
    said_factor = folder.settings(SCALER).get("scaling_factor")
    return folder.positive(f"{SCALER} says scaling_factor", said_factor)
