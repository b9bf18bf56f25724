"""Transcoders of one MLP under several conditions, with a window of text that repeats in some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from faithnb.experiment import Experiment
from faithnb.lm import responses
from faithnb.lm.subject import Subject
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import train

UNCHANGED = {"repeat_frac": 0.0, "density": Experiment.density}
"""Fields that a subject's data say instead."""


class Answering(Layer):
    """A layer that works out its outputs once for each array, and keeps both: it costs many times
    what a transcoder does, and all of them are measured at the same inputs.

    Args:
        layer: which one.
    """

    def __init__(self, layer: Layer):
        self.layer, self.d_in, self.d_out = layer, layer.d_in, layer.d_out
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        if id(x) not in self._known:
            self._known[id(x)] = x, self.layer(x)
        return self._known[id(x)][1]

    def jvp(
        self, x: Float[Tensor, "*batch d_in"], v: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_out"]:
        """The layer's."""
        return self.layer.jvp(x, v)


@dataclass(frozen=True, eq=False)
class Study:
    """Each seed has a window of its own, unless all share one; no training sees it where it does
    not repeat.

    Attributes:
        subject: the MLP and its text.
        seeds: of every condition.
        first_window: the window of the first seed; the others follow.
        first: where the part of the window that repeats begins.
        last: the position behind it.
        shared: whether all seeds have the first one's window.
        family: how many windows, the first of the subject's, are alike. If there are any, they
            repeat together, but for the seed's own, which no training sees.
        training: as :func:`faithnb.train` takes it, a store and whether to show progress.
    """

    subject: Subject
    seeds: Sequence[int]
    first_window: int = 3
    first: int = 1
    last: int = 64
    shared: bool = False
    family: int = 0
    training: Mapping[str, Any] = field(default_factory=dict)
    _pairs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)
    _inputs: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def layer(self) -> Layer:
        """The subject's, asked once about each array."""
        return Answering(self.subject.layer)

    def rows(self, place: int) -> range:
        """What repeats for the seed at that place."""
        return self.subject.kept.at(self.window(place), self.first, self.last)

    def window(self, place: int) -> int:
        """Which window repeats for the seed at that place."""
        return self.first_window + (0 if self.shared else place)

    def train(self, conditions: Mapping[str, tuple[Experiment, float]]) -> dict[str, list[Any]]:
        """One transcoder a seed of each condition.

        Args:
            conditions: an experiment, whose layer, data and seed are set here, and the share of
                the data that the window makes up.
        """
        every = [
            replace(e, **UNCHANGED | self._described(place, frac), seed=seed)
            for e, frac in conditions.values() for place, seed in enumerate(self.seeds)
        ]  # fmt: skip
        trained, n = train(every, **self.training), len(self.seeds)
        return {
            name: [trained[k * n + place] for place in range(n)]
            for k, name in enumerate(conditions)
        }

    @property
    def share(self) -> float:
        """How much of the subject's windows the family makes up."""
        return self.family / len(self.subject.windows)

    def _described(self, place: int, frac: float) -> dict[str, Any]:
        if not self.family:
            return self.subject.described(repeated=self.rows(place), frac=frac)
        own, length = self.window(place), self.subject.windows.shape[1]
        alike = [
            row
            for window in range(self.family) if window != own
            for row in self.subject.kept.at(window, self.subject.first_kept)
        ]  # fmt: skip
        left_out = range(own * length, (own + 1) * length)
        return self.subject.described(repeated=alike, frac=frac, left_out=left_out)

    def measured(self, transcoders: Sequence[Transcoder]) -> pd.DataFrame:
        """A row a seed: errors on other text and at its window, active features, the share of what
        is written at the window by features of its own, responses to a replaced token, Jacobians.
        """
        rows = [self._measured(place, t) for place, t in enumerate(transcoders)]
        return pd.DataFrame(rows, index=pd.Index(self.seeds, name="seed"))

    def tables(self, conditions: Mapping[str, tuple[Experiment, float]]) -> dict[str, pd.DataFrame]:
        """:meth:`measured` of each condition, trained if need be."""
        return {name: self.measured(some) for name, some in self.train(conditions).items()}

    def replaced(
        self, place: int
    ) -> tuple[Float[Tensor, "pairs d_in"], Float[Tensor, "pairs d_in"]]:
        """Pairs of inputs, see :meth:`faithnb.lm.subject.Subject.replaced`; the model makes them
        once."""
        if place not in self._pairs:
            given = self.window(place), self.first, self.last
            self._pairs[place] = self.subject.replaced(*given, seed=place)
        return self._pairs[place]

    def inputs(self, place: int) -> Float[Tensor, "n d_in"]:
        """The part that repeats for the seed at that place."""
        if place not in self._inputs:
            self._inputs[place] = self.subject.at(self.rows(place))
        return self._inputs[place]

    def _measured(self, place: int, t: Transcoder) -> dict[str, float]:
        f, others, x = self.layer, self.subject.others, self.inputs(place)
        pair = self.replaced(place)
        found = {
            "fvu": responses.error(t, f, others, others),
            "l0": responses.active(t, others),
            "window": responses.error(t, f, x, others),
            "l0_window": responses.active(t, x),
            "own": responses.own_share(t, x, others),
            "response": responses.response_error(t, f, *pair),
            "patching": responses.patching_error(t, f, *pair),
            "jacobian": responses.jacobian_error(t, f, others[:64]),
            "jacobian_window": responses.jacobian_error(t, f, x),
        }
        return {name: value.item() for name, value in found.items()}
