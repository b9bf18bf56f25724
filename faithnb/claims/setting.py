"""One setting of a grid: its conditions, and the transcoders and measures of each."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import xarray as xr
from jaxtyping import Bool
from torch import Tensor

from faithnb.claims.evidence import NOTHING
from faithnb.claims.rules import FEWEST
from faithnb.data.sampling import pad_points
from faithnb.experiment import Experiment
from faithnb.measures import fails, memorized
from faithnb.measures.stats import auroc
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

Conditions: TypeAlias = Mapping[Any, Experiment]
"""Experiments by name."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Conditions that were trained at one setting of a grid, each over the same seeds."""

    base: Experiment
    """The setting without matching."""
    matched: Experiment
    """The same with matching."""
    conditions: Conditions
    transcoders: Mapping[Any, Transcoder]
    """By condition, an instance a seed."""
    tables: Mapping[Any, xr.Dataset]
    """By condition, the measures, with the seeds as a coordinate."""
    _found: dict[Callable[..., Any], Any] = field(default_factory=dict)

    @cached_property
    def p(self) -> Tensor:
        """The first point that repeats, ``[d_in]``."""
        return pad_points(self.base.points, self.base.d_in)[0]

    @cached_property
    def layer(self) -> Layer:
        """What is explained."""
        return self.base.make_target()

    @cached_property
    def x(self) -> Tensor:
        """Evaluation inputs, ``[n, d_in]``."""
        return self.base.evaluation_inputs()

    def once(self, work: Callable[[Setting], Any]) -> Any:
        """What a function makes of this setting, worked out once for all claims that ask."""
        if work not in self._found:
            self._found[work] = work(self)
        return self._found[work]

    def of_kind(self, kind: str) -> list[Any]:
        """The conditions whose name begins with a kind."""
        return [name for name in self.conditions if name[0] == kind]

    def column(self, name: str, of: Iterable[Hashable]) -> np.ndarray:
        """A measure of several conditions, one after the other."""
        return np.concatenate([self.tables[k][name].values for k in of])

    def ensemble(self, of: Iterable[Hashable]) -> Transcoder:
        """The transcoders of several conditions in one ensemble, one after the other."""
        return Transcoder.cat([self.transcoders[k] for k in of])

    def memorized(self, condition: Hashable) -> Bool[np.ndarray, "n"]:
        """Which transcoders of a condition are in state datapoint or pair."""
        return memorized(self.tables[condition]).values

    def fails(self, condition: Hashable) -> Bool[np.ndarray, "n"]:
        """Which have a pattern feature or fail the task (``faithnb.measures.fails``)."""
        found: np.ndarray = fails(self.tables[condition]).values
        return found

    def relative_fvu(self, condition: Hashable, to: Hashable) -> np.ndarray:
        """FVU over that of the same seed under another condition."""
        of, other = (self.tables[k].fvu.values for k in (condition, to))
        return np.asarray(of / other)


def three(base: Experiment, matched: Experiment) -> Conditions:
    """Without repeats, with, and matched."""
    return {"none": replace(base, repeat_frac=0.0), "repeats": base, "matched": matched}


def weaker(base: Experiment, *factors: float) -> dict[float, Experiment]:
    """Conditions with so many times the penalty."""
    lam = base.sparsity_coefficient
    return {c: replace(base, sparsity_coefficient=c * lam) for c in factors}


def kinds(of: Mapping[str, Mapping[float, Experiment]]) -> dict[tuple[str, float], Experiment]:
    """Conditions named by kind and factor."""
    return {(kind, c): one for kind, some in of.items() for c, one in some.items()}


def l1_of(base: Experiment) -> Experiment:
    """The same with an L1 penalty, which has no scale."""
    return replace(base, sparsity_penalty="l1", tanh_scale=1.0)


def area(scores: np.ndarray, labels: Bool[np.ndarray, "n"]) -> float:
    """AUROC; NaN if a score is, or fewer than three carry the label, or fewer do not."""
    few = min(labels.sum(), (~labels).sum()) < FEWEST
    return NOTHING if few or not np.isfinite(scores).all() else auroc(scores, labels)
