"""One experiment: all that decides how one transcoder is trained, checked before any work."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError, shown
from faithnb.common.extensions import digests, is_own
from faithnb.common.files import digest_of, read_json
from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED, pad_points, refusals_of_points
from faithnb.data.sources import DATA, Data, source
from faithnb.data.turning import refusals_of_turn, rotation, turned
from faithnb.experiment.fields import Fields
from faithnb.matching import MATCHING, PROBES, Matching, refusals_without
from faithnb.model.inits import INITS
from faithnb.model.layer import LAYERS, Layer
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.model.turning import turned_layer
from faithnb.parameters import (
    Named,
    clean,
    unknown_name,
)
from faithnb.penalties import PENALTIES, Penalty, refusals_without_penalty

SMALLEST_STEP = {"float32": 1e-4, "float64": 1e-8}
"""Perturbations below drown in rounding."""


@dataclass(frozen=True)
class Experiment(Fields):
    """One transcoder's training, fully described. The defaults are the headline setting.

    Frozen and hashable; two equal experiments give the same transcoder. Losses are *sums* over
    coordinates and features and *means* over data.

    Raises:
        ParameterError: naming the field, its value and what is allowed.
    """

    n_layers: ClassVar[int] = 2
    """How many layers, side by side, ``"crosscoder"`` and ``"cross_layer"`` explain; no field."""

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
        if self.perturbation_scale < SMALLEST_STEP[self.dtype]:
            yield (
                f"perturbation_scale = {self.perturbation_scale:g} is not allowed with dtype = "
                f"{self.dtype!r}: steps below {SMALLEST_STEP[self.dtype]:g} drown in rounding."
            )
        if self.warmup_frac + self.decay_frac > 1:
            yield (
                f"warmup_frac = {self.warmup_frac:g} is not allowed with decay_frac = "
                f"{self.decay_frac:g}: together they must be at most 1."
            )
        if self.kink == "masked" and self.matching and self.d_out != self.d_in:
            yield (
                f"kink = 'masked' is not allowed with target = {self.target!r}: it leaves out "
                "entries of a diagonal, and the layer has not as many outputs as inputs."
            )
        named: list[Any] = [
            source(self.data), LAYERS[self.target], ARCHITECTURES[self.architecture],
            INITS.get(self.init), self.matching, PROBES[self.probe](),
            PENALTIES.get(self.sparsity_penalty),
        ]  # fmt: skip
        for chosen in named:
            if chosen is not None:
                yield from chosen.refusals(self)
        if self.matching is None:
            yield from refusals_without(self)
        if self.penalty is None:
            yield from refusals_without_penalty(self)

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
        given = [*LAYERS[self.target].files, *source(self.data).files(self.data)]
        return {str(path): digest_of(Path(path)) for path in given}

    def identity(self) -> str:
        """What the key of its results is made of: its fields, what was added, and its files, by
        their content and not by their names."""
        files = self.files()
        fields = dataclasses.asdict(self) | ({"data": "file"} if self.data not in DATA else {})
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
        return turned(source(self.data).of_experiment(self), self.turn, self.target_layers)

    def make_points(self) -> Float[Tensor, "n_points d_in"]:
        """The repeated points, filled up with zeros and rotated."""
        points = pad_points(self.points, self.d_in, self.torch_dtype)
        if self.turn == 0:
            return points
        return points @ rotation(self.turn, self.d_in, self.target_layers).to(points)

    def evaluation_inputs(self, n: int = EVALUATED) -> Float[Tensor, "n d_in"]:
        """The fixed base samples, without any repeated point, that every base metric is taken
        on; fewer than n where a file holds no more back."""
        x = self.make_data().evaluation(n)
        if self.blur > 0:
            x = x + self.blur * Stream([0], "blur").normal(0, x.shape)[0]
        return x.to(self.torch_dtype)

    @property
    def target_layers(self) -> int:
        """How many layers in sequence its target stands for."""
        return LAYERS[self.target].n_layers

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
        return PENALTIES[self.sparsity_penalty].of_experiment(self)

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
        """How many outputs the layer has; as many as inputs, if the package says what it does."""
        of = LAYERS[self.target]
        return self.d_in if is_own(of) and not of.files else self.make_target().d_out

    @property
    def torch_dtype(self) -> torch.dtype:
        return {"float32": torch.float32, "float64": torch.float64}[self.dtype]


# The signature is the fields', not that of __new__, which only looks at names.
_, *_fields = inspect.signature(Experiment.__init__).parameters.values()
Experiment.__signature__ = inspect.Signature(_fields)  # type: ignore[attr-defined]
