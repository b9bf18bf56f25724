"""Evidence for a claim: one measured quantity, its interval, and whether its rule is met.

A function a kind of rule. Each says in its docstring what it takes to be met; none takes the
outcome as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from faithnb.measures.stats import (
    cliffs_delta,
    delta_interval,
    mean_interval,
    paired_difference,
    rate_interval,
)

Outcome = Literal["yes", "partly", "no", "missing", "shown"]
"""The rule is met; the direction is right but the size is not; it is not met; there was too little
to measure it on; or the evidence is shown and not judged."""

CLEAR, LARGE = 0.3, 0.8
"""A difference of frequencies and a Cliff's δ from which an effect counts as reproduced."""

FEWEST = 3
"""Seeds on each side below which two sides are not compared."""

IN_WORDS = {
    "yes": "rule met",
    "partly": "rule met in part",
    "no": "rule not met",
    "missing": "could not be measured",
    "shown": "shown, not judged",
}


@dataclass(frozen=True)
class Evidence:
    """One measured quantity and what it says of a claim."""

    what: str
    value: float
    interval: tuple[float, float] | None
    n: int
    outcome: Outcome

    def __str__(self) -> str:
        text = f"{self.what}: {number(self.value)}"
        if self.interval is not None:
            text += f" [{number(self.interval[0])}, {number(self.interval[1])}]"
        return f"{text}, n = {self.n}: {IN_WORDS[self.outcome]}"


def induced(what: str, treated: Sequence[bool], control: Sequence[bool]) -> Evidence:
    """Frequency over the same seeds in the same order: treated minus control.

    The 95 % interval must exclude 0 and the difference be at least 0.3.
    """
    value, low, high = paired_difference(treated, control)
    outcome: Outcome = "yes" if low > 0 and value >= CLEAR else "partly" if low > 0 else "no"
    return Evidence(what, value, (low, high), len(treated), outcome)


def cured(what: str, matched: Sequence[bool], unmatched: Sequence[bool]) -> Evidence:
    """As :func:`induced`, unmatched minus matched; besides, the matched rate's upper bound must
    be at most half the unmatched rate."""
    found = induced(what, unmatched, matched)
    _, high = rate_interval(int(np.sum(matched)), len(matched))
    if found.outcome == "yes" and high > np.mean(unmatched) / 2:
        return Evidence(what, found.value, found.interval, found.n, "partly")
    return found


def nothing(what: str, outcome: Outcome = "missing") -> Evidence:
    """There was nothing, or too little, to measure it on."""
    return Evidence(what, float("nan"), None, 0, outcome)


def often(what: str, hits: Sequence[bool], at_least: float) -> Evidence:
    """A rate that must reach a bound; *partly* if its Wilson interval still reaches it."""
    k, n = int(np.sum(hits)), len(hits)
    if n == 0:
        return nothing(what)
    interval = rate_interval(k, n)
    outcome: Outcome = "yes" if k / n >= at_least else "partly" if interval[1] >= at_least else "no"
    return Evidence(what, k / n, interval, n, outcome)


def never(what: str, hits: Sequence[bool]) -> Evidence:
    """A rate that must be 0; *partly* up to one in twenty."""
    k, n = int(np.sum(hits)), len(hits)
    if n == 0:
        return nothing(what)
    outcome: Outcome = "yes" if k == 0 else "partly" if k / n <= 0.05 else "no"
    return Evidence(what, k / n, rate_interval(k, n), n, outcome)


def marginal(what: str, hits: Sequence[bool]) -> Evidence:
    """A rate whose Wilson interval must exclude both 0 and 1."""
    k, n = int(np.sum(hits)), len(hits)
    if n == 0:
        return nothing(what)
    return Evidence(what, k / n, rate_interval(k, n), n, "yes" if 0 < k < n else "no")


def above(
    what: str, value: float, bound: float, interval: tuple[float, float] | None, n: int
) -> Evidence:
    """A quantity that must exceed a bound with its whole interval."""
    low = value if interval is None else interval[0]
    if not np.isfinite([value, low]).all():
        return nothing(what)
    return Evidence(what, value, interval, n, "yes" if low > bound else "no")


def below(
    what: str, value: float, bound: float, interval: tuple[float, float] | None, n: int
) -> Evidence:
    """A quantity that must stay under a bound with its whole interval."""
    high = value if interval is None else interval[1]
    if not np.isfinite([value, high]).all():
        return nothing(what)
    return Evidence(what, value, interval, n, "yes" if high < bound else "no")


def within(
    what: str, value: float, interval: tuple[float, float], band: tuple[float, float], n: int
) -> Evidence:
    """Equivalence: the interval must lie inside the band; *partly* if only the value does."""
    if not np.isfinite([value, *interval]).all():
        return nothing(what)
    inside = [band[0] <= v <= band[1] for v in (value, *interval)]
    return Evidence(
        what, value, interval, n, "yes" if all(inside) else "partly" if inside[0] else "no"
    )


def larger(
    what: str,
    a: Sequence[float],
    b: Sequence[float],
    seeds_a: Sequence[int],
    seeds_b: Sequence[int],
) -> Evidence:
    """Cliff's δ of a over b: at least 0.8, with an interval over seeds that excludes 0.

    n is the number of seeds on the side that has fewer; below three nothing is judged. NaNs are
    left out.
    """
    what = f"Cliff's δ, {what}"
    (some_a, of_a), (some_b, of_b) = _finite(a, seeds_a), _finite(b, seeds_b)
    n = min(len(set(of_a.tolist())), len(set(of_b.tolist())))
    if n < FEWEST:
        return nothing(what)
    value = cliffs_delta(some_a, some_b)
    interval = delta_interval(some_a, some_b, of_a, of_b)
    clear = interval[0] > 0
    outcome: Outcome = "yes" if clear and value >= LARGE else "partly" if clear else "no"
    return Evidence(what, value, interval, n, outcome)


def _finite(values: Sequence[float], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    found = np.asarray(values, dtype=float)
    return found[np.isfinite(found)], np.asarray(seeds)[np.isfinite(found)]


def exact(what: str, deviation: float, tolerance: float, n: int) -> Evidence:
    """An identity: a deviation that must not exceed its tolerance."""
    return Evidence(what, deviation, None, n, "yes" if deviation <= tolerance else "no")


def shown(what: str, values: Sequence[float]) -> Evidence:
    """A mean over seeds that is shown and not judged."""
    found = np.ravel(np.asarray(values, dtype=float))
    found = found[np.isfinite(found)]
    if not len(found):
        return nothing(what, "shown")
    interval = mean_interval(found) if len(found) > 1 else None
    return Evidence(what, float(found.mean()), interval, len(found), "shown")


def number(value: float | None) -> str:
    """A number for a table: three digits, or a power of ten if it is tiny."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
