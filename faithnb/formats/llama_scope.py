"""Llama Scope: ``hyperparams.json`` and ``checkpoints/final.safetensors``; a later release has
``config.json`` and a log threshold a feature.

Inputs are scaled to an average norm of √d_model. The one threshold of the first release was found
on activations of the model itself, and is read so by its library: a feature is on where what it
writes, in units of the outputs, is above it. Log thresholds are in units of scaled inputs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from safetensors.torch import save as serialise

from faithnb.formats.folder import Folder
from faithnb.formats.layout import Found, Held, Kind, Layout, Match
from faithnb.formats.openmoss import NORM, described, found_with, per_feature, scales

CONFIGS = ("hyperparams.json", "config.json")
WEIGHTS = "checkpoints/final.safetensors"

LOGS = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")

UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "use_glu_encoder": (False,),
    "apply_decoder_bias_to_pre_encoder": (False,),
}
"""What its configuration may say of how inputs are used. Most of what else it says has to do with
training, and is passed over."""


class LlamaScope(Layout):
    """encoder.weight ``[d_sae, d_in]``, decoder.weight ``[d_out, d_sae]`` and their biases."""

    name = "llama_scope"
    holds = ("relu", "topk", "jumprelu")

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = "encoder.weight" in folder.tensors and "b_dec" not in folder.tensors
        return Match.KEYS if own and folder.container == "safetensors" else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        file = next((name for name in CONFIGS if folder.has(name)), None)
        if file is None:
            raise folder.refuse(f"{CONFIGS[0]} is missing")
        said = folder.settings(file)
        checked = {name: said[name] for name in UNDERSTOOD if name in said}
        folder.require_settings(file, checked, UNDERSTOOD, ())
        with_bias = said.get("use_decoder_bias", True) is not False
        norms = [name for name in folder.tensors if name.startswith(f"{NORM}.")]
        logs = [name for name in LOGS if name in folder.tensors]
        folder.require_weights(
            ["encoder.weight", "encoder.bias", "decoder.weight",
             *(["decoder.bias"] if with_bias else [])],
            [*norms, *logs[:1]],
        )  # fmt: skip
        weights = {
            "W_enc": folder.matrix("encoder.weight").T,
            "b_enc": folder.tensors["encoder.bias"],
            "W_dec": folder.matrix("decoder.weight").T,
        }
        d_in, d_out = weights["W_enc"].shape[0], weights["W_dec"].shape[1]
        no_bias = weights["W_dec"].new_zeros(d_out)
        weights["b_dec"] = folder.tensors["decoder.bias"] if with_bias else no_bias
        scale = scales(folder, file, said, d_in)
        value = said.get("jump_relu_threshold") or 0.0
        if logs:
            threshold = folder.tensors[logs[0]].double().exp()
        elif value:
            by_norms = said.get("sparsity_include_decoder_norm", True)
            value = folder.positive(f"{file} says jump_relu_threshold", value)
            threshold = per_feature(value * scale[1 if by_norms else 0], weights)
            if said.get("act_fn") == "topk":  # its library uses it as a JumpReLU then
                said["act_fn"] = "jumprelu"
        else:
            threshold = per_feature(0.0, weights)
        return found_with(folder, file, said, weights, threshold, scale)

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.architecture == "jumprelu":
            threshold = held.one["threshold"]
            if not (threshold == threshold[0]).all() or threshold[0] < 0:
                yield "it has one threshold for all features, layout = 'llamascopium' one for each"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        w = held.one
        content = serialise({
            "encoder.weight": w["W_enc"].T.contiguous(),
            "encoder.bias": w["b_enc"].contiguous(),
            "decoder.weight": w["W_dec"].T.contiguous(),
            "decoder.bias": w["b_dec"].contiguous(),
        })  # fmt: skip
        said = described(held)
        if held.architecture == "jumprelu":
            said["jump_relu_threshold"] = w["threshold"][0].double().item()
        return {WEIGHTS: content, CONFIGS[0]: json.dumps(said, indent=2) + "\n"}
