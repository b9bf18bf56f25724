"""One experiment: all that decides how one transcoder is trained, checked before any work."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError, shown
from faithnb.common.extensions import digests, is_own
from faithnb.common.files import digest_of, read_json
from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED, pad_points, refusals_of_points
from faithnb.data.sources import DATA, FILES, Data, source
from faithnb.data.turning import refusals_of_turn, rotation, turned
from faithnb.data.variations import VARIATIONS
from faithnb.matching import MATCHING, PROBES, Estimator, Matching, refusals_without
from faithnb.model.inits import INITS
from faithnb.model.layer import LAYERS, Kink, Layer
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.model.turning import turned_layer
from faithnb.parameters import (
    Named,
    NamedOrFile,
    OneOf,
    PointList,
    Range,
    YesNo,
    clean,
    parameter,
    refusals_of_steps,
    unknown_name,
)
from faithnb.penalties import PENALTIES, Penalty

Sampling = Literal["exact", "bernoulli"]
MatchingAt = Literal["all", "points", "base"]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class Experiment:
    """One transcoder's training, fully described. The defaults are the headline setting.

    Frozen and hashable; two equal experiments give the same transcoder. Losses are *sums* over
    coordinates and features and *means* over data.

    Raises:
        ParameterError: naming the field, its value and what is allowed.
    """

    target: str = parameter("abs", Named(LAYERS))
    """The layer to explain. ``"abs"`` is ``y = |x|``, ``"smooth_abs"`` the same without its kink;
    ``"rotated"``, ``"combinations"`` and ``"two_layers"`` are sums of circuits, see
    :mod:`faithnb.model.sums`; ``"superposed"`` and ``"gelu_network"`` are trained, see
    :class:`faithnb.model.networks.Network`. ``"abs_with_point"`` and its like have a mechanism for
    p besides, see :class:`faithnb.model.with_point.WithPoint`."""

    d_in: int = parameter(16, Range(1, whole=True))
    """Input coordinates of the target."""

    d_sae: int = parameter(64, Range(1, whole=True))
    """Features of the transcoder; the exact solution of ``"abs"`` needs 2·d_in."""

    data: str = parameter("sparse_uniform", NamedOrFile(DATA, endings=FILES))
    """The source of base samples. ``"sparse_uniform"`` is the note's distribution, see
    :class:`faithnb.data.sources.SparseUniform`; those made for certain layers are in
    :mod:`faithnb.data.structured`; the path of a ``.npy`` or ``.safetensors`` file draws from its
    rows, see :class:`faithnb.data.sources.Activations`."""

    density: float = parameter(0.1, Range(0, 1, open_low=True))
    """Probability that a coordinate is not 0 (then it is uniform on (−1, 1)), or that a source's
    unit of another kind acts."""

    blur: float = parameter(0.0, Range(0, 1e6))
    """Standard deviation of normal noise on every coordinate of the base data, against exact
    zeros."""

    points: tuple[tuple[float, ...], ...] = parameter(((1.0, 1.0, 1.0),), PointList())
    """The points that repeat, each filled up with zeros to d_in coordinates."""

    repeat_frac: float = parameter(0.0, Range(0, 1))
    """Fraction of the data that is one of the points, all of them together."""

    point_variation: str = parameter("none", Named(VARIATIONS, ("none",)))
    """What changes from one repeat to the next. ``"ray"`` is one factor for the whole point,
    ``"independent"`` a factor for each coordinate, ``"jitter"`` normal noise on its coordinates,
    ``"signs"`` their signs. See :mod:`faithnb.data.variations`."""

    variation_scale: float = parameter(0.5, Range(0, 1))
    """Strength of the variation. Factors are uniform on (1 − scale, 1), noise has this standard
    deviation, and a sign flips with this probability."""

    sampling: Sampling = parameter("exact", OneOf(Sampling))
    """``"exact"`` weighs the points into every batch; ``"bernoulli"`` draws them at random."""

    architecture: str = parameter("relu", Named(ARCHITECTURES))
    """The transcoder's kind of sparse layer. ``"topk"`` keeps the k largest of its features, see
    :class:`faithnb.model.architectures.TopK`."""

    skip: bool = parameter(False, YesNo())
    """Whether the transcoder has a linear part besides, ``x W_skip``, with no penalty on it."""

    k: int = parameter(0, Range(0, whole=True))
    """How many features of an input ``"topk"`` keeps; 0 where the architecture does not ask."""

    sparsity_penalty: str = parameter("tanh", Named(PENALTIES, last=("none",)))
    """``"tanh"`` is Σ tanh(s·h_i·‖w_i‖), near L0; ``"l1"`` is Σ h_i·‖w_i‖ (w_i a decoder row)."""

    sparsity_coefficient: float = parameter(0.1, Range(0, 1e6))
    """λ, the weight of the sparsity penalty."""

    tanh_scale: float = parameter(1.0, Range(0, 1e6, open_low=True))
    """s, how soon a contribution counts as one whole active feature; for ``"tanh"`` only."""

    jacobian_matching: str = parameter("none", Named(MATCHING, ("none",)))
    """``"plain"`` is ‖J_T(x) − J_M(x)‖²; ``"smoothed"`` the same at x + σε, ε ~ N(0, I);
    ``"finite"`` takes differences of outputs over a step σv instead of derivatives. Two forms let
    the gradient reach the gates: ``"sigmoid_gate"`` reads J_T with gates sigmoid(z‖w_i‖/σ), and
    ``"straight_through"`` only their derivative so. ``"noise"`` matches no derivative, a control:
    the error of the output at x + σε, divided by σ²."""

    jacobian_coefficient: float = parameter(0.0, Range(0, 1e6))
    """μ, the weight of Jacobian matching."""

    jacobian_estimator: Estimator = parameter("sampled", OneOf(Estimator))
    """``"sampled"`` is one random probe v a row and step, the note's estimator; ``"exact"`` the
    Frobenius norm in closed form."""

    kink: Kink = parameter("zero", OneOf(Kink))
    """How the target's derivative is read exactly at its kink, see
    :data:`faithnb.model.layer.Kink`."""

    probe: str = parameter("rademacher", Named(PROBES))
    """Distribution of v. ``"rademacher"`` and ``"gaussian"`` have E v vᵀ = I. ``"covariance"`` is
    Gaussian with E v vᵀ = E x xᵀ over the data, repeats included. ``"active"`` is a
    Rademacher v on the coordinates where x is not 0, and 0 elsewhere; ``"top_k"`` one projected
    onto as many leading right singular vectors of the target's Jacobian at x."""

    matching_at: MatchingAt = parameter("all", OneOf(MatchingAt))
    """Which part of the data the Jacobian is matched on; the weights of the other part are 0."""

    perturbation_scale: float = parameter(0.1, Range(0, 1e6, open_low=True))
    """σ of smoothed and finite matching and of noise, in units of the input; the width of the gates
    of the two forms that soften them, in units of what a feature contributes."""

    jacobian_start: float = parameter(0.0, Range(0, 1))
    """Share of the steps after which matching sets in."""

    contribution_coefficient: float = parameter(0.0, Range(0, 1e6))
    """Weight of the note's penalty on contributions to the Jacobian, Σ_on ‖w_enc,i‖‖w_dec,i‖."""

    init: str = parameter("random", Named(INITS, ("random",)))
    """Where training starts. ``"generalising"`` is the target's own mechanism, ``"memorising"`` one
    with a feature for p; see :mod:`faithnb.model.inits`."""

    steps: int = parameter(3000, Range(1, whole=True))
    """Optimiser steps (Adam)."""

    batch_size: int = parameter(512, Range(1, whole=True))
    """Base samples drawn anew each step."""

    learning_rate: float = parameter(3e-3, Range(0, open_low=True))
    """Adam's learning rate at its height."""

    warmup_frac: float = parameter(0.05, Range(0, 1))
    """Share of the steps over which the learning rate rises linearly from 0."""

    decay_frac: float = parameter(0.3, Range(0, 1))
    """Share of the steps, at the end, over which it falls linearly to 0."""

    turn: int = parameter(0, Range(0, 2**62 - 1, whole=True))
    """The seed of a random rotation of inputs and outputs, see :mod:`faithnb.model.turning`; 0 for
    none. Measures are taken in the basis before the rotation, in which ``points`` are given."""

    seed: int = parameter(0, Range(0, 2**62 - 1, whole=True))
    """Decides initialisation, data and probes. Settings are chosen
    on seeds below 100, claims judged on others."""

    dtype: Precision = parameter("float32", OneOf(Precision))
    """Floating-point type of training."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Experiment:
        known = {f.name: f for f in dataclasses.fields(cls)}
        for name, value in kwargs.items():
            if name not in known:
                raise unknown_name(name, value, known)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            object.__setattr__(self, f.name, clean(f.name, value, f.metadata["allowed"]))
        for sentence in self._refusals():
            raise ParameterError(sentence)

    def _refusals(self) -> Iterator[str]:
        """Choices that make no sense together: what each thing that was named refuses, and what
        concerns none of them."""
        yield from refusals_of_points(self)
        yield from refusals_of_turn(self)
        yield from refusals_of_steps(self)
        if self.kink == "masked" and self.matching and self.d_out != self.d_in:
            yield (
                f"kink = 'masked' is not allowed with target = {self.target!r}: it leaves out "
                "entries of a diagonal, and the layer has not as many outputs as inputs."
            )
        named: list[Any] = [
            source(self.data), LAYERS[self.target], ARCHITECTURES[self.architecture],
            INITS.get(self.init), self.matching, PROBES[self.probe](),
        ]  # fmt: skip
        for chosen in named:
            if chosen is not None:
                yield from chosen.refusals(self)
        if self.matching is None:
            yield from refusals_without(self)

    def to_json(self) -> str:
        """The fields as one JSON object."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """The experiment that :meth:`to_json` wrote; fields that are absent take their default.

        Raises:
            ParameterError: if it is not JSON, or holds what no experiment has.
        """
        try:
            fields = read_json(text)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"{shown(text)} is not JSON: {error}.") from None
        if not isinstance(fields, dict):
            raise ParameterError(f"{shown(text)} is not a JSON object of an Experiment's fields.")
        return cls(**fields)

    def added(self) -> list[str]:
        """What keys must hold of the words that were added to the package from outside."""
        found = []
        for f in dataclasses.fields(self):
            if isinstance(allowed := f.metadata["allowed"], Named):
                found += digests(allowed.words.kind, getattr(self, f.name))
        return found

    def files(self) -> dict[str, str]:
        """The hashes of the files that it is trained from, by name.

        Raises:
            OSError: if one is no longer there.
        """
        given = [*LAYERS[self.target].files, *([self.data] if self.data not in DATA else [])]
        return {str(path): digest_of(Path(path)) for path in given}

    def identity(self) -> str:
        """What the key of its results is made of: its fields, what was added, and its files, by
        their content and not by their names."""
        files = self.files()
        fields = dataclasses.asdict(self) | ({"data": "file"} if self.data in files else {})
        return "".join([json.dumps(fields), *self.added(), *files.values()])

    def unusual(self) -> str:
        """The fields that differ from their defaults, for messages and captions."""
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        ]
        return ", ".join(changed) or "the defaults"

    def make_target(self, kink: str | None = None) -> Layer:
        """The target itself, with this experiment's kink convention or another, rotated."""
        points = pad_points(self.points, self.d_in)
        kink = kink or self.kink
        layer = LAYERS[self.target].of_experiment(self.d_in, points, kink)  # type: ignore[arg-type]
        return turned_layer(layer, self.turn)

    def make_data(self) -> Data:
        """Where its base samples come from, rotated."""
        return turned(source(self.data).of_experiment(self), self.turn)

    def make_points(self) -> Float[Tensor, "n_points d_in"]:
        """The repeated points, filled up with zeros and rotated."""
        points = pad_points(self.points, self.d_in, self.torch_dtype)
        return points @ rotation(self.turn, self.d_in).to(points) if self.turn else points

    def evaluation_inputs(self, n: int = EVALUATED) -> Float[Tensor, "n d_in"]:
        """The fixed base samples, without any repeated point, that every base metric is taken
        on; fewer than n where a file holds no more back."""
        x = self.make_data().evaluation(n)
        if self.blur > 0:
            x = x + self.blur * Stream([0], "blur").normal(0, x.shape)[0]
        return x.to(self.torch_dtype)

    @property
    def matching(self) -> Matching | None:
        """The form of Jacobian matching, if there is one."""
        if self.jacobian_matching == "none":
            return None
        return MATCHING[self.jacobian_matching](self.jacobian_estimator, self.kink)

    @property
    def penalty(self) -> Penalty | None:
        """The sparsity penalty, if there is one."""
        if self.sparsity_penalty == "none":
            return None
        return PENALTIES[self.sparsity_penalty]()

    def unmatched(self) -> Experiment:
        """The same without Jacobian matching."""
        return dataclasses.replace(
            self, jacobian_matching="none", jacobian_coefficient=0.0, kink="zero",
            jacobian_start=0.0,
        )  # fmt: skip

    @property
    def p(self) -> Float[Tensor, "d_in"]:
        """The repeated point, filled up with zeros, ``[d_in]``.

        Raises:
            ParameterError: if there is not exactly one.
        """
        if len(self.points) != 1:
            raise ParameterError(
                f"points = {self.points} is not allowed where one point is looked at: it must "
                "hold exactly one."
            )
        return self.make_points()[0]

    @property
    def d_out(self) -> int:
        """How many outputs the layer has; as many as inputs, if it is one of the package."""
        return self.d_in if is_own(LAYERS[self.target]) else self.make_target().d_out

    @property
    def torch_dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]


# The signature is the fields', not that of __new__, which only looks at names.
_, *_fields = inspect.signature(Experiment.__init__).parameters.values()
Experiment.__signature__ = inspect.Signature(_fields)  # type: ignore[attr-defined]
