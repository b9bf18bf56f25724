"""MLPs inside models that other libraries hold: as layers, and with a transcoder in their place.

TransformerLens, nnsight and transformers themselves are read by the names of their weights; none
is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.model.layer import Layer
from faithnb.model.mlp import GeluMLP, SwiGLU

CLOSE = 1e-4
"""Share of the output by which what was read may differ from the module: float32's rounding."""


def layer_of(mlp: Any) -> Layer:
    """An MLP as a layer: from its inputs, normalised, to what it adds to the residual stream. What
    is read of it is held to what it gives.

    Args:
        mlp: a module of transformers; ``blocks[k].mlp`` of a bridge or a model of TransformerLens;
            or an MLP of a model of nnsight.

    Returns:
        a layer with its Jacobian in closed form; where the MLP is of another kind than SwiGLU or
        GELU, with autograd's.

    Raises:
        InputError: if its weights have other names than in these libraries.
    """
    module = getattr(mlp, "_module", mlp)  # nnsight's envoy
    candidates = list(_candidates(module))
    if not candidates:
        raise InputError(
            f"{type(module).__name__} is not allowed: it has no weights of the names that are "
            "known here. faithnb.model.layer.Layer.of(module, d_in) takes any module."
        )
    held = candidates[0]
    x = torch.linspace(-2, 2, 3 * held.d_in).reshape(3, held.d_in).to(_weight(held))
    with torch.no_grad():
        given = module(x)
        for layer in candidates:
            if (layer(x) - given).norm() <= CLOSE * given.norm():
                return layer
    return Layer.of(module, held.d_in)


def _weight(layer: Layer) -> Tensor:
    return layer.W_gate if isinstance(layer, SwiGLU) else layer.W_in  # type: ignore[attr-defined]


def _candidates(module: Any) -> Iterator[Layer]:
    """What it may be, by the names of its weights."""
    weights = _of_lens(module) or _of_transformers(module)
    if weights is None:
        return
    gate, W_in, b_in, W_out, b_out = weights
    name = type(module).__name__
    if gate is not None:
        yield SwiGLU(gate, W_in, W_out, name)
    else:
        b_in = torch.zeros_like(W_in[:, 0]) if b_in is None else b_in
        b_out = torch.zeros_like(W_out[:, 0]) if b_out is None else b_out
        for tanh in (True, False):
            yield GeluMLP(W_in, b_in, W_out, b_out, tanh, name)


def _of_lens(module: Any) -> tuple[Any, ...] | None:
    """TransformerLens' rows are inputs."""
    found = [getattr(module, name, None) for name in ("W_gate", "W_in", "b_in", "W_out", "b_out")]
    if found[1] is None or found[3] is None:
        return None
    return tuple(w.detach().T if w is not None and w.ndim == 2 else w for w in found)


def _of_transformers(module: Any) -> tuple[Any, ...] | None:
    """Llama's names, and GPT-2's, whose rows are inputs."""
    if all(hasattr(module, f"{part}_proj") for part in ("gate", "up", "down")):
        gate, up, down = (getattr(module, f"{part}_proj") for part in ("gate", "up", "down"))
        return gate.weight.detach(), up.weight.detach(), None, down.weight.detach(), None
    if hasattr(module, "c_fc") and hasattr(module, "c_proj"):
        read, write = module.c_fc, module.c_proj
        return (
            None, read.weight.detach().T, read.bias.detach(),
            write.weight.detach().T, write.bias.detach(),
        )  # fmt: skip
    return None


def instead(
    transcoder: Callable[[Tensor], Tensor],
) -> Callable[[Float[Tensor, "*batch d_model"]], Float[Tensor, "*batch d_model"]]:
    """What stands in an MLP's place: a function of its inputs, of whatever shape they come in.

    Args:
        transcoder: one of this package's, of one instance, or any from ``[n, d_model]``.
    """

    def put(x: Tensor) -> Tensor:
        return transcoder(x.flatten(0, -2)).reshape(x.shape).to(x)

    return put
