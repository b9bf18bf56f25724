"""What another library does to an input before its encoder, as a part of the weights."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor

from faithnb.common.files import read_json
from faithnb.model.formats import AUTOENCODERS, CFG, Found

AVERAGE, SCALER = "expected_average_only_in", "activation_scaler.json"
"""The norm that is one number for all inputs, and the file that SAELens keeps it in."""

BY_INPUT = {
    "constant_norm_rescale": "every input is divided by its own norm",
    "layer_norm": "every input is divided by its own standard deviation",
}
"""Norms that no weights can do."""


def folded(found: Found, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the same outputs and feature activations that need nothing done to the input.
    They are computed in float64 and rounded once.

    Args:
        found: what the folder says.
        weights: by name, with a leading instance axis.

    Raises:
        ValueError: if weights cannot do it.
    """
    factor = _factor(found)
    subtracts = found.cfg.get("apply_b_dec_to_input", found.cfg["architecture"] in AUTOENCODERS)
    rescales = found.cfg.get("rescale_acts_by_decoder_norm", False)
    if factor == 1 and not subtracts and not rescales:
        return dict(weights)
    w = {name: weight.double() for name, weight in weights.items()}
    if rescales:  # h ‖w‖ is the activation, and w / ‖w‖ what it writes
        norms = w["W_dec"].norm(dim=-1)
        w["W_enc"], w["b_enc"] = w["W_enc"] * norms[:, None], w["b_enc"] * norms
        w["W_dec"] = torch.nn.functional.normalize(w["W_dec"], dim=-1)
    w["W_enc"], w["W_dec"] = w["W_enc"] * factor, w["W_dec"] / factor
    w["b_dec"] = w["b_dec"] / factor
    if subtracts:
        if w["b_dec"].shape[-1] != w["W_enc"].shape[-2]:
            raise found.refuse(
                f"b_dec cannot be subtracted from the input: it has {w['b_dec'].shape[-1]} "
                f"coordinates, the input {w['W_enc'].shape[-2]}"
            )
        w["b_enc"] = w["b_enc"] - (w["b_dec"][:, None] @ w["W_enc"])[:, 0]
    rounded = {name: weight.to(weights[name].dtype) for name, weight in w.items()}
    for name, weight in rounded.items():
        if not torch.isfinite(weight).all():
            raise found.refuse(
                f"{name} is not finite once what is done to the input has gone into it"
            )
    return rounded


def _factor(found: Found) -> float:
    """What inputs are multiplied by, and outputs divided."""
    said = found.cfg.get("normalize_activations", "none")
    if said in (None, False, "none"):
        return 1.0
    says = f"{CFG} says normalize_activations = {said!r}"
    if isinstance(said, str) and said in BY_INPUT:
        raise found.refuse(f"{says}: {BY_INPUT[said]}, which no weights can do")
    if said not in (True, AVERAGE):
        raise found.refuse(f"{says}, only 'none' or {AVERAGE!r} is understood")
    if not (found.folder / SCALER).is_file():
        raise found.refuse(f"{says}, and {SCALER}, which holds the factor, is missing")
    try:
        content = read_json((found.folder / SCALER).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise found.refuse(f"{SCALER} cannot be read ({error})") from error
    factor = content.get("scaling_factor") if isinstance(content, dict) else None
    if isinstance(factor, (int, float)) and factor is not True and 0 < factor <= sys.float_info.max:
        return float(factor)
    raise found.refuse(f"{SCALER} says scaling_factor = {factor!r}, it must be a number above 0")
