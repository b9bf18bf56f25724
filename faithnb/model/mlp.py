"""MLPs of language models as layers to explain, and as experiments' targets, from a file of their
weights.

They compute in the type of their weights, whatever the type of x: float64 would take a measure's
time many times over.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file, save
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.common.files import digest_of, write_whole
from faithnb.model.layer import LAYERS, Kink, Layer

WEIGHTS = ("W_gate", "W_up", "W_down")
"""What a gated MLP is made of."""


class SwiGLU(Layer):
    """``W_down (silu(W_gate x) ∘ W_up x)``, of normalised inputs: the MLP of most language models
    today.

    A neuron multiplies two numbers that it reads, so the layer is not made of scalar units, and
    which circuits it consists of is not known.

    Args:
        W_gate: what the gates read.
        W_up: what they are multiplied with.
        W_down: what is written.
        name: for tables.

    Raises:
        InputError: if their shapes do not fit.
    """

    def __init__(
        self,
        W_gate: Float[Tensor, "d_mlp d_in"],
        W_up: Float[Tensor, "d_mlp d_in"],
        W_down: Float[Tensor, "d_out d_mlp"],
        name: str | None = None,
    ):
        if W_gate.shape != W_up.shape or W_down.shape[1:] != W_gate.shape[:1]:
            shapes = [list(w.shape) for w in (W_gate, W_up, W_down)]
            raise InputError(
                f"weights of shapes {shapes} are not allowed: they must be [d_mlp, d_in] twice "
                "and [d_out, d_mlp]."
            )
        self.W_gate, self.W_up, self.W_down = W_gate, W_up, W_down
        self.d_in, self.d_out = W_gate.shape[1], W_down.shape[0]
        if name is not None:
            self.name = name  # type: ignore[misc]

    def scaled(self, inputs: float, outputs: float) -> SwiGLU:
        """The same layer in other units: ``f(inputs · x) / outputs``."""
        return SwiGLU(self.W_gate * inputs, self.W_up * inputs, self.W_down / outputs)

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return F.linear(self.neurons(x), self.W_down).to(x)

    def neurons(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """``silu(W_gate x) ∘ W_up x``: what ``W_down`` writes."""
        own = x.to(self.W_gate)
        return F.silu(F.linear(own, self.W_gate)) * F.linear(own, self.W_up)

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """``W_down (silu'(g) ∘ u ∘ W_gate v + silu(g) ∘ W_up v)``, g = W_gate x, u = W_up x."""
        own, along = x.to(self.W_gate), v.to(self.W_gate)
        g, u = F.linear(own, self.W_gate), F.linear(own, self.W_up)
        on = torch.sigmoid(g)
        of_gate = on * (1 + g * (1 - on)) * u * F.linear(along, self.W_gate)
        return F.linear(of_gate + g * on * F.linear(along, self.W_up), self.W_down).to(v)


class GeluMLP(Layer):
    """``W_out gelu(W_in x + b_in) + b_out``, of normalised inputs, as in GPT-2.

    Args:
        W_in: what the neurons read.
        b_in: their biases.
        W_out: what they write.
        b_out: what is added.
        tanh: whether GELU is its approximation by a tanh, as GPT-2 has it.
        name: for tables.
    """

    def __init__(
        self,
        W_in: Float[Tensor, "d_mlp d_in"],
        b_in: Float[Tensor, "d_mlp"],
        W_out: Float[Tensor, "d_out d_mlp"],
        b_out: Float[Tensor, "d_out"],
        tanh: bool = True,
        name: str = "mlp",
    ):
        self.W_in, self.b_in, self.W_out, self.b_out, self.tanh = W_in, b_in, W_out, b_out, tanh
        self.d_in, self.d_out = W_in.shape[1], W_out.shape[0]
        self.units = W_in, W_out.T
        self.name = name  # type: ignore[misc]

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        return F.linear(self.neurons(x), self.W_out, self.b_out).to(x)

    def pre(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """What the neurons are given."""
        return F.linear(x.to(self.W_in), self.W_in, self.b_in)

    def neurons(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """``gelu(W_in x + b_in)``: what ``W_out`` writes."""
        return F.gelu(self.pre(x), approximate="tanh" if self.tanh else "none")

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_mlp"]:
        """The derivative of each neuron."""
        z = self.pre(x)
        if not self.tanh:
            density = torch.exp(-z.square() / 2) / (2 * torch.pi) ** 0.5
            return (1 + torch.erf(z / 2**0.5)) / 2 + z * density
        scale, cube = (2 / torch.pi) ** 0.5, 0.044715
        t = torch.tanh(scale * (z + cube * z**3))
        return (1 + t) / 2 + z / 2 * (1 - t.square()) * scale * (1 + 3 * cube * z.square())

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """``W_out (gelu' ∘ W_in v)``."""
        return F.linear(self.slope(x) * F.linear(v.to(self.W_in), self.W_in), self.W_out).to(v)


class MLPOfFile(SwiGLU):
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
        return cls(held["W_gate"], held["W_up"], held["W_down"])

    @classmethod
    def digest(cls) -> str:
        """Of its weights."""
        return digest_of(Path(cls.files[0]))


@lru_cache(maxsize=4)
def _weights(path: str, digest: str) -> dict[str, Tensor]:
    return load_file(path)


def as_target(name: str, layer: SwiGLU, folder: Path) -> str:
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
    held = {k: getattr(layer, k).detach().float().contiguous() for k in WEIGHTS}
    path, content = folder / f"{name}.safetensors", save(held)
    if not path.is_file() or path.read_bytes() != content:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    type(name, (MLPOfFile,), {"name": name, "files": (str(path),), "__module__": __name__})
    return name
