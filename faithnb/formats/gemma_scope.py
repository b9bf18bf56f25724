"""Gemma Scope: JumpReLUs in ``params.npz``; Gemma Scope 2 in ``params.safetensors``, with
``config.json``. Nothing is done to an input."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors.torch import save as serialise

from faithnb.common.errors import shown
from faithnb.formats.folder import Folder
from faithnb.formats.layout import PLAIN, Found, Held, Kind, Layout, Match

CONFIG = "config.json"

NAMES = {"W_enc": "w_enc", "W_dec": "w_dec", "b_enc": "b_enc", "b_dec": "b_dec",
         "threshold": "threshold"}  # fmt: skip
"""Our names, and those of Gemma Scope 2 and of some files of the first."""

SKIP = "affine_skip_connection"

UNDERSTOOD: dict[str, tuple[Any, ...]] = {
    "architecture": ("jump_relu",),
    "type": ("sae", "transcoder"),
}
"""What the configuration of Gemma Scope 2 may say of how the weights are used; else it describes
the model."""


class GemmaScope(Layout):
    """W_enc ``[d_in, d_sae]``, W_dec ``[d_sae, d_out]``, biases and threshold, as here."""

    name = "gemma_scope"
    holds = ("jumprelu",)
    one_width = False

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = {"W_enc", "w_enc"} & set(folder.tensors)
        return Match.KEYS if own and folder.container == "npz" else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        factor = folder.tensors.get("scaling_factor")
        if factor is not None and not (factor == 1).all():
            raise folder.refuse("scaling_factor is not 1, and its library reads none but 1")
        lower = "w_enc" in folder.tensors
        names = NAMES if lower else {name: name for name in (*PLAIN, "threshold")}
        folder.require_weights(list(names.values()), ("scaling_factor",))
        return Found(folder, "jumprelu", {k: folder.tensors[v] for k, v in names.items()})

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.dtype == "bfloat16":
            yield "an .npz has no bfloat16, layout = 'gemma_scope_2' has"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        content = io.BytesIO()
        np.savez(content, **{name: weight.numpy() for name, weight in held.one.items()})  # type: ignore[arg-type]
        return {"params.npz": content.getvalue()}


class GemmaScope2(Layout):
    """w_enc ``[d_in, d_sae]``, w_dec ``[d_sae, d_out]``, affine_skip_connection ``[d_in, d_out]``,
    none of them turned."""

    name = "gemma_scope_2"
    holds = ("jumprelu",)
    one_width = False
    with_skip = True

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = "w_enc" in folder.tensors and folder.container == "safetensors"
        return Match.KEYS if own else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        if len(folder.shape("w_dec")) == 3:
            raise folder.refuse(
                "w_dec writes to several layers, by features with thresholds, and a transcoder of "
                "several layers here has ReLUs alone"
            )
        folder.require_weights(list(NAMES.values()), (SKIP,))
        config = folder.settings(CONFIG)
        folder.require_settings(
            CONFIG,
            {name: said for name, said in config.items() if name in UNDERSTOOD},
            UNDERSTOOD,
            (),
        )
        skips = SKIP in folder.tensors
        if config.get("affine_connection", skips) != skips:
            raise folder.refuse(
                f"{CONFIG} says affine_connection = {shown(config['affine_connection'])}, and the "
                f"weights hold {'one' if skips else 'none'}"
            )
        names = NAMES | ({"W_skip": SKIP} if skips else {})
        return Found(folder, "jumprelu", {k: folder.tensors[v] for k, v in names.items()})

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        names = NAMES | {"W_skip": SKIP}
        weights = {names[name]: weight.contiguous() for name, weight in held.one.items()}
        config = {
            "architecture": "jump_relu",
            "type": "transcoder",
            "width": held.sizes["d_sae"],
            "affine_connection": SKIP in weights,
        }
        return {"params.safetensors": serialise(weights), CONFIG: json.dumps(config) + "\n"}
