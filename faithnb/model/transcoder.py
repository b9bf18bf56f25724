"""An ensemble of transcoders: sparse layers trained to stand in for a layer of a model."""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from faithnb.common.ambient import settled
from faithnb.common.errors import InputError, ParameterError
from faithnb.common.extensions import extend, is_own
from faithnb.data.rng import Stream
from faithnb.model.folding import folded
from faithnb.model.formats import FLOATS, SIZES, read, write
from faithnb.model.layers import Circuit

AXES = {
    "W_enc": ("d_in", "d_sae"),
    "b_enc": ("d_sae",),
    "W_dec": ("d_sae", "d_out"),
    "b_dec": ("d_out",),
    "W_skip": ("d_in", "d_out"),
}
"""The weights of a transcoder and their axes, after that of the instances; the last is there only
if it has a linear part. An architecture may have others of its own."""

ARCHITECTURES: dict[str, type[Transcoder]] = {}
"""Every class of transcoders by the name of its architecture."""


ONE_FORM = ("hidden_pre", "encode", "decode", "forward", "gate", "slopes", "jvp", "jacobian")
"""What every architecture has in common."""


class Transcoder(nn.Module):
    """``n_inst`` transcoders side by side, each ``ŷ = h W_dec + b_dec + x W_skip``, where the
    features are ``h = activate(x W_enc + b_enc)``, here a ReLU.

    Every tensor has a leading instance axis. An input ``[B, d_in]`` is shown to every instance;
    an input ``[n_inst, B, d_in]`` gives each its own. Nothing is ever subtracted from the input.

    Another architecture is a subclass with a name, ``architecture``, and its own :meth:`activate`.
    All that is measured, trained, kept or drawn follows from that, and from :meth:`slope`, which
    autograd gives where the subclass does not.

    Args:
        W_enc: ``[n_inst, d_in, d_sae]``; feature i of an instance reads column i.
        b_enc: ``[n_inst, d_sae]``.
        W_dec: ``[n_inst, d_sae, d_out]``; feature i writes row i.
        b_dec: ``[n_inst, d_out]``, not trained (the note has none).
        W_skip: ``[n_inst, d_in, d_out]``, the linear part; 0 by default.
        **own: what the architecture has of its own: tensors by the names of ``own_axes``, and
            numbers by those of ``settings``.

    The weights ask for no gradient; to train them your own way, call ``requires_grad_()``.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    W_skip: nn.Parameter | None

    architecture: ClassVar[str] = "relu"
    """Its name in :class:`faithnb.Experiment` and on disk."""

    own_axes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Further weights that every instance has, and their axes."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Numbers that the instances share, by the names of fields of :class:`faithnb.Experiment`."""

    trainable: ClassVar[bool] = True
    """Whether an experiment may name it."""

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

    def __init_subclass__(cls, **given: Any):
        super().__init_subclass__(**given)
        made = [name for name in ONE_FORM if getattr(cls, name) is not getattr(Transcoder, name)]
        if made:
            raise TypeError(
                f"{cls.__name__} has a {made[0]} of its own: an architecture says its activate, "
                "and slope if it likes; all else follows from them."
            )
        of = {
            name: next(k for k, base in enumerate(cls.__mro__) if name in vars(base))
            for name in ("activate", "slope")
        }
        if of["activate"] < of["slope"]:
            cls.slope = slope_by_autograd  # type: ignore[method-assign]
        if "architecture" in vars(cls):
            cls._register()

    @classmethod
    def _register(cls) -> None:
        name = cls.architecture
        if not re.fullmatch(r"(?!skip(_|$))\w+(?<!_skip)", name):
            raise TypeError(
                f"architecture = {name!r} is not allowed: it must be a word that neither begins "
                "nor ends with skip."
            )
        if name in ARCHITECTURES and ARCHITECTURES[name].__module__ != cls.__module__:
            raise TypeError(f"architecture = {name!r} is not allowed: there is one of that name.")
        if not is_own(cls) and (unknown := [s for s in cls.settings if s != "k"]):
            raise TypeError(f"settings = {unknown} are not allowed: an experiment has only k.")
        ARCHITECTURES[name] = cls
        extend("architecture", name, cls)

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """Feature activations h from what the encoder reads. A feature's activation may depend on
        the others only through which of them are on."""
        return torch.relu(z)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """∂h_i/∂z_i: 1 where a ReLU is on, 0 elsewhere."""
        return (z > 0).to(z)

    @property
    def is_relu(self) -> bool:
        """Whether its features are ReLUs; what holds for these alone asks."""
        return type(self).activate is Transcoder.activate

    def weights(self) -> dict[str, Tensor]:
        """Its weights by name, without gradients."""
        return {name: getattr(self, name).detach() for name in self.axes}

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
    def from_circuits(cls, circuits: Sequence[Circuit], **own: Any) -> Self:
        """One hand-made instance with one feature a circuit.

        Raises:
            ValueError: if there is no circuit.
        """
        if not circuits:
            raise ValueError("circuits is empty: a transcoder has at least one feature.")
        return cls.from_arrays(
            W_enc=torch.stack([c.read for c in circuits], dim=1),
            b_enc=torch.tensor([-c.threshold for c in circuits], dtype=torch.float32, device="cpu"),
            W_dec=torch.stack([c.write for c in circuits]),
            **own,
        )

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
        sphere, all else 0. It decides which solution training falls into, so it is fixed.

        Raises:
            ValueError: if there is no seed, one is not a whole number of at least 0, or a size is
                not one of at least 1.
        """
        _require_whole("seeds", seeds, 0)
        _require_whole("d_in, d_sae, d_out", (d_in, d_sae, d_out), 1)
        stream, n = Stream(seeds, "init"), len(seeds)
        W_enc = stream.normal(0, (d_in, d_sae), dtype) / d_in**0.5
        W_dec = torch.nn.functional.normalize(stream.normal(1, (d_sae, d_out), dtype), dim=-1)
        size = {"d_in": d_in, "d_sae": d_sae, "d_out": d_out}
        zero = {
            name: W_enc.new_zeros(n, *(size[axis] for axis in axes))
            for name, axes in (AXES | dict(cls.own_axes)).items()
            if name not in ("W_enc", "W_dec") and (skip or name != "W_skip")
        }
        return cls(W_enc=W_enc, W_dec=W_dec, **zero, **own)

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
    def cat(cls, transcoders: Sequence[Transcoder]) -> Any:
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

    def hidden_pre(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """z = x W_enc + b_enc, before the activation. x is cast to the weights' type and device.

        Raises:
            InputError: if x does not have d_in coordinates, or neither shape.
        """
        return self._cast(x) @ self.W_enc + self.b_enc[:, None]

    def _cast(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = f"of type {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise InputError(f"x is {kind}; it must be a floating-point tensor.")
        if x.ndim not in (2, 3) or (x.ndim == 3 and len(x) not in (1, self.n_inst)):
            raise InputError(
                f"x of shape {list(x.shape)} is not allowed: it must be [B, d_in], the same for "
                f"every instance, or [n_inst, B, d_in] with n_inst = {self.n_inst}."
            )
        if x.shape[-1] != self.d_in:
            raise InputError(f"x has {x.shape[-1]} coordinates, the transcoder reads {self.d_in}.")
        return x.to(self.W_enc)

    def encode(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """Feature activations h."""
        return self.activate(self.hidden_pre(x))

    def decode(
        self, feature_acts: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """h W_dec + b_dec, all of the output but the linear part.

        Raises:
            InputError: if the activations have another shape.
        """
        shape = tuple(feature_acts.shape)
        if len(shape) != 3 or shape[::2] != (self.n_inst, self.d_sae):
            raise InputError(
                f"feature_acts of shape {list(shape)} is not allowed: it must be [n_inst, B, "
                f"d_sae] with n_inst = {self.n_inst}, d_sae = {self.d_sae}."
            )
        return feature_acts @ self.W_dec + self.b_dec[:, None]

    def forward(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_out"]:
        """ŷ, what the transcoders put in place of the layer's output."""
        return self.with_linear(self.decode(self.encode(x)), x)

    def with_linear(
        self, y: Float[Tensor, "n_inst B d_out"], x: Float[Tensor, "*inst B d_in"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """y with what the linear part makes of x; y itself, if there is none."""
        return y if self.W_skip is None else y + self._cast(x) @ self.W_skip

    def gate(self, x: Float[Tensor, "*inst B d_in"]) -> Bool[Tensor, "n_inst B d_sae"]:
        """Which features are on, h ≠ 0."""
        return self.encode(x) != 0

    def slopes(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """∂h_i/∂z_i at x."""
        return self.slope(self.hidden_pre(x))

    def push(
        self, v: Float[Tensor, "*inst B d_in"], slopes: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """J v from the slopes of the features: push v through the encoder, scale, decode."""
        return self.with_linear(((self._cast(v) @ self.W_enc) * slopes) @ self.W_dec, v)

    def jvp(
        self, x: Float[Tensor, "*inst B d_in"], v: Float[Tensor, "*inst B d_in"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """J(x) v in closed form.

        Raises:
            InputError: if x or v has another shape, or they differ in their rows.
        """
        if x.shape[-2:] != v.shape[-2:]:
            raise InputError(f"v of shape {list(v.shape)} does not fit x, {list(x.shape)}.")
        return self.push(v, self.slopes(x))

    def jacobian(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_out d_in"]:
        """J(x) = Σ_i s_i W_dec,i W_enc,iᵀ + W_skipᵀ in closed form; rows are outputs, columns
        inputs.

        One outer product a feature, weighted by its slope s_i: the note's canonical form of the
        weights.
        """
        outer = torch.einsum("nho,nih->nhoi", self.W_dec, self.W_enc)
        J = (self.slopes(x) @ outer.flatten(2)).unflatten(-1, (self.d_out, self.d_in))
        return J if self.W_skip is None else J + self.W_skip.mT[:, None]

    def in_float64(self) -> Self:
        """The same with weights in float64; itself, if they are."""
        if self.W_enc.dtype == torch.float64:
            return self
        return self.with_weights({name: weight.double() for name, weight in self.weights().items()})

    def decoder_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """‖W_dec,i‖, what one unit of activation writes."""
        return self.W_dec.norm(dim=-1)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``, names and shapes as in SAELens.

        An ensemble of one is written without its instance axis.

        Raises:
            ParameterError: if ``folder`` is no folder's name.
            OSError: if it cannot be written.
            ValueError: if its class has no name of its own, and so could not be read again.
        """
        if ARCHITECTURES.get(self.architecture) is not type(self):
            raise ValueError(
                f"{type(self).__name__} cannot be saved: give the class an architecture of its own."
            )
        weights = {k: weight.cpu() for k, weight in self.weights().items()}
        sizes = {name: getattr(self, name) for name in SIZES}
        write(folder, self.architecture, weights, sizes | self.own_settings())

    @staticmethod
    @settled()
    def load(folder: str | os.PathLike[str]) -> Transcoder:
        """Read what :meth:`faithnb.Transcoder.save` or SAELens wrote: ReLU, TopK and JumpReLU
        transcoders, with a linear part or without, and autoencoders of these kinds; others by the
        name of their class, once it is imported. What is subtracted from the input, a factor that
        all inputs share and a ranking by decoder norms go into the weights, exactly. Nothing in
        the folder can execute code.

        Args:
            folder: with ``cfg.json`` and ``sae_weights.safetensors``.

        Raises:
            ValueError: with the reason, if the folder holds anything else or is damaged.
        """
        found = read(folder)
        if found.architecture not in ARCHITECTURES:
            raise found.refuse(
                f"its architecture is {found.architecture!r}, known are {', '.join(ARCHITECTURES)}"
            )
        of = ARCHITECTURES[found.architecture]
        settings = {name: found.cfg.get(name) for name in of.settings}
        if unset := [name for name, value in settings.items() if value is None]:
            raise found.refuse(f"cfg.json does not say {unset[0]}")
        found.require_fields(of.settings)
        found.require_weights(AXES, of.own_axes)
        try:
            loaded = of.from_arrays(**found.weights, **settings)
        except ValueError as error:
            raise found.refuse(str(error).rstrip(".")) from error
        found.require_sizes({name: getattr(loaded, name) for name in SIZES})
        return loaded.with_weights(folded(found, loaded.weights()))


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
        shape = (n_inst, *(size[axis] for axis in of))
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{name} has shape {list(tensors[name].shape)} where {list(shape)} is needed "
                f"([n_inst] = {n_inst}, d_in = {d_in}, d_sae = {d_sae}, d_out = {size['d_out']})."
                + hint
            )


def slope_by_autograd(
    self: Transcoder, z: Float[Tensor, "n_inst B d_sae"]
) -> Float[Tensor, "n_inst B d_sae"]:
    """∂h_i/∂z_i, whatever the activation; exact where which features are on does not change."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        h = self.activate(z)
        if not h.requires_grad:  # steps alone
            return torch.zeros_like(z)
        (found,) = torch.autograd.grad(h.sum(), z)
    return found


ARCHITECTURES[Transcoder.architecture] = Transcoder

load = Transcoder.load
