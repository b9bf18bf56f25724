"""circuit-tracer: a file ``layer_{i}.safetensors`` a layer, and ``config.yaml`` for all of them.
Cross-layer transcoders have two files a layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from safetensors.torch import save as serialise

from faithnb.formats.folder import OF_MANY_LAYERS, Folder
from faithnb.formats.layers import joined, parted, require_shapes
from faithnb.formats.layout import PLAIN, Found, Held, Kind, Layout, Match

CONFIG = "config.yaml"

THRESHOLD = "activation_function.threshold"

SAYS_SO = re.compile(r"""^model_kind: *["']?transcoder_set["']? *(#.*)?$""", re.MULTILINE)


class CircuitTracer(Layout):
    """W_enc ``[d_sae, d_in]``, W_dec ``[d_sae, d_out]``, W_skip ``[d_out, d_in]``: ReLU, or with a
    threshold JumpReLU, which has no ReLU in it there."""

    name = "circuit_tracer"
    holds = ("relu", "jumprelu")
    with_skip = True
    by_layer = True

    @classmethod
    def match(cls, folder: Folder) -> Match:
        reads, writes = folder.shape("W_enc"), folder.shape("W_dec")
        matrices = len(reads) == len(writes) == 2
        fits = THRESHOLD in folder.tensors or "threshold" not in folder.tensors
        if not (matrices and reads[0] == writes[0] and fits and folder.container == "safetensors"):
            return Match.NO
        return Match.SAID if SAYS_SO.search(folder.text(CONFIG)) else Match.KEYS

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        folder.require_weights(PLAIN, ("W_skip", THRESHOLD))
        weights = dict(folder.tensors)
        weights["W_enc"] = weights["W_enc"].T
        if "W_skip" in weights:
            weights["W_skip"] = folder.matrix("W_skip").T
        if THRESHOLD not in weights:
            return Found(folder, "relu", weights)
        weights["threshold"] = weights.pop(THRESHOLD)
        if (weights["threshold"] < 0).any():
            raise folder.refuse(
                f"{THRESHOLD} is below 0 somewhere: its library lets negative activations through "
                "there, a JumpReLU here does not"
            )
        return Found(folder, "jumprelu", weights)

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        yield from super().refusals(held)
        if held.architecture == "jumprelu" and (held.weights["threshold"] < 0).any():
            yield "a threshold is below 0, and there negative activations would pass it"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        """Hooks and the model's name are for whoever uses it to add."""
        weights = held.one
        weights["W_enc"] = weights["W_enc"].T
        if "W_skip" in weights:
            weights["W_skip"] = weights["W_skip"].T
        if "threshold" in weights:
            weights[THRESHOLD] = weights.pop("threshold")
        content = serialise({name: weight.contiguous() for name, weight in weights.items()})
        file = f"layer_{held.layer or 0}.safetensors"
        return {file: content, CONFIG: "model_kind: transcoder_set\n"}


class CircuitTracerCLT(Layout):
    """W_enc_i ``[d_sae, d_in]``, b_enc_i and b_dec_i in one file, W_dec_i ``[d_sae, L − i, d_out]``
    in another, whose row j − i writes to layer j. Its files have no place for a linear part."""

    name = "circuit_tracer_clt"
    holds = ("cross_layer",)

    @classmethod
    def match(cls, folder: Folder) -> Match:
        return Match.KEYS if any(map(OF_MANY_LAYERS.match, folder.tensors)) else Match.NO

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        folder = folder.with_others()
        if any(name.startswith("threshold_") for name in folder.tensors):
            raise folder.refuse(
                "its features have thresholds, and a cross-layer transcoder here has ReLUs alone"
            )
        n = sum(bool(re.fullmatch(r"W_enc_\d+", name)) for name in folder.tensors)
        folder.require_weights([f"{name}_{i}" for i in range(max(1, n)) for name in PLAIN])
        m, d = folder.matrix("W_enc_0").shape
        for i in range(n):
            shapes = {"W_enc": (m, d), "b_enc": (m,), "W_dec": (m, n - i, d), "b_dec": (d,)}
            require_shapes(folder, {f"{name}_{i}": shape for name, shape in shapes.items()})
        reads, b_enc, writes, b_dec = (
            [folder.tensors[f"{name}_{i}"] for i in range(n)] for name in PLAIN
        )
        weights = joined([w.T for w in reads], [w.unbind(1) for w in writes], b_enc, b_dec)
        return Found(folder, "cross_layer", weights, {"n_layers": n})

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        found: dict[str, bytes | str] = {}
        for i, (read, write, *biases) in enumerate(parted(held)):
            of_enc = {f"W_enc_{i}": read.T, f"b_enc_{i}": biases[0], f"b_dec_{i}": biases[1]}
            for name, weights in (f"W_enc_{i}", of_enc), (f"W_dec_{i}", {f"W_dec_{i}": write}):
                content = serialise({k: w.contiguous() for k, w in weights.items()})
                found[f"{name}.safetensors"] = content
        return found
