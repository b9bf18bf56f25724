"""The rules that claims are judged by.

A rule holds its threshold and prints it (``str``), and says what intervals must show besides
(``certainty``). It judges in two ways by that one threshold:
``evidence`` with intervals, over the seeds of a chapter, and ``holds`` by point estimates,
over the few seeds of one setting of a grid. ``holds`` is NaN where there is nothing to judge.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from jaxtyping import Bool

from faithnb.claims.evidence import NOTHING, Evidence, Held, Interval, Outcome, nothing
from faithnb.measures.stats import (
    cliffs_delta,
    delta_interval,
    mean_interval,
    paired_difference,
    rate_interval,
)

CLEAR, LARGE, MOST = 0.3, 0.8, 0.9
"""A difference of rates, a Cliff's δ and a share of transcoders from which a rule is met."""

HALF, NEARLY_NEVER = 0.5, 0.05
"""Share of a rate that may be left where it counts as removed; a rate up to which *never* is met in
part."""

FEWEST = 3
"""Seeds on each side below which two sides are not compared."""

Values: TypeAlias = Sequence[float] | np.ndarray

EXCLUDES_0 = "with a 95 % interval above 0"
WHOLE = "with the whole interval, where there is one"


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
        return self._met(int(hits.sum()), len(hits)) == "yes" if len(hits) else NOTHING

    def evidence(self, what: str, values: Values) -> Evidence:
        """The share with its Wilson interval; *missing* if there is no transcoder."""
        hits = self.hits(values)
        k, n = int(hits.sum()), len(hits)
        what = f"{what} ({self.bound})" if self.bound else what
        if n == 0:
            return nothing(what)
        return Evidence(what, k / n, rate_interval(k, n), n, self._met(k, n))

    def _met(self, k: int, n: int) -> Outcome:
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.bound} {self._share()}" if self.bound else self._share()

    def _share(self) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Often(OfTranscoders):
    """A share must reach a threshold; *partly* if its Wilson interval still reaches it."""

    at_least: float = MOST

    def _met(self, k: int, n: int) -> Outcome:
        if k / n >= self.at_least:
            return "yes"
        return "partly" if rate_interval(k, n)[1] >= self.at_least else "no"

    def _share(self) -> str:
        return f"in at least {100 * self.at_least:g} % of transcoders"


@dataclass(frozen=True)
class Never(OfTranscoders):
    """A share must be 0; *partly* up to one in twenty."""

    def _met(self, k: int, n: int) -> Outcome:
        return "yes" if k == 0 else "partly" if k / n <= NEARLY_NEVER else "no"

    def _share(self) -> str:
        return "in no transcoder"


@dataclass(frozen=True)
class Marginal(OfTranscoders):
    """A share must differ from 0 and from 1, and so must its Wilson interval."""

    def _met(self, k: int, n: int) -> Outcome:
        return "yes" if 0 < k < n else "no"

    def _share(self) -> str:
        return "in some transcoders and not in all"


@dataclass(frozen=True)
class Induced:
    """A rate must be higher under treatment than in the control by at least a threshold, over the
    same seeds in the same order; *partly* if its interval alone excludes 0."""

    by: float = CLEAR

    certainty: ClassVar[str] = EXCLUDES_0

    def __str__(self) -> str:
        return f"rate higher by at least {self.by:g}"

    def holds(self, treated: Values, control: Values) -> Held:
        """Whether the rate is that much higher."""
        return bool(np.mean(treated) - np.mean(control) >= self.by)

    def evidence(self, what: str, treated: Values, control: Values) -> Evidence:
        """The difference of the rates with Newcombe's interval."""
        pair = (np.asarray(side, dtype=bool).tolist() for side in (treated, control))
        value, low, high = paired_difference(*pair)
        outcome: Outcome = "yes" if low > 0 and value >= self.by else "partly" if low > 0 else "no"
        return Evidence(what, value, (low, high), len(treated), outcome)


@dataclass(frozen=True)
class Removed:
    """A rate must fall by at least a threshold, as for :class:`Induced`, and to at most a share of
    what it was; *partly* if the interval alone excludes 0, or if too much is left."""

    by: float = CLEAR
    left: float = HALF

    certainty: ClassVar[str] = f"{EXCLUDES_0}, the latter by its upper bound"

    def __str__(self) -> str:
        return f"rate lower by at least {self.by:g} and at most {self.left:g} times what it was"

    def holds(self, before: Values, after: Values) -> Held:
        """Whether the rate falls that much; NaN where it is too low before."""
        was, left = np.mean(before), np.mean(after)
        if was < self.by:
            return NOTHING
        return bool(was - left >= self.by and left <= was * self.left)

    def evidence(self, what: str, before: Values, after: Values) -> Evidence:
        """The difference of the rates with Newcombe's interval."""
        found = Induced(self.by).evidence(what, before, after)
        _, high = rate_interval(int(np.sum(after)), len(after))
        if found.outcome == "yes" and high > np.mean(before) * self.left:
            return Evidence(what, found.value, found.interval, found.n, "partly")
        return found


@dataclass(frozen=True)
class Above:
    """A quantity must exceed a bound with its whole interval."""

    bound: float

    certainty: ClassVar[str] = WHOLE

    def __str__(self) -> str:
        return f"above {self.bound:g}"

    def holds(self, value: float) -> Held:
        """Whether it exceeds the bound; NaN if it is NaN."""
        return NOTHING if np.isnan(value) else bool(value > self.bound)

    def evidence(self, what: str, value: float, interval: Interval, n: int) -> Evidence:
        """The quantity as it is given."""
        low = value if interval is None else interval[0]
        if not np.isfinite([value, low]).all():
            return nothing(what)
        return Evidence(what, value, interval, n, "yes" if low > self.bound else "no")


@dataclass(frozen=True)
class Below:
    """A quantity must stay under a bound, perhaps so many times a reference, with its whole
    interval."""

    bound: float
    times: str = ""
    """The reference in words, where the data bring one."""

    certainty: ClassVar[str] = WHOLE

    def __str__(self) -> str:
        of = f" times {self.times}" if self.times else ""
        return f"below {self.bound:g}{of}"

    def holds(self, value: float, reference: float = 1.0) -> Held:
        """Whether it stays under the bound; NaN if it or the reference is NaN."""
        known = not np.isnan([value, reference]).any()
        return bool(value < self.bound * reference) if known else NOTHING

    def evidence(
        self, what: str, value: float, interval: Interval, n: int, reference: float = 1.0
    ) -> Evidence:
        """The quantity as it is given."""
        high = value if interval is None else interval[1]
        if not np.isfinite([value, high, reference]).all():
            return nothing(what)
        outcome: Outcome = "yes" if high < self.bound * reference else "no"
        return Evidence(what, value, interval, n, outcome)


@dataclass(frozen=True)
class Within:
    """A quantity must lie within a band with its whole interval; *partly* if it alone does."""

    low: float
    high: float

    certainty: ClassVar[str] = WHOLE

    def __str__(self) -> str:
        return f"within [{self.low:g}, {self.high:g}]"

    def holds(self, value: float) -> Held:
        """Whether it lies within the band; NaN if it is NaN."""
        return NOTHING if np.isnan(value) else bool(self.low <= value <= self.high)

    def evidence(self, what: str, value: float, interval: tuple[float, float], n: int) -> Evidence:
        """The quantity as it is given."""
        if not np.isfinite([value, *interval]).all():
            return nothing(what)
        inside = [self.holds(v) for v in (value, *interval)]
        outcome: Outcome = "yes" if all(inside) else "partly" if inside[0] else "no"
        return Evidence(what, value, interval, n, outcome)


@dataclass(frozen=True)
class Larger:
    """Values must be larger on one side than on the other: Cliff's δ at least a threshold;
    *partly* if its interval over seeds alone excludes 0. NaNs are left out, and below three seeds
    on a side nothing is judged."""

    by: float = LARGE

    certainty: ClassVar[str] = EXCLUDES_0

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
        value, interval = cliffs_delta(*sides[:2]), delta_interval(*sides)
        clear = interval[0] > 0
        outcome: Outcome = "yes" if clear and value >= self.by else "partly" if clear else "no"
        return Evidence(what, value, interval, n, outcome)


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
    """An identity: a deviation must not exceed a tolerance."""

    tolerance: float

    certainty: ClassVar[str] = ""

    def __str__(self) -> str:
        return f"at most {self.tolerance:g}"

    def holds(self, deviation: float) -> Held:
        """Whether the deviation is that small; NaN is not."""
        return bool(deviation <= self.tolerance)

    def evidence(self, what: str, deviation: float, n: int) -> Evidence:
        """The deviation as it is given."""
        return Evidence(what, deviation, None, n, "yes" if self.holds(deviation) else "no")


@dataclass(frozen=True)
class Reported:
    """A mean over seeds that is reported and not judged."""

    certainty: ClassVar[str] = ""

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
        return Evidence(what, float(found.mean()), interval, len(found), "reported")
