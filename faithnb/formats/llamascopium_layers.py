"""Llamascopium's transcoders of several layers: cross-layer transcoders and crosscoders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor

from faithnb.common.errors import shown
from faithnb.formats.folder import Folder
from faithnb.formats.layers import joined, parted, require_shapes
from faithnb.formats.layout import Found, Held, Kind, Layout, Match
from faithnb.formats.llamascopium import CONFIG, KNOWN, UNDERSTOOD, WEIGHTS
from faithnb.formats.openmoss import NORM, require_relu, scales_at

OF_LAYERS = (
    "hook_points", "hook_points_in", "hook_points_out", "init_cross_layer_decoder_all_zero",
    "decode_with_csr", "sparsity_threshold_for_csr",
)  # fmt: skip


class LlamascopiumCLT(Layout):
    """W_E ``[L, d_model, d_sae]`` and b_E ``[L, d_sae]``; W_D.j ``[j + 1, d_sae, d_model]``, which
    is what layers up to j write to layer j, and b_D.j."""

    name = "llamascopium_clt"
    holds = ("cross_layer",)

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = len(folder.shape("W_E")) == 3 and "W_D.0" in folder.tensors
        return Match.KEYS if own else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        said = _said(folder, "clt")
        n, d, m = folder.shape("W_E")
        shapes: dict[str, tuple[int, ...]] = {"W_E": (n, d, m), "b_E": (n, m)}
        for j in range(n):
            shapes |= {f"W_D.{j}": (j + 1, m, d), f"b_D.{j}": (d,)}
        w = _weights(folder, shapes)
        of_inputs, of_outputs = (_scales(folder, said, d, n, place) for place in ("in", "out"))
        weights = joined(
            [read * of_inputs[i] for i, read in enumerate(w["W_E"])],
            [[w[f"W_D.{j}"][i] / of_outputs[j] for j in range(i, n)] for i in range(n)],
            w["b_E"].unbind(),
            [w[f"b_D.{j}"] / of_outputs[j] for j in range(n)],
        )
        return _found(folder, "cross_layer", weights, n)

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        reads, writes, b_enc, b_dec = zip(*parted(held), strict=True)
        n = len(reads)
        weights = {"W_E": torch.stack(reads), "b_E": torch.stack(b_enc)}
        for j in range(n):
            to_j = [writes[i][:, j - i] for i in range(j + 1)]
            weights |= {f"W_D.{j}": torch.stack(to_j), f"b_D.{j}": b_dec[j]}
        hooks = {f"hook_points_{place}": [f"{place}.{i}" for i in range(n)]
                 for place in ("in", "out")}  # fmt: skip
        return _files(weights, {"sae_type": "clt", "sparsity_include_decoder_norm": False, **hooks})


class LlamascopiumCrosscoder(Layout):
    """W_E ``[L, d_model, d_sae]`` and b_E ``[L, d_sae]``, which are summed; W_D ``[L, d_sae,
    d_model]`` and b_D ``[L, d_model]``."""

    name = "llamascopium_crosscoder"
    holds = ("crosscoder",)

    @classmethod
    def match(cls, folder: Folder) -> Match:
        own = len(folder.shape("W_E")) == 3 and "W_D" in folder.tensors
        return Match.KEYS if own else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        said = _said(folder, "crosscoder")
        n, d, m = folder.shape("W_E")
        w = _weights(folder, {"W_E": (n, d, m), "b_E": (n, m), "W_D": (n, m, d), "b_D": (n, d)})
        scale = torch.tensor(_scales(folder, said, d, n), dtype=torch.float64)[:, None]
        weights = {
            "W_enc": (w["W_E"] * scale[..., None]).flatten(0, 1),
            "b_enc": w["b_E"].sum(0),
            "W_dec": (w["W_D"] / scale[..., None]).transpose(0, 1).flatten(1),
            "b_dec": (w["b_D"] / scale).flatten(),
        }
        return _found(folder, "crosscoder", weights, n)

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.architecture == "crosscoder":
            by_layer = held.one["W_dec"].unflatten(1, (held.settings["n_layers"], -1))
            if not by_layer.any(-1).all():
                yield "a feature writes nothing to a layer, and its library divides by what it does"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        w, n = held.one, held.settings["n_layers"]
        b_E = torch.zeros_like(w["b_enc"]).repeat(n, 1)
        b_E[0] = w["b_enc"]
        weights = {
            "W_E": w["W_enc"].unflatten(0, (n, -1)),
            "b_E": b_E,
            "W_D": w["W_dec"].unflatten(1, (n, -1)).transpose(0, 1),
            "b_D": w["b_dec"].unflatten(0, (n, -1)),
        }
        hooks = [f"layer.{i}" for i in range(n)]
        of_its_own = {"sae_type": "crosscoder", "sparsity_include_decoder_norm": True}
        return _files(weights, of_its_own | {"hook_points": hooks})


def _said(folder: Folder, kind: str) -> dict[str, Any]:
    """What the configuration says, of ReLUs alone."""
    if not folder.has(CONFIG):
        raise folder.refuse(f"{CONFIG} is missing")
    said = folder.settings(CONFIG)
    understood = UNDERSTOOD | {"sae_type": (kind,)}
    folder.require_settings(CONFIG, said, understood, (*KNOWN, *OF_LAYERS))
    require_relu(folder, CONFIG, said)
    return said


def _weights(folder: Folder, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """In float64."""
    norms = [name for name in folder.tensors if name.startswith(f"{NORM}.")]
    folder.require_weights(list(shapes), norms)
    require_shapes(folder, shapes)
    return {name: folder.tensors[name].double() for name in shapes}


def _scales(
    folder: Folder, said: Mapping[str, Any], d: int, n: int, place: str = ""
) -> list[float]:
    """What each layer's stream, or output, is multiplied by."""
    name = f"hook_points_{place}" if place else "hook_points"
    points = said.get(name)
    if not isinstance(points, list) or len(points) != n:
        raise folder.refuse(
            f"{CONFIG} says {name} = {shown(points)}, the weights are of {n} layers"
        )
    hooks = {f"layer {i} {place or 'in'}": point for i, point in enumerate(points)}
    return scales_at(folder, CONFIG, said, d, hooks)


def _found(folder: Folder, architecture: str, weights: Mapping[str, Tensor], n: int) -> Found:
    dtype = folder.tensors["W_E"].dtype
    rounded = {name: weight.to(dtype) for name, weight in weights.items()}
    return Found(folder, architecture, rounded, {"n_layers": n})


def _files(weights: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[str, bytes | str]:
    _, d, m = weights["W_E"].shape
    of_all = {"act_fn": "relu", "d_model": d, "d_sae": m, "expansion_factor": m / d,
              "use_decoder_bias": True, "norm_activation": "inference"}  # fmt: skip
    content = serialise({name: weight.contiguous() for name, weight in weights.items()})
    return {WEIGHTS: content, CONFIG: json.dumps({**of_all, **said}, indent=2) + "\n"}
