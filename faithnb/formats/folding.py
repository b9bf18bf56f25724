"""What other libraries do to inputs, outputs and gates, as a part of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class Folding:
    """What a library does besides ``x W_enc + b_enc`` and ``h W_dec + b_dec``.

    Args:
        inputs: what it multiplies inputs by.
        outputs: what it divides outputs by.
        subtracts: whether it subtracts ``b_dec`` from the input, after the factor.
        norms: ``"activations"`` if a feature's activation is ``h ‖w‖``, which it ranks by and
            writes along ``w / ‖w‖``; ``"thresholds"`` if it compares ``z ‖w‖`` with the threshold,
            and the activation stays ``h``.
    """

    inputs: float = 1.0
    outputs: float = 1.0
    subtracts: bool = False
    norms: Literal["", "activations", "thresholds"] = ""

    def __bool__(self) -> bool:
        return self != NOTHING

    def folded(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of the same outputs and feature activations that need nothing besides.

        Args:
            weights: by name, with a leading instance axis, in float64.
        """
        w = dict(weights)
        norms = w["W_dec"].norm(dim=-1)
        if self.norms == "activations":
            w["W_enc"], w["b_enc"] = w["W_enc"] * norms[:, None], w["b_enc"] * norms
            w["W_dec"] = torch.nn.functional.normalize(w["W_dec"], dim=-1)
        elif self.norms == "thresholds":
            w["threshold"] = w["threshold"] / norms
        if self.subtracts:
            w = shifted(w, -1)
        for name in {"W_enc", "W_gate"} & set(w):
            w[name] = w[name] * self.inputs
        w["W_dec"], w["b_dec"] = w["W_dec"] / self.outputs, w["b_dec"] / self.outputs
        return w


NOTHING = Folding()


def shifted(weights: Mapping[str, Tensor], sign: int) -> dict[str, Tensor]:
    """Weights that read x as the given ones read ``x + sign · b_dec``."""
    shift = sign * (weights["b_dec"][:, None] @ weights["W_enc"])[:, 0]
    moved = {"b_enc": weights["b_enc"] + shift}
    if "b_mag" in weights:
        moved["b_mag"] = weights["b_mag"] + weights["r_mag"].exp() * shift
    return {**weights, **moved}
