"""What is explained: a layer f, the action of its Jacobian, and the circuits it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from faithnb.common.errors import InputError
from faithnb.common.extensions import Registered, Registry

Kink = Literal["zero", "masked", "one"]
"""How the derivative of a kinked activation is read exactly at its kink.

``zero``: 0, torch's own convention and the subgradient of least norm.
``masked``: 0 too, and the undefined entry is left out of every comparison of Jacobians.
``one``: +1, the derivative from the right; a caution, not a recommendation.
"""


@dataclass(frozen=True, eq=False)
class Circuit:
    """One mechanism that adds ``write · ReLU(read · x − threshold)`` to the output.

    Attributes:
        name: a label for axes and tables.
        read: what it reads from the input, shape ``[d_in]``.
        write: what it writes to the output, shape ``[d_out]``.
        threshold: how far ``read · x`` must rise before the circuit acts.
    """

    name: str
    read: Tensor
    write: Tensor
    threshold: float = 0.0

    def activation(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch"]:
        """How strongly the circuit acts on x: ``ReLU(read · x − threshold)``."""
        return torch.relu(x @ self.read.to(x) - self.threshold)

    def contribution(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """What the circuit adds to the output: the note's ``y|_f(x) = W_down f(x)``."""
        return self.activation(x)[..., None] * self.write.to(x)

    def to(self, device: torch.device) -> Circuit:
        """The same on another device."""
        return replace(self, read=self.read.to(device), write=self.write.to(device))


LAYERS: Registry[type[Layer]] = Registry("layer")
"""Every layer that ``Experiment.target`` may name."""


class Unknown(ValueError):
    """A layer, or a module, does not say this of itself."""


class Layer(Registered):
    """A layer to explain: a map, and the action of its Jacobian.

    More may be known of it. A layer of *units*, each a scalar nonlinearity, has the Jacobian
    ``J(x) = Σ_k slope_k(x) · write_k read_kᵀ``; it says ``slope`` and ``units``. Of others autograd
    tells the Jacobian. What it consists of, :meth:`circuits`, may be known too.

    A subclass with a ``name`` can be an experiment's target; it is made by ``of_experiment``.
    """

    registry = LAYERS

    d_in: int
    d_out: int
    kink: Kink = "zero"

    units: tuple[Tensor, Tensor] | None = None
    """``read [d_hidden, d_in]`` and ``write [d_hidden, d_out]``; ``None`` if unit k reads and
    writes coordinate k."""

    files: ClassVar[tuple[str, ...]] = ()
    """Files that it is made from; the keys of what is kept follow their content."""

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it, and for each of
        its files that is not there."""
        for path in cls.files:
            if not Path(path).is_file():
                yield f"target = {cls.name!r} is not allowed: there is no file {str(path)!r}."

    @classmethod
    def of_experiment(cls, d_in: int, points: Float[Tensor, "n_points d_in"], kink: Kink) -> Layer:
        """The layer of an experiment's width, points and convention."""
        return cls(d_in, kink)  # type: ignore[call-arg]

    n_layers: ClassVar[int] = 1
    """How many layers in sequence it stands for; inputs and outputs have an equal part for each."""

    @staticmethod
    def of(module: Callable[[Tensor], Tensor], d_in: int) -> Layer:
        """Any torch module, or another function of tensors, as a layer of which no more is known.

        Args:
            module: maps ``[B, d_in]`` to ``[B, d_out]``, each row by itself. Its weights, and
                whether it is training, are left as they are.
            d_in: width of its input.

        Raises:
            InputError: if it does not, or gives another output each time.
        """
        return _OfModule(module, d_in)

    def to(self, device: torch.device) -> Self:
        """The same with the tensors that it holds on another device: training there would wait
        whenever they were copied."""
        moved = copy(self)
        for name, held in vars(self).items():
            setattr(moved, name, _on(device, held))
        return moved

    @classmethod
    def has_units(cls) -> bool:
        """Whether it says its units and their slopes."""
        return cls.slope is not Layer.slope

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        raise NotImplementedError

    def slope(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_hidden"]:
        """The derivative of each unit at x, by the kink convention.

        Raises:
            Unknown: if it has none.
        """
        raise Unknown(f"{_named(self)} is not known to be made of units.")

    def ignored(self, x: Float[Tensor, "*batch d_in"]) -> Bool[Tensor, "*batch d_in"]:
        """Diagonal entries (i, i) of the Jacobian left out of comparisons at x: none."""
        return torch.zeros_like(x, dtype=torch.bool)

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """J(x) v, the directional derivative; by autograd unless the layer says it."""
        x, v = torch.broadcast_tensors(x, v)
        return torch.func.jvp(self.__call__, (x.contiguous(),), (v.contiguous(),))[1]

    def jacobian(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out d_in"]:
        """J(x) as a matrix: rows are outputs, columns inputs."""
        return torch.stack([self.jvp(x, e.expand_as(x)) for e in basis(self.d_in, x)], dim=-1)

    def written_at(self, p: Float[Tensor, "d_in"]) -> Float[Tensor, "n d_out"] | None:
        """The directions, of unit length, that its circuits write at p one by one; ``None`` where
        they are taken to be the coordinates in which its output there is not 0."""
        return None

    def circuits(self) -> list[Circuit]:
        """The mechanisms the layer really consists of.

        Raises:
            Unknown: if that is not known.
        """
        raise Unknown(f"the circuits of {_named(self)} are not known.")


def _on(device: torch.device, held: Any) -> Any:
    if type(held) is tuple:
        return tuple(_on(device, one) for one in held)
    return held.to(device) if isinstance(held, Tensor | Circuit | Layer) else held


def _named(layer: Layer) -> str:
    return getattr(layer, "name", type(layer).__name__)


def basis(d: int, like: Tensor) -> Tensor:
    """The unit vectors, one a row."""
    return torch.eye(d, dtype=like.dtype, device=like.device)


def _copied(module: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    try:
        return deepcopy(module)
    except (RuntimeError, TypeError):  # as where a weight is computed from others
        return module


class _OfModule(Layer):
    def __init__(self, module: Callable[[Tensor], Tensor], d_in: int):
        self.module, self.d_in = module, d_in
        called = type(module).__name__
        given = self._as_module(torch.linspace(-1, 1, 3 * d_in, device="cpu").reshape(3, d_in))
        try:
            tried = _copied(module)  # a call may change what a module has counted
            found = [tried(given).detach(), tried(given).detach(), tried(given[:2]).detach()]
        except Exception as error:
            why = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
            raise InputError(
                f"{called} is not allowed: it must map [B, {d_in}] to [B, d_out] ({why})."
            ) from error
        if found[0].ndim != 2 or len(found[0]) != 3:
            raise InputError(
                f"{called} is not allowed: it maps [3, {d_in}] to {list(found[0].shape)}, and must "
                "map it to [3, d_out]."
            )
        if not torch.isfinite(found[0]).all():
            raise InputError(f"{called} is not allowed: what it gives is not finite.")
        if not torch.equal(found[0], found[1]):
            raise InputError(
                f"{called} is not allowed: it gives another output each time. Call its eval()."
            )
        if not torch.allclose(found[0][:2], found[2], rtol=1e-3, atol=1e-5):
            raise InputError(
                f"{called} is not allowed: what it gives for a row depends on the other rows. Call "
                "its eval()."
            )
        self.d_out = found[0].shape[-1]
        self.name = called  # type: ignore[misc]

    def _as_module(self, rows: Tensor) -> Tensor:
        """In the type and on the device of the module's weights; a function takes float32."""
        if not isinstance(self.module, nn.Module):
            return rows.to(torch.float32)
        held = (*self.module.parameters(), *self.module.buffers())
        return rows.to(next((w for w in held if w.is_floating_point()), rows.float()))

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        with torch.no_grad():
            found = self.module(self._as_module(x.reshape(-1, self.d_in)))
        return found.to(x).reshape(*x.shape[:-1], self.d_out)
