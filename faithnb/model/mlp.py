"""A gated MLP as an experiment's target, from a file of its weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import silu

from faithnb.common.errors import InputError
from faithnb.common.files import digest_of, write_whole
from faithnb.model.layer import LAYERS, Kink, Layer


class GatedMLP(Layer):
    """``y = W_down (silu(W_gate x) ∘ W_up x)``, the MLP of most language models today.

    It is smooth, and made of no units that read one direction each: autograd's place is taken by
    the closed form of its derivative. It computes in the type of its weights, whatever the type of
    x, because float64 of a wide layer takes a measure's time many times over.

    Args:
        gate: ``[d_hidden, d_in]``.
        up: ``[d_hidden, d_in]``.
        down: ``[d_out, d_hidden]``.
    """

    def __init__(
        self,
        gate: Float[Tensor, "d_hidden d_in"],
        up: Float[Tensor, "d_hidden d_in"],
        down: Float[Tensor, "d_out d_hidden"],
    ):
        if gate.shape != up.shape or down.shape[1:] != gate.shape[:1]:
            shapes = [list(w.shape) for w in (gate, up, down)]
            raise InputError(
                f"weights of shapes {shapes} are not allowed: they must be [d_hidden, d_in] twice "
                "and [d_out, d_hidden]."
            )
        self.gate, self.up, self.down = gate, up, down
        self.d_in, self.d_out = gate.shape[1], down.shape[0]

    def scaled(self, inputs: float, outputs: float) -> GatedMLP:
        """The same layer in other units: ``f(inputs · x) / outputs``."""
        return GatedMLP(self.gate * inputs, self.up * inputs, self.down / outputs)

    def neurons(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """What each of its neurons contributes: ``|silu(g) u|`` times the norm of what it
        writes."""
        x = x.to(self.gate)
        hidden = silu(x @ self.gate.T) * (x @ self.up.T)
        return hidden.abs() * self.down.norm(dim=0)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        own = x.to(self.gate)
        return ((silu(own @ self.gate.T) * (own @ self.up.T)) @ self.down.T).to(x)

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """``W_down ((silu'(g) ∘ u) ∘ W_gate v + silu(g) ∘ W_up v)``, g = W_gate x, u = W_up x."""
        own, along = x.to(self.gate), v.to(self.gate)
        g, u = own @ self.gate.T, own @ self.up.T
        sigmoid = torch.sigmoid(g)
        slope = sigmoid * (1 + g * (1 - sigmoid))
        pushed = slope * u * (along @ self.gate.T) + g * sigmoid * (along @ self.up.T)
        return (pushed @ self.down.T).to(v)


class MLPOfFile(GatedMLP):
    """What layers from files share; :func:`as_target` makes one of each file."""

    files: ClassVar[tuple[str, ...]]

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Another width, or a file that is gone."""
        missing = list(super().refusals(experiment))
        yield from missing
        if not missing and experiment.d_in != (d_in := cls.read().d_in):
            yield (
                f"d_in = {experiment.d_in} is not allowed with target = {cls.name!r}: its inputs "
                f"have {d_in} coordinates."
            )

    @classmethod
    def of_experiment(cls, d_in: int, points: Float[Tensor, "n_points d_in"], kink: Kink) -> Layer:
        """The layer; it has no point and no kink."""
        return cls.read()

    @classmethod
    def read(cls) -> Self:
        """The layer, read from its file."""
        held = _weights(cls.files[0], cls.digest())
        return cls(**held)

    @classmethod
    def digest(cls) -> str:
        """Of its weights."""
        return digest_of(Path(cls.files[0]))


@lru_cache(maxsize=4)
def _weights(path: str, digest: str) -> dict[str, Tensor]:
    return load_file(path)


def as_target(name: str, layer: GatedMLP, folder: Path) -> str:
    """Make a layer one that ``Experiment.target`` may name, kept in a file of its weights.

    Results that were kept are found again in another process, as keys follow the file's content.

    Args:
        name: a word.
        layer: what it is.
        folder: where its file lies, or is written to.

    Returns:
        the name.

    Raises:
        InputError: if the name is no word, or is taken by a layer of another kind.
        OSError: if the file cannot be written.
    """
    if name in LAYERS and not issubclass(LAYERS[name], MLPOfFile):
        raise InputError(f"name = {name!r} is not allowed: there is another layer of that name.")
    held = {k: getattr(layer, k).detach().float().contiguous() for k in ("gate", "up", "down")}
    path, content = folder / f"{name}.safetensors", save(held)
    if not path.is_file() or path.read_bytes() != content:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    type(name, (MLPOfFile,), {"name": name, "files": (str(path),), "__module__": __name__})
    return name
