"""The weights of an ensemble: arrays by name, each with a leading axis of instances."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from faithnb.common.ambient import settled
from faithnb.common.errors import ParameterError
from faithnb.data.rng import Stream
from faithnb.formats.folder import FLOATS

AXES = {
    "W_enc": ("d_in", "d_sae"),
    "b_enc": ("d_sae",),
    "W_dec": ("d_sae", "d_out"),
    "b_dec": ("d_out",),
    "W_skip": ("d_in", "d_out"),
}
"""The weights of a transcoder and their axes, after that of the instances; the last is there only
if it has a linear part. An architecture may have others of its own."""


class Weights(nn.Module):
    """The arrays of ``n_inst`` transcoders side by side; what these compute,
    :class:`faithnb.model.transcoder.Transcoder` says.

    The weights ask for no gradient; to train them your own way, call ``requires_grad_()``.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    W_skip: nn.Parameter | None

    architecture: ClassVar[str]
    """Its name in :class:`faithnb.Experiment` and on disk."""

    own_axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Further weights that every instance has, and their axes."""

    drawn: ClassVar[tuple[str, ...]] = ()
    """Those of them that are random before training, as W_enc is; the others are 0."""

    held: ClassVar[tuple[str, ...]] = ("b_dec",)
    """Weights that no gradient moves."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Numbers that the instances share, by the names of fields of :class:`faithnb.Experiment`."""

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        W_dec: Tensor,
        b_dec: Tensor,
        W_skip: Tensor | None = None,
        **own: Any,
    ):
        super().__init__()
        given = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "W_skip": W_skip}
        given |= {name: own.pop(name) for name in self.own_axes if name in own}
        for name, weight in given.items():
            setattr(self, name, None if weight is None else nn.Parameter(weight, False))
        for name in self.settings:
            if name not in own:
                raise ParameterError(f"{self.architecture} transcoders need {name}.")
            setattr(self, name, own.pop(name))
        if own:
            raise TypeError(f"{type(self).__name__} has no {', '.join(own)}")
        if missing := [name for name in self.own_axes if given.get(name) is None]:
            raise ParameterError(f"{self.architecture} transcoders need {missing[0]}.")
        self.axes = {
            name: axes
            for name, axes in (AXES | dict(self.own_axes)).items()
            if given.get(name) is not None
        }
        """The names of its weights, and their axes after that of the instances."""

    def weights(self) -> dict[str, Tensor]:
        """Its weights by name, without gradients."""
        return {name: getattr(self, name).detach() for name in self.axes}

    @property
    def learned(self) -> list[str]:
        """The names of the weights that a gradient moves."""
        return [name for name in self.axes if name not in self.held]

    def own_settings(self) -> dict[str, Any]:
        """Its numbers by name."""
        return {name: getattr(self, name) for name in self.settings}

    def with_weights(self, weights: Mapping[str, Tensor]) -> Self:
        """One of the same architecture with other weights."""
        return type(self)(**weights, **self.own_settings())

    @classmethod
    @settled()
    def from_arrays(
        cls, W_enc: Any, b_enc: Any, W_dec: Any, b_dec: Any = None, W_skip: Any = None, **own: Any
    ) -> Self:
        """A transcoder from arrays, tensors or nested lists; ``b_dec`` and ``W_skip`` default to 0.

        Two-dimensional ``W_enc [d_in, d_sae]`` and ``W_dec [d_sae, d_out]`` mean one instance.

        Raises:
            ValueError: naming the array whose shape, type or values do not fit.
        """
        given = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec, "W_skip": W_skip}
        given |= {name: own.pop(name) for name in cls.own_axes if name in own}
        optional = ("b_dec", "W_skip")
        tensors = {
            name: _tensor(name, of)
            for name, of in given.items()
            if of is not None or name not in optional
        }
        dtype = tensors["W_enc"].dtype
        dtype = dtype if dtype.is_floating_point else torch.float32
        if tensors["W_enc"].ndim == 2:
            tensors = {k: v[None] for k, v in tensors.items()}
        if tensors["W_enc"].ndim != 3 or tensors["W_dec"].ndim != 3:
            raise ValueError(
                f"W_enc of shape {list(tensors['W_enc'].shape)} and W_dec of shape "
                f"{list(tensors['W_dec'].shape)} do not fit: both must be two-dimensional "
                "(one instance) or both three-dimensional (with a leading instance axis)."
            )
        n_inst, _, _ = tensors["W_enc"].shape
        d_out = tensors["W_dec"].shape[-1]
        tensors.setdefault("b_dec", torch.zeros(n_inst, d_out, dtype=dtype))
        axes = {k: v for k, v in AXES.items() if k in tensors} | dict(cls.own_axes)
        _check_shapes(tensors, axes)
        cast = {k: tensors[k].to(tensors["W_enc"].device, dtype) for k in axes}
        for name, weight in cast.items():
            if not torch.isfinite(weight.double()).all():
                kind = str(dtype).removeprefix("torch.")
                raise ValueError(f"{name} holds values that are not finite in {kind}.")
        return cls(**cast, **own)

    @classmethod
    @settled()
    def random(
        cls,
        seeds: Sequence[int],
        d_in: int,
        d_sae: int,
        d_out: int,
        dtype: torch.dtype = torch.float32,
        skip: bool = False,
        **own: Any,
    ) -> Self:
        """One untrained instance a seed: W_enc ~ N(0, 1/d_in), decoder rows uniform on the unit
        sphere, all else 0, but for ``drawn``, which are as W_enc. It decides which solution
        training falls into, so it is fixed.

        Raises:
            ValueError: if there is no seed, one is not a whole number of at least 0, or a size is
                not one of at least 1.
        """
        _require_whole("seeds", seeds, 0)
        _require_whole("d_in, d_sae, d_out", (d_in, d_sae, d_out), 1)
        stream, n = Stream(seeds, "init"), len(seeds)
        W_enc = stream.normal(0, (d_in, d_sae), dtype) / d_in**0.5
        W_dec = torch.nn.functional.normalize(stream.normal(1, (d_sae, d_out), dtype), dim=-1)
        size = {"d_in": d_in, "d_sae": d_sae, "d_out": d_out} | cls.own_sizes(d_sae, **own)
        others = {
            name: W_enc.new_zeros(n, *(size[axis] for axis in axes))
            for name, axes in (AXES | dict(cls.own_axes)).items()
            if name not in ("W_enc", "W_dec") and (skip or name != "W_skip")
        }
        for step, name in enumerate(cls.drawn, start=2):
            others[name] = stream.normal(step, tuple(others[name].shape[1:]), dtype) / d_in**0.5
        return cls(W_enc=W_enc, W_dec=W_dec, **others, **own)

    @classmethod
    def own_sizes(cls, d_sae: int, **settings: Any) -> dict[str, int]:
        """The lengths of axes that only weights of its own have."""
        return {}

    @property
    def n_inst(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[2]

    @property
    def d_out(self) -> int:
        return self.W_dec.shape[2]

    @property
    def reads(self) -> Tensor:
        """``[n_inst, d_in, m]``, along what z is read; m is d_sae where a feature reads once."""
        return self.W_enc

    @property
    def offsets(self) -> Tensor:
        """``[n_inst, m]``, what is added to it."""
        return self.b_enc

    @property
    def writes(self) -> Tensor:
        """``[n_inst, m, d_out]``, along what a change of z is written."""
        return self.W_dec

    @property
    def sizes(self) -> dict[str, int]:
        """All of them by name."""
        return {name: getattr(self, name) for name in ("n_inst", "d_in", "d_sae", "d_out")}

    def __len__(self) -> int:
        return self.n_inst

    def __getitem__(self, index: Any) -> Self:
        """Some of the instances, axis kept: ``t[3]``, ``t[2:5]``, ``t[[0, 7]]``, ``t[mask]``.

        Raises:
            IndexError: if there is no such instance, or it is not picked in one of these ways.
        """
        if not isinstance(index, slice):
            index = self._places(index)
        return self.with_weights({k: weight[index].clone() for k, weight in self.weights().items()})

    def _places(self, index: Any) -> Tensor:
        """Instances as one list of numbers, or one mask."""
        found = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
        whole = found.dtype.kind in "iu" or found.size == 0
        if isinstance(index, tuple) or not (whole or (found.dtype.kind == "b" and found.ndim == 1)):
            raise IndexError(f"instances are picked by t[3], t[[0, 7]] or a mask, not t[{index!r}]")
        places = np.arange(self.n_inst)
        try:
            picked = places[found if found.size else []]
        except IndexError as error:
            raise IndexError(f"of an ensemble of {self.n_inst}: {error}") from None
        if picked.ndim > 1:
            raise IndexError(f"instances are picked along one axis, not along {picked.ndim}")
        return torch.as_tensor(np.atleast_1d(picked), device=self.W_enc.device)

    @classmethod
    def cat(cls, transcoders: Sequence[Any]) -> Any:
        """One ensemble from several of one architecture whose shapes agree.

        Raises:
            ValueError: if they do not, or there is none.
        """
        kinds = {
            (type(t), tuple(t.own_settings().items()), tuple(t.axes), t.d_in, t.d_sae, t.d_out)
            for t in transcoders
        }
        if len(kinds) != 1:
            kinds_named = sorted({(t.architecture, t.d_in, t.d_sae, t.d_out) for t in transcoders})
            raise ValueError(
                f"transcoders of one architecture and one shape are needed, not of {len(kinds)}: "
                f"{kinds_named}."
            )
        each = [t.weights() for t in transcoders]
        return transcoders[0].with_weights({k: torch.cat([w[k] for w in each]) for k in each[0]})

    def in_float64(self) -> Self:
        """The same with weights in float64; itself, if they are."""
        if self.W_enc.dtype == torch.float64:
            return self
        return self.with_weights({name: weight.double() for name, weight in self.weights().items()})


def _tensor(name: str, value: Any) -> Tensor:
    """An array as a tensor of real numbers.

    Raises:
        ValueError: if it is none.
    """
    try:
        found = torch.as_tensor(value, device=None if isinstance(value, Tensor) else "cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array of numbers ({error}).") from None
    kind = str(found.dtype).removeprefix("torch.")
    if found.is_complex():
        raise ValueError(f"{name} is complex; a transcoder's weights are real numbers.")
    if found.is_floating_point() and found.dtype not in FLOATS:
        raise ValueError(f"{name} is of type {kind}, which no transcoder is trained in.")
    if found.layout != torch.strided or found.is_meta:
        raise ValueError(f"{name} is sparse or holds no values; give it as an ordinary tensor.")
    if not found.is_floating_point() and not torch.equal(found.float().to(found.dtype), found):
        raise ValueError(f"{name} holds whole numbers that float32 cannot.")
    return found.detach().clone()


def _require_whole(name: str, values: Sequence[Any], least: int) -> None:
    whole = [isinstance(v, numbers.Integral) and int(v) >= least for v in values]
    if not whole or not all(whole):
        raise ValueError(f"{name} = {values!r}: whole numbers of at least {least} are needed.")


def _check_shapes(tensors: dict[str, Tensor], axes: Mapping[str, tuple[str, ...]]) -> None:
    n_inst, d_in, d_sae = tensors["W_enc"].shape
    size = {"d_in": d_in, "d_sae": d_sae, "d_out": tensors["W_dec"].shape[-1]}
    if missing := [name for name in axes if name not in tensors]:
        raise ValueError(f"{missing[0]} is missing.")
    if empty := [name for name, t in tensors.items() if t.numel() == 0]:
        raise ValueError(
            f"{empty[0]} of shape {list(tensors[empty[0]].shape)} is empty: every axis must have "
            "a size of at least 1."
        )
    hint = ""
    if tensors["b_enc"].shape[1:] == (d_in,) != (d_sae,):
        hint = (
            " As in torch.nn.Linear? Its weights are stored the other way round: give "
            "W_enc = linear.weight.T."
        )
    for name, of in axes.items():
        size = dict(zip(of, tensors[name].shape[1:], strict=False)) | size
        shape = (n_inst, *(size[axis] for axis in of))
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{name} has shape {list(tensors[name].shape)} where {list(shape)} is needed "
                f"([n_inst] = {n_inst}, d_in = {d_in}, d_sae = {d_sae}, d_out = {size['d_out']})."
                + hint
            )
