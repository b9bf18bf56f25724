"""An ensemble of transcoders: a sparse ReLU layer trained to stand in for a layer of a model."""

from __future__ import annotations

import hashlib
import json
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load as deserialise
from safetensors.torch import save as serialise
from torch import Tensor, nn

from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.common.files import folder_named, read_json, write_whole
from faithnb.data.rng import Stream
from faithnb.model.layers import Circuit

WEIGHTS = {
    "W_enc": ("d_in", "d_sae"),
    "b_enc": ("d_sae",),
    "W_dec": ("d_sae", "d_out"),
    "b_dec": ("d_out",),
}
"""The weights of a transcoder and their axes, after that of the instances."""

SIZES = ("n_inst", "d_in", "d_sae", "d_out")

UNDERSTOOD = {
    "architecture": "transcoder", "activation": "relu", "activation_fn": "relu",
    "apply_b_dec_to_input": False, "normalize_activations": "none", "reshape_activations": "none",
}  # fmt: skip
"""What a configuration may say of how the weights are used; whatever else it says is refused."""

DIGEST = "sae_weights_sha256"
"""Under which the metadata keep the hash of the weights' file, so that damage shows."""

DESCRIBES = ("device", "metadata")
"""What it may say besides, which changes no number."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Transcoder(nn.Module):
    """``n_inst`` transcoders side by side, each ``ŷ = ReLU(x W_enc + b_enc) W_dec + b_dec``.

    Every tensor has a leading instance axis. An input ``[B, d_in]`` is shown to every instance;
    an input ``[n_inst, B, d_in]`` gives each its own. Nothing is ever subtracted from the input.

    Args:
        W_enc: ``[n_inst, d_in, d_sae]``; feature i of an instance reads column i.
        b_enc: ``[n_inst, d_sae]``.
        W_dec: ``[n_inst, d_sae, d_out]``; feature i writes row i.
        b_dec: ``[n_inst, d_out]``, not trained (the note has none).

    The weights ask for no gradient; to train them your own way, call ``requires_grad_()``.
    """

    W_enc: nn.Parameter
    b_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter

    activation = "relu"

    def __init__(self, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor):
        super().__init__()
        for name, weight in zip(WEIGHTS, (W_enc, b_enc, W_dec, b_dec), strict=True):
            setattr(self, name, nn.Parameter(weight, requires_grad=False))

    @classmethod
    @settled()
    def from_arrays(cls, W_enc: Any, b_enc: Any, W_dec: Any, b_dec: Any = None) -> Transcoder:
        """A transcoder from arrays, tensors or nested lists; ``b_dec`` defaults to 0.

        Two-dimensional ``W_enc [d_in, d_sae]`` and ``W_dec [d_sae, d_out]`` mean one instance.

        Raises:
            ValueError: naming the array whose shape, type or values do not fit.
        """
        given = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
        tensors = {name: _tensor(name, of) for name, of in given.items() if name != "b_dec"}
        if b_dec is not None:
            tensors["b_dec"] = _tensor("b_dec", b_dec)
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
        _check_shapes(tensors)
        cast = {k: tensors[k].to(tensors["W_enc"].device, dtype) for k in WEIGHTS}
        for name, weight in cast.items():
            if not torch.isfinite(weight.double()).all():
                kind = str(dtype).removeprefix("torch.")
                raise ValueError(f"{name} holds values that are not finite in {kind}.")
        return cls(**cast)

    @classmethod
    @settled()
    def from_circuits(cls, circuits: Sequence[Circuit]) -> Transcoder:
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
    ) -> Transcoder:
        """One untrained instance a seed: W_enc ~ N(0, 1/d_in), decoder rows uniform on the unit
        sphere, biases 0. It decides which solution training falls into, so it is fixed.

        Raises:
            ValueError: if there is no seed, one is not a whole number of at least 0, or a size is
                not one of at least 1.
        """
        _require_whole("seeds", seeds, 0)
        _require_whole("d_in, d_sae, d_out", (d_in, d_sae, d_out), 1)
        stream, n = Stream(seeds, "init"), len(seeds)
        W_enc = stream.normal(0, (d_in, d_sae), dtype) / d_in**0.5
        W_dec = torch.nn.functional.normalize(stream.normal(1, (d_sae, d_out), dtype), dim=-1)
        return cls(W_enc, W_enc.new_zeros(n, d_sae), W_dec, W_enc.new_zeros(n, d_out))

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

    def __getitem__(self, index: Any) -> Transcoder:
        """Some of the instances, axis kept: ``t[3]``, ``t[2:5]``, ``t[[0, 7]]``, ``t[mask]``.

        Raises:
            IndexError: if there is no such instance, or it is not picked in one of these ways.
        """
        if not isinstance(index, slice):
            index = self._places(index)
        return type(self)(*(getattr(self, k).detach()[index].clone() for k in WEIGHTS))

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
    def cat(cls, transcoders: Sequence[Transcoder]) -> Transcoder:
        """One ensemble from several whose shapes agree.

        Raises:
            ValueError: if they do not, or there is none.
        """
        shapes = {(t.d_in, t.d_sae, t.d_out) for t in transcoders}
        if len(shapes) != 1:
            raise ValueError(
                f"transcoders of one shape are needed, not of {len(shapes)}: {shapes}."
            )
        return cls(*(torch.cat([getattr(t, k).detach() for t in transcoders]) for k in WEIGHTS))

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
        """Feature activations h = ReLU(z)."""
        return torch.relu(self.hidden_pre(x))

    def decode(
        self, feature_acts: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """ŷ = h W_dec + b_dec.

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
        return self.decode(self.encode(x))

    def gate(self, x: Float[Tensor, "*inst B d_in"]) -> Bool[Tensor, "n_inst B d_sae"]:
        """Which features are on: 1[z > 0], the derivative of the ReLU."""
        return self.hidden_pre(x) > 0

    def jvp(
        self, x: Float[Tensor, "*inst B d_in"], v: Float[Tensor, "*inst B d_in"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """J(x) v in closed form: push v through the encoder, keep what is on, decode.

        Raises:
            InputError: if x or v has another shape, or they differ in their rows.
        """
        if x.shape[-2:] != v.shape[-2:]:
            raise InputError(f"v of shape {list(v.shape)} does not fit x, {list(x.shape)}.")
        return ((self._cast(v) @ self.W_enc) * self.gate(x)) @ self.W_dec

    def jacobian(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_out d_in"]:
        """J(x) = Σ_{i on} W_dec,i W_enc,iᵀ in closed form; rows are outputs, columns inputs.

        One outer product a feature, summed over the features that are on: the note's canonical
        form of the weights.
        """
        outer = torch.einsum("nho,nih->nhoi", self.W_dec, self.W_enc)
        gate = self.gate(x).to(outer.dtype)
        return (gate @ outer.flatten(2)).unflatten(-1, (self.d_out, self.d_in))

    def in_float64(self) -> Transcoder:
        """The same with weights in float64; itself, if they are."""
        if self.W_enc.dtype == torch.float64:
            return self
        return type(self)(*(getattr(self, name).detach().double() for name in WEIGHTS))

    def decoder_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """‖W_dec,i‖, what one unit of activation writes."""
        return self.W_dec.norm(dim=-1)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``cfg.json`` and ``sae_weights.safetensors``, names and shapes as in SAELens.

        An ensemble of one is written without its instance axis.

        Raises:
            ParameterError: if ``folder`` is no folder's name.
            OSError: if it cannot be written.
        """
        folder = folder_named("folder", folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = {k: getattr(self, k).detach().cpu().contiguous() for k in WEIGHTS}
        if self.n_inst == 1:
            weights = {k: v[0].contiguous() for k, v in weights.items()}
        content = serialise(weights)
        cfg = {
            "architecture": "transcoder",
            "d_in": self.d_in,
            "d_sae": self.d_sae,
            "d_out": self.d_out,
            "n_inst": self.n_inst,
            "activation": self.activation,
            "dtype": str(self.W_enc.dtype).removeprefix("torch."),
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "metadata": {DIGEST: hashlib.sha256(content).hexdigest()},
        }
        write_whole(folder / "sae_weights.safetensors", content)
        write_whole(folder / "cfg.json", json.dumps(cfg, indent=2) + "\n")

    @classmethod
    @settled()
    def load(cls, folder: str | os.PathLike[str]) -> Transcoder:
        """Read what :meth:`save` wrote. Nothing in the folder can execute code.

        Raises:
            ValueError: with the reason, if the folder holds anything else or is damaged.
        """
        folder = folder_named("folder", folder)

        def refuse(reason: str) -> ValueError:
            return ValueError(f"{folder} does not hold a faithnb transcoder: {reason}.")

        for name in ("cfg.json", "sae_weights.safetensors"):
            if not (folder / name).is_file():
                raise refuse(f"{name} is missing")
        try:
            cfg = read_json((folder / "cfg.json").read_text(encoding="utf-8"))
            content = (folder / "sae_weights.safetensors").read_bytes()
            weights = deserialise(content)
        except (ValueError, OSError, SafetensorError) as error:
            raise refuse(f"a file cannot be read ({error})") from error
        if not isinstance(cfg, dict) or cfg.get("architecture") != "transcoder":
            raise refuse("cfg.json does not say architecture = transcoder")
        for name, known in UNDERSTOOD.items():
            if cfg.get(name, known) != known:
                raise refuse(f"cfg.json says {name} = {cfg[name]!r}, only {known!r} is understood")
        if unknown := sorted(set(cfg) - {*UNDERSTOOD, *SIZES, *DESCRIBES, "dtype"}):
            raise refuse(
                f"cfg.json says {unknown[0]} = {cfg[unknown[0]]!r}, and what that means is not "
                "known here"
            )
        about = cfg.get("metadata")
        digest = about.get(DIGEST) if isinstance(about, dict) else None
        if digest not in (None, hashlib.sha256(content).hexdigest()):
            raise refuse("sae_weights.safetensors is not the file that cfg.json was written with")
        if missing := [k for k in WEIGHTS if k not in weights]:
            raise refuse(f"sae_weights.safetensors lacks {', '.join(missing)}")
        if unknown := sorted(set(weights) - set(WEIGHTS)):
            raise refuse(f"sae_weights.safetensors holds more than it should: {', '.join(unknown)}")
        for name, weight in sorted(weights.items()):
            kind = str(weight.dtype).removeprefix("torch.")
            if weight.dtype not in FLOATS:
                raise refuse(f"{name} is of type {kind}, which no transcoder is trained in")
            if str(cfg.get("dtype", kind)).removeprefix("torch.") != kind:
                raise refuse(f"cfg.json says dtype = {cfg['dtype']!r}, {name} is of type {kind}")
        try:
            loaded = cls.from_arrays(**weights)
        except ValueError as error:
            raise refuse(str(error).rstrip(".")) from error
        for name in SIZES:
            size = getattr(loaded, name)
            if (said := cfg.get(name, size)) != size or isinstance(said, bool):
                raise refuse(f"cfg.json says {name} = {said!r}, the weights say {size}")
        return loaded


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


def _check_shapes(tensors: dict[str, Tensor]) -> None:
    n_inst, d_in, d_sae = tensors["W_enc"].shape
    d_out = tensors["W_dec"].shape[-1]
    if empty := [name for name, t in tensors.items() if t.numel() == 0]:
        raise ValueError(
            f"{empty[0]} of shape {list(tensors[empty[0]].shape)} is empty: every axis must have "
            "a size of at least 1."
        )
    expected = {
        "W_enc": (n_inst, d_in, d_sae),
        "b_enc": (n_inst, d_sae),
        "W_dec": (n_inst, d_sae, d_out),
        "b_dec": (n_inst, d_out),
    }
    hint = ""
    if tensors["b_enc"].shape[1:] == (d_in,) != (d_sae,):
        hint = (
            " As in torch.nn.Linear? Its weights are stored the other way round: give "
            "W_enc = linear.weight.T."
        )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise ValueError(
                f"{name} has shape {list(tensors[name].shape)} where {list(shape)} is needed "
                f"([n_inst] = {n_inst}, d_in = {d_in}, d_sae = {d_sae}, d_out = {d_out}).{hint}"
            )
