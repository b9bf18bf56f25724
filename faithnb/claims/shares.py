"""Rules about shares of transcoders, and about differences of such shares."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

from faithnb.claims.chance import of_distance, of_share
from faithnb.claims.evidence import NOTHING, Evidence, Held, Outcome, graded, nothing
from faithnb.measures.stats import paired_difference, rate_interval

CLEAR, MOST = 0.3, 0.9
"""A difference of rates and a share of transcoders from which a rule is met."""

HALF, NEARLY_NEVER = 0.5, 0.05
"""Share of a rate that may be left where it counts as removed; a rate up to which something nearly
never happens."""

Values: TypeAlias = Sequence[float] | np.ndarray

EXCLUDES_0 = "with a 95 % interval above 0"


@dataclass(frozen=True)
class Bound:
    """What a value must be: ``Bound("≥", 0.95)`` asks for at least 0.95. NaN is never so."""

    sign: Literal[">", "≥", "<", "≤"]
    value: float

    def __call__(self, values: Any) -> Bool[np.ndarray, "..."]:
        """Which of the values are."""
        compare = {">": operator.gt, "≥": operator.ge, "<": operator.lt, "≤": operator.le}
        return np.asarray(compare[self.sign](np.asarray(values, dtype=float), self.value))

    def __str__(self) -> str:
        words = {">": "above", "≥": "at least", "<": "below", "≤": "at most"}
        return f"{words[self.sign]} {self.value:g}"


@dataclass(frozen=True)
class OfTranscoders:
    """A rule about a share of transcoders: of True in a list, or of values within a bound."""

    bound: Bound | None = None

    certainty: ClassVar[str] = ""

    def hits(self, values: Values) -> Bool[np.ndarray, "n"]:
        """Which transcoders count."""
        flat = np.ravel(np.asarray(values))
        return self.bound(flat) if self.bound else flat.astype(bool)

    def holds(self, values: Values) -> Held:
        """Whether the share is right; NaN if there is no transcoder."""
        hits = self.hits(values)
        return self._met(int(hits.sum()), len(hits)) if len(hits) else NOTHING

    def evidence(self, what: str, values: Values) -> Evidence:
        """The share with its Wilson interval; *missing* if there is no transcoder."""
        hits = self.hits(values)
        k, n = int(hits.sum()), len(hits)
        what = f"{what} ({self.bound})" if self.bound else what
        if n == 0:
            return nothing(what)
        interval = rate_interval(k, n)
        return Evidence(
            what, k / n, interval, n, self._outcome(k, n, *interval), "transcoders", self._share(),
            self.threshold, self.null, self._chance(n),
        )  # fmt: skip

    @property
    def threshold(self) -> float | tuple[float, float]:
        """The share that it asks for."""
        raise NotImplementedError

    @property
    def null(self) -> float | None:
        """The share at which neither it nor its opposite is so."""
        raise NotImplementedError

    def _met(self, k: int, n: int) -> bool:
        raise NotImplementedError

    def _outcome(self, k: int, n: int, low: float, high: float) -> Outcome:
        raise NotImplementedError

    def _chance(self, n: int) -> float:
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.bound} {self._share()}" if self.bound else self._share()

    def _share(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Often(OfTranscoders):
    """A share must reach a threshold. The null is a half, or the threshold if that is less: the
    opposite is that fewer transcoders are so than are not."""

    at_least: float = MOST

    @property
    def threshold(self) -> float:
        """The share that it asks for."""
        return self.at_least

    @property
    def null(self) -> float:
        """A half at most."""
        return min(HALF, self.at_least)

    def _met(self, k: int, n: int) -> bool:
        return k / n >= self.at_least

    def _outcome(self, k: int, n: int, low: float, high: float) -> Outcome:
        return graded(self._met(k, n), low, high, self.null)

    def _chance(self, n: int) -> float:
        return of_share(self.at_least, n, self.null)

    def _share(self) -> str:
        return f"in at least {100 * self.at_least:g} % of transcoders"


@dataclass(frozen=True)
class Never(OfTranscoders):
    """A share must be 0. The null is one in twenty: the opposite is that it is more often so."""

    @property
    def threshold(self) -> float:
        """None at all."""
        return 0.0

    @property
    def null(self) -> float:
        """One in twenty."""
        return NEARLY_NEVER

    def _met(self, k: int, n: int) -> bool:
        return k == 0

    def _outcome(self, k: int, n: int, low: float, high: float) -> Outcome:
        return graded(self._met(k, n), low, high, NEARLY_NEVER, more=False)

    def _chance(self, n: int) -> float:
        return (1 - NEARLY_NEVER) ** n

    def _share(self) -> str:
        return "in no transcoder"


@dataclass(frozen=True)
class Marginal(OfTranscoders):
    """A share must differ from 0 and from 1. The opposite is that all transcoders but one in twenty
    agree; there are two nulls, one on either side."""

    @property
    def threshold(self) -> tuple[float, float]:
        """None of these two."""
        return 0.0, 1.0

    @property
    def null(self) -> None:
        """There are two."""
        return None

    def _met(self, k: int, n: int) -> bool:
        return 0 < k < n

    def _outcome(self, k: int, n: int, low: float, high: float) -> Outcome:
        agree = high < NEARLY_NEVER or low > 1 - NEARLY_NEVER
        return "holds" if self._met(k, n) else "contradicted" if agree else "undecided"

    def _chance(self, n: int) -> float:
        return 1 - (1 - NEARLY_NEVER) ** n - NEARLY_NEVER**n

    def _share(self) -> str:
        return "in some transcoders and not in all"


@dataclass(frozen=True)
class Induced:
    """A rate must be higher under treatment than in the control by at least a threshold, over the
    same seeds in the same order, and its interval above the null, 0. The opposite is that it is
    lower."""

    by: float = CLEAR

    certainty: ClassVar[str] = EXCLUDES_0
    null: ClassVar[float] = 0.0

    def __str__(self) -> str:
        return f"rate higher by at least {self.by:g}"

    @property
    def threshold(self) -> float:
        """The difference that it asks for."""
        return self.by

    def holds(self, treated: Values, control: Values) -> Held:
        """Whether the rate is that much higher."""
        return bool(np.mean(treated) - np.mean(control) >= self.by)

    def evidence(self, what: str, treated: Values, control: Values) -> Evidence:
        """The difference of the rates with Newcombe's interval."""
        pair = (np.asarray(side, dtype=bool).tolist() for side in (treated, control))
        value, low, high = paired_difference(*pair)
        return Evidence(
            what, value, (low, high), len(treated),
            graded(low > 0 and value >= self.by, low, high, self.null),
            asked=str(self), threshold=self.by, null=self.null,
            chance=of_distance((low, high), self.by),
        )  # fmt: skip


@dataclass(frozen=True)
class Removed:
    """A rate must fall by at least a threshold, as for :class:`Induced`, and to at most a share of
    what it was. The null and the opposite are those of :class:`Induced`."""

    by: float = CLEAR
    left: float = HALF

    certainty: ClassVar[str] = f"{EXCLUDES_0}, the latter by its upper bound"
    null: ClassVar[float] = 0.0

    def __str__(self) -> str:
        return f"rate lower by at least {self.by:g} and at most {self.left:g} times what it was"

    @property
    def threshold(self) -> float:
        """The difference that it asks for."""
        return self.by

    def holds(self, before: Values, after: Values) -> Held:
        """Whether the rate falls that much; NaN where it is too low before."""
        was, left = np.mean(before), np.mean(after)
        if was < self.by:
            return NOTHING
        return bool(was - left >= self.by and left <= was * self.left)

    def evidence(self, what: str, before: Values, after: Values) -> Evidence:
        """The difference of the rates with Newcombe's interval."""
        found = replace(Induced(self.by).evidence(what, before, after), asked=str(self))
        _, high = rate_interval(int(np.sum(after)), len(after))
        if found.outcome == "holds" and high > np.mean(before) * self.left:
            return replace(found, outcome="weaker")
        return found
