"""What was measured and what it says of a claim: with an interval, or by a point estimate alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Held: TypeAlias = bool | float
"""Whether a rule is met: True, False, or NaN where there is nothing to judge."""

NOTHING: Held = float("nan")

Interval: TypeAlias = tuple[float, float] | None

Outcome = Literal["holds", "weaker", "undecided", "contradicted", "missing", "reported"]
"""What a part of a claim is: see :func:`graded`. *Missing* is a part that there was too little to
measure on; *reported* is what is not judged."""

IN_WORDS = {"missing": "could not be measured", "reported": "reported, not judged"}
"""Outcomes that are not their own word."""


@dataclass(frozen=True)
class Evidence:
    """One measured quantity and what it says of a claim."""

    what: str
    value: float
    interval: Interval
    n: int
    outcome: Outcome
    unit: str = "seeds"
    """Of what there are ``n``."""
    asked: str = ""
    """What its rule asks for, in words."""
    threshold: float | tuple[float, float] | None = None
    """What its rule asks for, as a number, or as a band."""
    null: float | None = None
    """What it would be without the claimed effect: the border between its direction and the
    opposite one. A band has none."""
    chance: float | None = None
    """How likely its rule is met by chance, at the null; ``None`` if that is not known."""

    def __str__(self) -> str:
        text = f"{self.what}: {number(self.value)}"
        if self.interval is not None:
            text += f" [{number(self.interval[0])}, {number(self.interval[1])}]"
        return f"{text}, n = {self.n} {self.unit}: {IN_WORDS.get(self.outcome, self.outcome)}"


def graded(met: bool, low: float, high: float, null: float, more: bool = True) -> Outcome:
    """The word for one part of a claim.

    *Holds*: its rule is met. If not, the interval decides. *Weaker*: all of it is on the claimed
    side of the null, so the direction is right and the size is not. *Contradicted*: all of it is
    on the other side. *Undecided*: it includes the null.

    Args:
        met: whether the rule is met.
        low: end of the interval; the value itself where there is none.
        high: its other end.
        null: the border between the two sides, which belongs to neither.
        more: whether the claimed side is the one above.
    """
    if met:
        return "holds"
    above, below = low > null, high < null
    if above or below:
        return "weaker" if above == more else "contradicted"
    return "undecided"


def all_of(*held: Held) -> Held:
    """False if any is, else NaN if any is or there is none, else True."""
    if any(h == 0 for h in held):
        return False
    return NOTHING if not held or np.isnan(held).any() else True


def nothing(what: str, outcome: Outcome = "missing") -> Evidence:
    """There was nothing, or too little, to measure it on."""
    return Evidence(what, float("nan"), None, 0, outcome)


def number(value: float | None) -> str:
    """A number for a table: three digits, or a power of ten if it is tiny."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else f"{value:.3g}"
