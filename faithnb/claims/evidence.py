"""What was measured and what it says of a claim: with an interval, or by a point estimate alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Held: TypeAlias = bool | float
"""Whether a rule is met: True, False, or NaN where there is nothing to judge."""

NOTHING: Held = float("nan")

Interval: TypeAlias = tuple[float, float] | None

Outcome = Literal["yes", "partly", "no", "missing", "reported"]
"""The rule is met; the direction is right but the size is not; it is not met; there was too little
to measure it on; or the evidence is reported and not judged."""

IN_WORDS = {
    "yes": "rule met",
    "partly": "rule met in part",
    "no": "rule not met",
    "missing": "could not be measured",
    "reported": "reported, not judged",
}


@dataclass(frozen=True)
class Evidence:
    """One measured quantity and what it says of a claim."""

    what: str
    value: float
    interval: Interval
    n: int
    outcome: Outcome

    def __str__(self) -> str:
        text = f"{self.what}: {number(self.value)}"
        if self.interval is not None:
            text += f" [{number(self.interval[0])}, {number(self.interval[1])}]"
        return f"{text}, n = {self.n}: {IN_WORDS[self.outcome]}"


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
