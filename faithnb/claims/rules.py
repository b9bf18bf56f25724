"""The rules that claims are judged by.

A rule holds its threshold and prints it (``str``), and says what intervals must show besides
(``certainty``). It judges in two ways by that one threshold: ``evidence`` with intervals, over the
seeds of a chapter, and ``holds`` by point estimates, over the few seeds of one setting of a grid.
``holds`` is NaN where there is nothing to judge.

A rule that is not met is not always refuted. So each also says where the two directions part, its
``null``: what would be measured without the claimed effect. Where the interval lies beside it
gives a part its word; see :func:`faithnb.claims.evidence.graded`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from faithnb.claims.chance import of_distance, of_order
from faithnb.claims.evidence import NOTHING, Evidence, Held, Interval, Outcome, graded, nothing
from faithnb.claims.shares import (
    CLEAR,
    EXCLUDES_0,
    HALF,
    MOST,
    NEARLY_NEVER,
    Bound,
    Induced,
    Marginal,
    Never,
    Often,
    OfTranscoders,
    Removed,
    Values,
)
from faithnb.measures.stats import cliffs_delta, delta_interval, mean_interval

__all__ = [
    "CLEAR", "FEWEST", "HALF", "LARGE", "MOST", "NEARLY_NEVER", "Above", "Below", "Bound", "Exact",
    "Induced", "Larger", "Marginal", "Never", "OfTranscoders", "Often", "Removed", "Reported",
    "Values", "Within",
]  # fmt: skip

LARGE = 0.8
"""A Cliff's δ from which a rule is met."""

FEWEST = 3
"""Seeds on each side below which two sides are not compared."""

WHOLE = "with the whole interval, where there is one"


@dataclass(frozen=True)
class Above:
    """A quantity must exceed a bound with its whole interval.

    The null is what it would be without the effect; if none is given, the bound itself, beyond
    which the opposite is so.
    """

    bound: float
    without: float | None = None
    unit: str = "seeds"

    certainty: ClassVar[str] = WHOLE

    def __str__(self) -> str:
        return f"above {self.bound:g}"

    @property
    def null(self) -> float:
        """The border of the opposite."""
        return self.bound if self.without is None else self.without

    def holds(self, value: float) -> Held:
        """Whether it exceeds the bound; NaN if it is NaN."""
        return NOTHING if np.isnan(value) else bool(value > self.bound)

    def evidence(self, what: str, value: float, interval: Interval, n: int) -> Evidence:
        """The quantity as it is given."""
        low, high = interval or (value, value)
        if not np.isfinite([value, low]).all():
            return nothing(what)
        return Evidence(
            what, value, interval, n, graded(low > self.bound, low, high, self.null), self.unit,
            str(self), self.bound, self.null, of_distance(interval, self.bound - self.null),
        )  # fmt: skip


@dataclass(frozen=True)
class Below:
    """A quantity must stay under a bound, perhaps so many times a reference, with its whole
    interval. The null is as for :class:`Above`, and times the reference, too."""

    bound: float
    times: str = ""
    """The reference in words, where the data bring one."""
    without: float | None = None
    unit: str = "seeds"

    certainty: ClassVar[str] = WHOLE

    def __str__(self) -> str:
        of = f" times {self.times}" if self.times else ""
        return f"below {self.bound:g}{of}"

    @property
    def null(self) -> float:
        """The border of the opposite."""
        return self.bound if self.without is None else self.without

    def holds(self, value: float, reference: float = 1.0) -> Held:
        """Whether it stays under the bound; NaN if it or the reference is NaN."""
        known = not np.isnan([value, reference]).any()
        return bool(value < self.bound * reference) if known else NOTHING

    def evidence(
        self, what: str, value: float, interval: Interval, n: int, reference: float = 1.0
    ) -> Evidence:
        """The quantity as it is given."""
        low, high = interval or (value, value)
        if not np.isfinite([value, high, reference]).all():
            return nothing(what)
        bound, null = self.bound * reference, self.null * reference
        return Evidence(
            what, value, interval, n, graded(high < bound, low, high, null, more=False), self.unit,
            str(self), bound, null, of_distance(interval, null - bound),
        )  # fmt: skip


@dataclass(frozen=True)
class Within:
    """A quantity must lie within a band with its whole interval. The opposite is that all of the
    interval lies outside. A band has no direction, so nothing of it is weaker: an interval across
    an end is undecided."""

    low: float
    high: float
    unit: str = "seeds"

    certainty: ClassVar[str] = WHOLE
    null: ClassVar[None] = None

    def __str__(self) -> str:
        return f"within [{self.low:g}, {self.high:g}]"

    def holds(self, value: float) -> Held:
        """Whether it lies within the band; NaN if it is NaN."""
        return NOTHING if np.isnan(value) else bool(self.low <= value <= self.high)

    def evidence(self, what: str, value: float, interval: tuple[float, float], n: int) -> Evidence:
        """The quantity as it is given."""
        if not np.isfinite([value, *interval]).all():
            return nothing(what)
        low, high = min(interval[0], value), max(interval[1], value)
        outside = high < self.low or low > self.high
        inside = self.low <= low and high <= self.high
        outcome: Outcome = "holds" if inside else "contradicted" if outside else "undecided"
        return Evidence(
            what, value, interval, n, outcome, self.unit, str(self), (self.low, self.high),
            chance=self._chance(interval),
        )  # fmt: skip

    def _chance(self, interval: tuple[float, float]) -> float | None:
        """That the interval lies inside although the truth is an end of the band."""
        if interval[1] - interval[0] > self.high - self.low:
            return 0.0
        return of_distance(interval, 0.0)


@dataclass(frozen=True)
class Larger:
    """Values must be larger on one side than on the other: Cliff's δ at least a threshold, and its
    interval over seeds above the null, 0. The opposite is that they are smaller. NaNs are left
    out, and below three seeds on a side nothing is judged."""

    by: float = LARGE

    certainty: ClassVar[str] = EXCLUDES_0
    null: ClassVar[float] = 0.0

    def __str__(self) -> str:
        return f"Cliff's δ at least {self.by:g}"

    def holds(self, a: Values, b: Values, seeds_a: Values, seeds_b: Values) -> Held:
        """Whether δ reaches the threshold."""
        sides, n = _sides(a, b, seeds_a, seeds_b)
        return NOTHING if n < FEWEST else cliffs_delta(*sides[:2]) >= self.by

    def evidence(
        self, what: str, a: Values, b: Values, seeds_a: Values, seeds_b: Values
    ) -> Evidence:
        """δ with its interval; n is the number of seeds on the side that has fewer."""
        what = f"Cliff's δ, {what}"
        sides, n = _sides(a, b, seeds_a, seeds_b)
        if n < FEWEST:
            return nothing(what)
        value, (low, high) = cliffs_delta(*sides[:2]), delta_interval(*sides)
        return Evidence(
            what, value, (low, high), n,
            graded(low > 0 and value >= self.by, low, high, self.null),
            asked=str(self), threshold=self.by, null=self.null, chance=of_order(self.by, n),
        )  # fmt: skip


def _sides(
    a: Values, b: Values, seeds_a: Values, seeds_b: Values
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], int]:
    """The finite values of both sides and their seeds; how many seeds the smaller side has."""
    side_a, side_b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    of_a = np.asarray(seeds_a)[np.isfinite(side_a)]
    of_b = np.asarray(seeds_b)[np.isfinite(side_b)]
    n = min(len(set(of_a.tolist())), len(set(of_b.tolist())))
    return (side_a[np.isfinite(side_a)], side_b[np.isfinite(side_b)], of_a, of_b), n


@dataclass(frozen=True)
class Exact:
    """An identity: a deviation must not exceed a tolerance. More of it is the opposite."""

    tolerance: float
    unit: str = "inputs"

    certainty: ClassVar[str] = ""

    def __str__(self) -> str:
        return f"at most {self.tolerance:g}"

    @property
    def null(self) -> float:
        """The tolerance."""
        return self.tolerance

    def holds(self, deviation: float) -> Held:
        """Whether the deviation is that small; NaN is not."""
        return bool(deviation <= self.tolerance)

    def evidence(self, what: str, deviation: float, n: int) -> Evidence:
        """The deviation as it is given."""
        outcome: Outcome = "holds" if self.holds(deviation) else "contradicted"
        return Evidence(
            what, deviation, None, n, outcome, self.unit, str(self), self.tolerance, self.null
        )


@dataclass(frozen=True)
class Reported:
    """A mean that is reported and not judged."""

    certainty: ClassVar[str] = ""
    null: ClassVar[None] = None

    def __str__(self) -> str:
        return "reported"

    def holds(self, values: Values) -> Held:
        """NaN: there is nothing to judge."""
        return NOTHING

    def evidence(self, what: str, values: Values) -> Evidence:
        """The mean of the finite values with its interval."""
        found = np.ravel(np.asarray(values, dtype=float))
        found = found[np.isfinite(found)]
        if not len(found):
            return nothing(what, "reported")
        interval = mean_interval(found) if len(found) > 1 else None
        return Evidence(
            what, float(found.mean()), interval, len(found), "reported", "values", str(self)
        )
