"""The largest of several goals on a box: by splitting it, and what that leaves open by programs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from faithnb.certify.searches import searched
from faithnb.certify.splitting import Found, Slopes, Splitting
from faithnb.certify.tasks import Task, answers
from faithnb.common.errors import ParameterError

TOLERANCE = 1e-7
"""How far a bound from splitting may exceed what was found."""

CLOSED = 1e-6
"""A certificate is closed if the dual bound exceeds what was found by at most this."""

MOST_BOXES = 400_000
"""That splitting bounds before programs take over; where units are ranked it is an eighth, because
its bounds are not attained at ties."""

TIME_LIMIT = 60.0
"""Seconds, where neither they nor a number of boxes is said."""

MARGIN = 1e-5
"""How near a kink a Jacobian is not asked about, as a share of half of the box's width."""


@dataclass(frozen=True)
class Effort:
    """How long to try, and with how many processes."""

    time_limit: float = TIME_LIMIT
    workers: int | None = None
    each: bool = False
    """Whether every goal's own largest value is asked for, not only that of all."""

    most_boxes: int = MOST_BOXES
    by_programs: bool = True
    """Whether programs take over what splitting leaves open. Without them and without a time limit
    the same weights get the same bound on every run."""

    kept: bool = True
    """Whether long searches are kept in the store, and looked for there."""

    begun: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if not self.time_limit > 0:
            raise ParameterError(
                f"time_limit = {self.time_limit} is not allowed: it must be above 0 seconds."
            )
        for name, given in ("workers", self.workers), ("most_boxes", self.most_boxes):
            if given is not None and given < 1:
                raise ParameterError(f"{name} = {given} is not allowed: it must be 1 or more.")

    @classmethod
    def asked(
        cls, time_limit: float | None, workers: int | None = None, each: bool = False,
        most_boxes: int | None = None,
    ) -> Effort:  # fmt: skip
        """What the questions' arguments come to: a number of boxes is in place of a clock and of
        programs."""
        if most_boxes is None:
            return cls(TIME_LIMIT if time_limit is None else time_limit, workers, each)
        limit = math.inf if time_limit is None else time_limit
        return cls(limit, workers, each, most_boxes, by_programs=False)

    def again(self) -> Effort:
        """The same for one question more, in the time that is left."""
        return replace(self, time_limit=max(self.left, 1e-3), begun=time.perf_counter())

    @property
    def until(self) -> float:
        """When to stop, in seconds of ``time.perf_counter``."""
        return self.begun + self.time_limit

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self.until - time.perf_counter(), 0.0)


@dataclass
class Outcome:
    """The largest of each goal: found, and bounded from above."""

    value: Float[ndarray, "n_goals"]
    at: Float[ndarray, "n_goals m"]
    dual: Float[ndarray, "n_goals"]
    slack: Float[ndarray, "n_goals"]
    programs: int = 0
    boxes: int = 0


def largest(
    problem: Splitting, effort: Effort, least: float = -np.inf, enough: float = np.inf
) -> Outcome:
    """The largest of a problem's goals.

    Args:
        problem: a function on ``[−1, 1]^m`` and its goals.
        effort: how long to try.
        least: what is not larger is of no interest.
        enough: stop once something larger was found.
    """
    if problem.m == 0:
        value = problem.at_the_point()
        return Outcome(value, np.zeros((len(value), 0)), value, problem.slack)
    most = effort.most_boxes // 8 if problem.f.n_ranked else effort.most_boxes
    limits = most, not effort.each, least, enough
    found = searched(problem, _start(problem.m), TOLERANCE, effort.until, limits, effort.kept)
    made = Outcome(
        found.value, found.at, found.bound - problem.slack, problem.slack.copy(),
        boxes=found.boxes,
    )  # fmt: skip
    if effort.by_programs and found.open and effort.left > 0 and found.value.max() <= enough:
        _by_programs(problem, found, made, effort, least)
    made.dual = np.maximum(made.dual, made.value)
    return made


def _start(m: int) -> Float[ndarray, "n m"]:
    """Points to begin with: corners, the middle and some between."""
    rng = np.random.default_rng(0)
    corners = rng.choice([-1.0, 1.0], (256, m))
    return np.concatenate([np.zeros((1, m)), corners, rng.uniform(-1, 1, (768, m))])


def _by_programs(
    problem: Splitting, found: Found, made: Outcome, effort: Effort, least: float
) -> None:
    """Programs for the goals that are open, those with the largest bounds first."""
    order = sorted(found.open, key=lambda j: -found.bound[j])
    decided = found.decided
    assert decided is not None

    def task(j: int) -> Task:
        floor = made.value[j] if effort.each else made.value.max()
        return task_of(problem, j, found.open[j], max(floor, least))

    for j, solved in answers(order, task, effort.until, effort.workers):
        made.programs += 1
        dual = max(decided[j] - problem.slack[j], solved.dual_bound)
        if dual < made.dual[j]:
            made.dual[j], made.slack[j] = dual, max(problem.slack[j], solved.slack)
        if solved.at is None:
            continue
        low, high = found.open[j]
        slopes = isinstance(problem, Slopes)
        near = _near(solved.at if slopes else low + (solved.at + 1) * (high - low) / 2)
        value = problem.value(near, np.full(len(near), j))
        if value.max() > made.value[j]:
            made.value[j], made.at[j] = value.max(), near[value.argmax()]


def task_of(problem: Splitting, j: int, box: tuple[ndarray, ndarray], least: float) -> Task:
    """A goal on the part that is open; its units are those that have a kink there."""
    f = problem.f
    if isinstance(problem, Slopes):
        none, offset = np.zeros(len(f.bias)), float(problem.offset[j])
        of = np.zeros(problem.m), none, problem.weight[j], offset
        return Task(f, *of, box, problem.margin, least)
    of_goal = replace(
        f,
        write=problem.weight[j][:, None],
        linear=problem.linear[j][None],
        offset=problem.offset[j][None],
    )
    low, high = box
    inner = of_goal.seen_from(np.diag((high - low) / 2), (low + high) / 2).simplified()
    ones, none = np.ones(problem.m), np.zeros(len(inner.bias))
    of = inner.linear[0], inner.write[:, 0], none, float(inner.offset[0])
    return Task(inner, *of, (-ones, ones), none, least)


def _near(at: Float[ndarray, "m"]) -> Float[ndarray, "B m"]:
    """A point and some beside it, on the other sides of jumps and ties that it lies on."""
    draw = np.random.default_rng(0).uniform(-1, 1, (4, 64, len(at)))
    moved = draw * np.array([1e-9, 1e-7, 1e-6, 1e-5])[:, None, None]
    return np.clip(np.concatenate([at[None], at + moved.reshape(-1, len(at))]), -1, 1)
