"""sparsify (``eai-sparsify``): ``cfg.json`` and ``sae.safetensors``, TopK alone.

An autoencoder subtracts ``b_dec`` from the input, a transcoder (``transcode``) does not. Files from
before that setting are autoencoders to the library, transcoders among them, and so here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from safetensors.torch import save as serialise

from faithnb.formats.folder import Folder
from faithnb.formats.folding import Folding
from faithnb.formats.layout import Found, Held, Kind, Layout, Match

CFG, WEIGHTS = "cfg.json", "sae.safetensors"

UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "activation": ("topk",),
    "signed": (False,),
    "transcode": (False, True),
    "skip_connection": (False, True),
}
KNOWN = ("d_in", "expansion_factor", "normalize_decoder", "num_latents", "k", "multi_topk")
"""What has to do with sizes, or with training alone."""

FACTORS = ("d_in", "expansion_factor")
"""Of the number of features, where that is not said."""


class Sparsify(Layout):
    """encoder.weight ``[d_sae, d_in]``, W_dec ``[d_sae, d_out]`` (decoder.weight ``[d_out, d_sae]``
    of old), W_skip ``[d_out, d_in]``."""

    name = "sparsify"
    holds = ("topk",)
    with_skip = True

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = {"encoder.weight", "b_dec"} <= set(folder.tensors)
        return Match.KEYS if own and folder.container == "safetensors" else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        if not folder.has(CFG):
            raise folder.refuse(f"{CFG} is missing")
        cfg = folder.settings(CFG)
        folder.require_settings(CFG, cfg, UNDERSTOOD, KNOWN)
        if unset := [name for name in ("k", "d_in") if cfg.get(name) is None]:
            raise folder.refuse(f"{CFG} does not say {unset[0]}")
        old = "decoder.weight" in folder.tensors
        skips = cfg.get("skip_connection", False)
        folder.require_weights(
            ["encoder.weight", "encoder.bias", "decoder.weight" if old else "W_dec", "b_dec",
             *(["W_skip"] if skips else [])]
        )  # fmt: skip
        weights = {
            "W_enc": folder.matrix("encoder.weight").T,
            "b_enc": folder.tensors["encoder.bias"],
            "W_dec": folder.matrix("decoder.weight").T if old else folder.matrix("W_dec"),
            "b_dec": folder.tensors["b_dec"],
        }
        if skips:
            weights["W_skip"] = folder.matrix("W_skip").T
        sizes = {"d_in": (f"{CFG} says d_in", cfg["d_in"])}
        if cfg.get("num_latents"):  # 0 leaves it to the expansion factor
            sizes["d_sae"] = (f"{CFG} says num_latents", cfg["num_latents"])
        elif "expansion_factor" in cfg:
            factors = [folder.positive(f"{CFG} says {name}", cfg[name]) for name in FACTORS]
            sizes["d_sae"] = (f"{CFG} says {' · '.join(FACTORS)}", math.prod(factors))
        folding = Folding(subtracts=not cfg.get("transcode", False))
        return Found(folder, "topk", weights, {"k": cfg["k"]}, folding, sizes)

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        w = held.one
        weights = {
            "encoder.weight": w["W_enc"].T,
            "encoder.bias": w["b_enc"],
            "W_dec": w["W_dec"],
            "b_dec": w["b_dec"],
        }
        if "W_skip" in w:
            weights["W_skip"] = w["W_skip"].T
        cfg = {
            "activation": "topk",
            "num_latents": held.sizes["d_sae"],
            "k": held.settings["k"],
            "skip_connection": "W_skip" in w,
            "transcode": True,
            "d_in": held.sizes["d_in"],
        }
        content = serialise({name: weight.contiguous() for name, weight in weights.items()})
        return {WEIGHTS: content, CFG: json.dumps(cfg) + "\n"}
