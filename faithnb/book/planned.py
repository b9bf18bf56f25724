"""What a build has to do, and how long that takes on this machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from faithnb.book.costs import Cost, makespan, recorded
from faithnb.book.machine import Machine
from faithnb.book.telling import RENDERING, in_minutes

PUBLISHED = "paper"
"""The profile of what is published."""


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        weights: by how many seconds each notebook, and the rendering, prolongs the build; 0 for
            what is kept.
        costs: what the notebooks were recorded to take, by name.
        expected: seconds of the whole build; 0 if that is not known.
    """

    weights: dict[str, float]
    costs: dict[str, Cost]
    expected: float

    def sentence(self, profile: str, here: Machine) -> str:
        """How long the build takes, for whom it may concern."""
        cores = f"{here.cores} core" + "s" * (here.cores > 1)
        trains = (
            f"This machine ({here.name}, {cores}) trains {here.speed:,.0f} steps a second on one"
        )
        if not self.expected:
            return f"{trains}. How long a build at {profile} takes was never recorded."
        return f"{trains}: at {profile}, the book takes {in_minutes(self.expected)} or less."


def plan(
    profile: str,
    together: Sequence[str],
    last: Sequence[str],
    here: Machine,
    workers: int,
    kept: Collection[str] = (),
) -> Plan:
    """What is to be done at a profile.

    A notebook that nobody has recorded counts as the median of the others.

    Args:
        profile: of the build.
        together: notebooks that run side by side, in order.
        last: those that run after them, one by one.
        here: the machine.
        workers: how many run side by side.
        kept: notebooks that need not run.
    """
    costs = recorded(profile)
    if costs is None:
        weights = {name: float(name not in kept) for name in (*together, *last)}
        return Plan(weights | {RENDERING: 1.0}, {}, 0.0)
    beside, alone = costs.seconds_on(here, workers), costs.seconds_on(here, 1)
    at_a_time, after = _of(beside, together, kept), _of(alone, last, kept)
    rendering = costs.rendering_on(here)
    weights = {n: seconds / workers for n, seconds in zip(together, at_a_time, strict=True)}
    weights |= dict(zip(last, after, strict=True)) | {RENDERING: rendering}
    expected = makespan(at_a_time, workers) + sum(after) + rendering
    return Plan(weights, dict(costs.notebooks), expected)


def paper_here(together: Sequence[str], last: Sequence[str], here: Machine, workers: int) -> float:
    """Seconds that the published profile takes on this machine from nothing; 0 if that is not
    known."""
    return plan(PUBLISHED, together, last, here, workers).expected


def _of(seconds: dict[str, float], names: Sequence[str], kept: Collection[str]) -> list[float]:
    usual = sorted(seconds.values())[len(seconds) // 2] if seconds else 1.0
    return [0.0 if name in kept else seconds.get(name, usual) for name in names]
