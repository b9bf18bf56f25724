"""What Llama Scope and Llamascopium, of one group, have in common: norms and gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from faithnb.common.errors import shown
from faithnb.formats.folder import Folder
from faithnb.formats.folding import Folding
from faithnb.formats.layout import Found, Held

NORM = "dataset_average_activation_norm"

NO_WEIGHTS = ("token-wise", "batch-wise")
"""Norms of each input or batch."""

DESCRIBED = {"use_decoder_bias": True, "norm_activation": "inference",
             "sparsity_include_decoder_norm": False, "hook_point_in": "in",
             "hook_point_out": "out"}  # fmt: skip
"""What is written of a transcoder: nothing is done to inputs and gates."""


def scales(folder: Folder, file: str, said: Mapping[str, Any], d_model: int) -> tuple[float, float]:
    """What inputs are multiplied by and outputs divided: √d_model over the average norm.

    Args:
        folder: whose weights may hold the norms, by hook point.
        file: the configuration's name.
        said: what it says; it may hold the norms as ``in`` and ``out``.
        d_model: the width.

    Raises:
        ValueError: as :func:`scales_at`.
    """
    hooks = {place: said.get(f"hook_point_{place}") for place in ("in", "out")}
    of_inputs, of_outputs = scales_at(folder, file, said, d_model, hooks)
    return of_inputs, of_outputs


def scales_at(
    folder: Folder, file: str, said: Mapping[str, Any], d_model: int, hooks: Mapping[str, Any]
) -> list[float]:
    """√d_model over the average norm, at each of several hook points.

    Args:
        folder: whose weights may hold the norms, by hook point.
        file: the configuration's name.
        said: what it says; it may hold the norms by the names of places.
        d_model: the width.
        hooks: the hook points, by the names of their places, such as ``"in"``.

    Raises:
        ValueError: if no weights can do it, or a norm is missing or no number above 0.
    """
    norm = said.get("norm_activation", "dataset-wise")
    if norm == "inference":
        return [1.0 for _ in hooks]
    if norm in NO_WEIGHTS:
        raise folder.refuse(
            f"{file} says norm_activation = {norm!r}: every input or batch is divided by its own "
            "norm, which no weights can do"
        )
    if norm != "dataset-wise":
        raise folder.refuse(
            f"{file} says norm_activation = {shown(norm)}, only 'dataset-wise' or 'inference' is "
            "understood"
        )
    stated = said.get(NORM)
    stated = stated if isinstance(stated, dict) else {}
    found = []
    for place, point in hooks.items():
        hook = f"{NORM}.{point}"
        value = folder.number(hook) if hook in folder.tensors else stated.get(place)
        if value is None:
            raise folder.refuse(
                f"{file} says norm_activation = {norm!r}, and neither it nor the weights hold the "
                f"{NORM} of its {place}puts"
            )
        found.append(math.sqrt(d_model) / folder.positive(f"{NORM}.{place}", value))
    return found


def found_with(
    folder: Folder,
    file: str,
    said: Mapping[str, Any],
    weights: dict[str, Tensor],
    threshold: Tensor | None,
    scale: tuple[float, float],
) -> Found:
    """What a folder holds, with the gate that its configuration says.

    Args:
        folder: where.
        file: the configuration's name.
        said: what it says.
        weights: by our names, without the threshold.
        threshold: of ``z``, or of ``z ‖w‖`` where the decoder's norms count.
        scale: from :func:`scales`.

    Raises:
        ValueError: if the gate is one that depends on the batch, or is incomplete.
    """
    if "act_fn" not in said:
        raise folder.refuse(f"{file} does not say act_fn")
    gate = str(said["act_fn"]).lower()
    by_norms = bool(said.get("sparsity_include_decoder_norm", True))
    sizes = {"d_in": (f"{file} says d_model", said["d_model"])} if "d_model" in said else {}
    if gate == "jumprelu":
        if threshold is None:
            raise folder.refuse(f"{file} says act_fn = 'jumprelu', and there is no threshold")
        folding = Folding(*scale, norms="thresholds" if by_norms else "")
        return Found(folder, gate, weights | {"threshold": threshold}, {}, folding, sizes)
    if gate == "topk":
        folding = Folding(*scale, norms="activations" if by_norms else "")
        if said.get("top_k") is None:
            raise folder.refuse(f"{file} does not say top_k")
        return Found(folder, gate, weights, {"k": said["top_k"]}, folding, sizes)
    if gate != "relu":
        raise folder.refuse(
            f"{file} says act_fn = {shown(said['act_fn'])}, only 'relu', 'jumprelu' or 'topk' is "
            "understood, whatever else depends on the batch"
        )
    return Found(folder, gate, weights, {}, Folding(*scale), sizes)


def require_relu(folder: Folder, file: str, said: Mapping[str, Any]) -> None:
    """That the configuration says ReLUs, where no other features can be held.

    Raises:
        ValueError: naming what it says.
    """
    if str(said.get("act_fn")).lower() != "relu":
        raise folder.refuse(
            f"{file} says act_fn = {shown(said.get('act_fn'))}, only 'relu' can be held here for "
            f"sae_type = {said.get('sae_type')!r}"
        )


def described(held: Held) -> dict[str, Any]:
    """The configuration of what is written."""
    k = {"top_k": held.settings["k"]} if "k" in held.settings else {}
    widths = {"d_model": held.sizes["d_in"], "d_sae": held.sizes["d_sae"]}
    return {"act_fn": held.architecture, **widths, **k, **DESCRIBED}


def per_feature(value: float, weights: Mapping[str, Tensor]) -> Tensor:
    """One threshold for all features."""
    return torch.full((weights["W_enc"].shape[1],), value, dtype=torch.float64)
