"""What a layout is: how it is recognised, read and written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from faithnb.common.errors import shown
from faithnb.common.extensions import Registered, Registry
from faithnb.formats.folder import Folder
from faithnb.formats.folding import NOTHING, Folding

LAYOUTS: Registry[type[Layout]] = Registry("layout")
"""Every layout by its name."""

PLAIN = ("W_enc", "b_enc", "W_dec", "b_dec")


class Match(IntEnum):
    """How surely a folder has a layout."""

    NO = 0
    KEYS = 1
    """The names and shapes of its weights are those of the layout."""
    SAID = 2
    """Its configuration says so besides."""


class Kind(Protocol):
    """What must be known of an architecture."""

    @property
    def own_axes(self) -> Mapping[str, tuple[str, ...]]: ...
    @property
    def settings(self) -> tuple[str, ...]: ...


def kind_of(folder: Folder, architecture: str, kinds: Mapping[str, Kind]) -> Kind:
    """The architecture of that name.

    Raises:
        ValueError: if there is none.
    """
    if architecture not in kinds:
        raise folder.refuse(f"its architecture is {architecture!r}, known are {', '.join(kinds)}")
    return kinds[architecture]


@dataclass(frozen=True)
class Found:
    """What a folder holds, by the names and shapes of this package.

    Args:
        folder: where.
        architecture: ``relu``, ``topk``, ``jumprelu``, ``gated`` or another's name.
        weights: ``W_enc [d_in, d_sae]``, ``b_enc``, ``W_dec [d_sae, d_out]``, ``b_dec``,
            ``W_skip [d_in, d_out]`` and the architecture's own, perhaps with an instance axis.
        settings: the architecture's numbers.
        folding: what the library does besides.
        sizes: by our names, what is said of sizes: ``("cfg.json says d_sae", 64)``.
    """

    folder: Folder
    architecture: str
    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    folding: Folding = NOTHING
    sizes: Mapping[str, tuple[str, Any]] = field(default_factory=dict)

    def arrays(self) -> dict[str, Tensor]:
        """The weights; in float64, if there is something to fold."""
        return {k: w.double() if self.folding else w for k, w in self.weights.items()}

    def require_sizes(self, sizes: Mapping[str, int]) -> None:
        """That the weights have the sizes that the configuration says.

        Raises:
            ValueError: naming one that they have not.
        """
        for name, (said_as, said) in self.sizes.items():
            if said != sizes[name] or isinstance(said, bool):
                raise self.folder.refuse(
                    f"{said_as} = {shown(said)}, the weights say {sizes[name]}"
                )

    def folded(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights that need nothing done besides, rounded once to the type of W_enc.

        Args:
            weights: by name, of shapes that fit, from :meth:`arrays`.

        Raises:
            ValueError: if weights cannot do it.
        """
        if not self.folding:
            return dict(weights)
        d_in, d_out = weights["W_enc"].shape[-2], weights["b_dec"].shape[-1]
        if self.folding.subtracts and d_in != d_out:
            raise self.folder.refuse(
                f"b_dec cannot be subtracted from the input: it has {d_out} coordinates, the "
                f"input {d_in}"
            )
        dtype = self.weights["W_enc"].dtype
        rounded = {k: w.to(dtype) for k, w in self.folding.folded(weights).items()}
        for name, weight in rounded.items():
            if not torch.isfinite(weight).all():
                raise self.folder.refuse(
                    f"{name} is not finite once what is done to inputs and outputs has gone into it"
                )
        return rounded


@dataclass(frozen=True)
class Held:
    """What is to be written.

    Args:
        architecture: its name here.
        weights: by name, with a leading instance axis.
        settings: the architecture's numbers.
        sizes: ``n_inst``, ``d_in``, ``d_sae``, ``d_out``.
        layer: which layer it stands for, where a layout has a file a layer.
    """

    architecture: str
    weights: Mapping[str, Tensor]
    settings: Mapping[str, Any]
    sizes: Mapping[str, int]
    layer: int | None = None

    @property
    def one(self) -> dict[str, Tensor]:
        """The weights of the first instance."""
        return {name: weight[0] for name, weight in self.weights.items()}

    @property
    def dtype(self) -> str:
        return str(self.weights["W_enc"].dtype).removeprefix("torch.")


class Layout(Registered):
    """How a library keeps a transcoder on disk. A subclass with a name, in one file of its own, is
    read by :func:`faithnb.load` and written by :meth:`faithnb.Transcoder.save` once it is
    imported."""

    registry: ClassVar[Registry[Any]] = LAYOUTS

    holds: ClassVar[Collection[str]] = ()
    """The architectures that it can be written with."""

    with_skip: ClassVar[bool] = False
    """Whether it has a place for a linear part."""

    by_layer: ClassVar[bool] = False
    """Whether it has a file a layer."""

    one_width: ClassVar[bool] = True
    """Whether its library has one width for inputs and outputs."""

    @classmethod
    def match(cls, folder: Folder) -> Match:
        """How surely a folder has this layout, by the names and shapes of its weights and what is
        said beside them, never by the name of a file."""
        raise NotImplementedError

    @classmethod
    def read(cls, folder: Folder, kinds: Mapping[str, Kind]) -> Found:
        """What it holds.

        Args:
            folder: one that :meth:`match` took for this layout.
            kinds: the architectures that there are, by name.

        Raises:
            ValueError: with the reason, if it is damaged or says what is not understood.
        """
        raise NotImplementedError

    @classmethod
    def refusals(cls, held: Held) -> Iterator[str]:
        """What about a transcoder has no place in this layout."""
        if held.architecture not in cls.holds:
            only = f"only {', '.join(cls.holds)}" if cls.holds else "no transcoder"
            yield f"its architecture is {held.architecture!r}, {only} can be written so"
        if held.sizes["n_inst"] != 1:
            yield f"it is an ensemble of {held.sizes['n_inst']}, pick one, such as t[0]"
        if "W_skip" in held.weights and not cls.with_skip:
            yield "there is no place for its linear part"
        d_in, d_out = held.sizes["d_in"], held.sizes["d_out"]
        if cls.one_width and d_in != d_out:
            yield f"its library has one width for both, here d_in = {d_in} and d_out = {d_out}"

    @classmethod
    def files(cls, held: Held) -> dict[str, bytes | str]:
        """The content of its files by name, weights first, of a transcoder that has a place in
        it."""
        raise NotImplementedError
