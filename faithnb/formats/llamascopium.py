"""Llamascopium: ``config.json`` and ``sae_weights.safetensors``, with the norms of its data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors.torch import save as serialise

from faithnb.formats.folder import Folder
from faithnb.formats.layout import Found, Held, Kind, Layout, Match
from faithnb.formats.openmoss import NORM, described, found_with, scales

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"

NAMES = {"W_enc": "W_E", "b_enc": "b_E", "W_dec": "W_D", "b_dec": "b_D"}

LOG = "activation_function.log_jumprelu_threshold"

UNDERSTOOD: dict[str, tuple[Any, ...]] = {"sae_type": ("sae",), "use_glu_encoder": (False,)}
KNOWN = (
    "d_model", "d_sae", "expansion_factor", "use_decoder_bias", "act_fn", "norm_activation",
    "sparsity_include_decoder_norm", "top_k", "hook_point_in", "hook_point_out", "dtype", "device",
    "use_triton_kernel", "sparsity_threshold_for_triton_spmm_kernel", "jumprelu_threshold_window",
    "sae_pretrained_name_or_path", "strict_loading", NORM,
)  # fmt: skip


class Llamascopium(Layout):
    """W_E ``[d_in, d_sae]``, W_D ``[d_sae, d_out]``, as here, and log thresholds. Features pass
    their threshold by what they write, unless the configuration says otherwise."""

    name = "llamascopium"
    holds = ("relu", "topk", "jumprelu")

    @classmethod
    def match(cls, folder: Folder) -> Match:
        of_layers = len(folder.shape("W_E")) == 3
        of_molt = any(name.startswith("U_matrices.") for name in folder.tensors)
        own = "W_E" in folder.tensors and not of_layers and not of_molt
        return Match.KEYS if own else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        if not folder.has(CONFIG):
            raise folder.refuse(f"{CONFIG} is missing")
        said = folder.settings(CONFIG)
        folder.require_settings(CONFIG, said, UNDERSTOOD, KNOWN)
        names = dict(NAMES)
        with_bias = said.get("use_decoder_bias", True) is not False
        if not with_bias:
            del names["b_dec"]
        norms = [name for name in folder.tensors if name.startswith(f"{NORM}.")]
        folder.require_weights(list(names.values()), [*norms, LOG])
        weights = {ours: folder.tensors[theirs] for ours, theirs in names.items()}
        if not with_bias:
            weights["b_dec"] = weights["W_dec"].new_zeros(folder.matrix("W_D").shape[1])
        threshold = folder.tensors[LOG].double().exp() if LOG in folder.tensors else None
        scale = scales(folder, CONFIG, said, folder.matrix("W_E").shape[0])
        return found_with(folder, CONFIG, said, weights, threshold, scale)

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.architecture == "jumprelu" and not (held.weights["threshold"] > 0).all():
            yield "it keeps logarithms of thresholds, and one is not above 0"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        w = held.one
        weights = {theirs: w[ours].contiguous() for ours, theirs in NAMES.items()}
        if "threshold" in w:
            weights[LOG] = w["threshold"].double().log().to(w["threshold"].dtype)
        said = {"sae_type": "sae", **described(held)}
        said["expansion_factor"] = held.sizes["d_sae"] / held.sizes["d_in"]
        return {WEIGHTS: serialise(weights), CONFIG: json.dumps(said, indent=2) + "\n"}
