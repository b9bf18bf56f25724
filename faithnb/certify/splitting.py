"""The largest output on a box by splitting it: bounds by lines, in closed form."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from faithnb.certify.piecewise import Piecewise

ROUNDING = 1e-14
"""Of a bound's evaluation in float64, as a share of what it adds up and for each summand."""

ELSEWHERE = 0.1
"""How much a kink counts for where to cut if nothing is lost there."""

AT_ONCE = 4096
"""Boxes that are bounded together."""


@dataclass
class Found:
    """What is known of the largest of several goals on ``[−1, 1]^m``."""

    value: Float[ndarray, "n_goals"]
    """The largest found of each."""

    at: Float[ndarray, "n_goals m"]
    """Where it was found."""

    bound: Float[ndarray, "n_goals"]
    """What none exceeds."""

    open: dict[int, tuple[ndarray, ndarray]] = field(default_factory=dict)
    """By goal, the smallest box around the parts that are not decided."""

    decided: Float[ndarray, "n_goals"] | None = None
    """What none exceeds outside of that box."""

    boxes: int = 0
    """How many were bounded."""

    by_clock: bool = False
    """Whether there was no time for more; otherwise the same is found again."""


@dataclass
class Boxes:
    """Boxes to be bounded, each for one goal, with what is known of it already."""

    low: Float[ndarray, "B m"]
    high: Float[ndarray, "B m"]
    goal: Int[ndarray, "B"]
    bound: Float[ndarray, "B"]

    def __getitem__(self, some: ndarray) -> Boxes:
        return Boxes(self.low[some], self.high[some], self.goal[some], self.bound[some])

    def and_(self, other: Boxes) -> Boxes:
        """All of them."""
        mine, others = vars(self).values(), vars(other).values()
        return Boxes(*(np.concatenate(pair) for pair in zip(mine, others, strict=True)))

    def halves(self, along: Int[ndarray, "B"]) -> Boxes:
        """Each cut in the middle of a coordinate."""
        rows = np.arange(len(along))
        cut = (self.low + self.high)[rows, along] / 2
        low, high = self.low.copy(), self.high.copy()
        low[rows, along] = high[rows, along] = cut
        upper = Boxes(low, self.high, self.goal, self.bound)
        return Boxes(self.low, high, self.goal, self.bound).and_(upper)


class Splitting:
    """Branch and bound over boxes of inputs, all goals together. A goal is a sum of outputs.

    In a box, a unit that adds to a goal is at most the line over its kink, and one that subtracts
    at least a line below it. The sum of the lines has its largest value in a corner, in closed
    form; there the goal is evaluated too. So a bound needs no solver and has no tolerance, but for
    the rounding of float64, which is added.

    Args:
        function: on ``[−1, 1]^m``.
        goals: ``[n_goals, d_out]``, what each output counts in each.
    """

    def __init__(self, function: Piecewise, goals: Float[ndarray, "n_goals d_out"]):
        self.f, self.goals = function, goals
        self.n_goals, self.m = len(goals), function.read.shape[1]
        self.weight = goals @ function.write.T
        self.linear, self.offset = goals @ function.linear, goals @ function.offset
        none = np.zeros(goals.shape[1])
        self.apart = np.abs(goals) @ (none if function.apart is None else function.apart)
        size = function.simplified().size if function.size is None else function.size
        self.slack = ROUNDING * (len(function.bias) + self.m + 8) * (np.abs(goals) @ size)

    def values(self, x: Float[ndarray, "B m"]) -> Float[ndarray, "B n_goals"]:
        """All goals at some points."""
        return self.f(x) @ self.goals.T

    def value(self, x: Float[ndarray, "B m"], goal: Int[ndarray, "B"]) -> Float[ndarray, "B"]:
        """One goal a point."""
        return (self.f(x) * self.goals[goal]).sum(1)

    def at_the_point(self) -> Float[ndarray, "n_goals"]:
        """All goals where no coordinate varies. Which of several units with the same z is ranked
        before the others is nobody's choice, so each goal is the largest over all their orders."""
        f = self.f
        z = f.bias * (f.bias > f.threshold)
        each, n = self.weight * z, f.n_ranked
        if n <= f.k:
            return each.sum(1) + self.offset
        last = np.sort(z[:n])[-f.k]
        apart = ROUNDING * np.abs(z[:n]).max()
        sure, tied = z[:n] > last + apart, np.abs(z[:n] - last) <= apart
        places = f.k - sure.sum()
        best = -np.sort(-each[:, :n][:, tied], axis=1)[:, :places]
        return each[:, :n][:, sure].sum(1) + best.sum(1) + each[:, n:].sum(1) + self.offset

    def run(
        self,
        start: Float[ndarray, "n m"],
        tolerance: float,
        until: float,
        most: int,
        together: bool = True,
        least: float = -np.inf,
        enough: float = np.inf,
    ) -> Found:
        """Split until every bound is within the tolerance of what was found.

        Args:
            start: points to begin with.
            tolerance: how far bounds may exceed what was found.
            until: when to stop, in seconds of ``time.perf_counter``.
            most: boxes to bound, at most.
            together: whether only the largest of all goals is asked for.
            least: what is not larger is of no interest.
            enough: stop once something larger was found.
        """
        values = self.values(start)
        best = values.argmax(0)
        nothing = np.full(self.n_goals, -np.inf)
        found = Found(values.max(0), start[best], nothing)
        ones = np.ones((self.n_goals, self.m))
        left = Boxes(-ones, ones, np.arange(self.n_goals), np.full(self.n_goals, np.inf))

        def undecided(boxes: Boxes) -> Boxes:
            floor = found.value.max() if together else found.value[boxes.goal]
            alive = boxes.bound > np.maximum(floor + tolerance, least)
            np.maximum.at(found.bound, boxes.goal[~alive], boxes.bound[~alive])
            return boxes[alive]

        while len(left.goal) and found.boxes < most and found.value.max() <= enough:
            if found.boxes and time.perf_counter() > until:
                found.by_clock = True
                break
            order = np.argsort(-left.bound)  # the largest first, so that what is found rises early
            now, left = left[order[:AT_ONCE]], left[order[AT_ONCE:]]
            found.boxes += len(now.goal)
            now.bound, score, points = self.bounded(now)
            for x in points:
                self._raise(found, x, now.goal)
            along = score.argmax(1)
            alive = now.bound > -np.inf
            left = undecided(left.and_(now[alive].halves(along[alive])))
        found.decided = found.bound + self.slack
        for j in np.unique(left.goal):
            mine = left.goal == j
            found.open[int(j)] = left.low[mine].min(0), left.high[mine].max(0)
        np.maximum.at(found.bound, left.goal, left.bound)
        found.bound = np.maximum(found.bound + self.slack, found.value)
        return found

    def bounded(self, boxes: Boxes) -> tuple[ndarray, ndarray, list[ndarray]]:
        """A bound of each box, how much is gained by cutting each coordinate, ``[B, m]``, and
        points to try."""
        centre, radius = (boxes.low + boxes.high) / 2, (boxes.high - boxes.low) / 2
        middle, reach = self.f.pre(centre), radius @ np.abs(self.f.read).T
        weight = self.weight[boxes.goal]
        slope, shift, bent = lines(middle - reach, middle + reach, self.f, weight > 0)
        gradient = (weight * slope) @ self.f.read + self.linear[boxes.goal]
        bound = (weight * (slope * middle + shift)).sum(1) + self.offset[boxes.goal]
        bound += (self.linear[boxes.goal] * centre).sum(1) + (np.abs(gradient) * radius).sum(1)
        corner = centre + np.sign(gradient) * radius
        z = self.f.pre(corner)
        # cut where lines lose most at the corner that attains the bound, and a little elsewhere
        lost = np.maximum(weight * (slope * z + shift - z * (z > self.f.threshold)), 0)
        steep = (lost / np.maximum(reach, 1e-300) + ELSEWHERE * np.abs(weight)) * bent
        score = (steep @ np.abs(self.f.read)) * radius + 1e-12 * radius
        points = [corner]
        if self.f.n_ranked or self.f.threshold.any():  # a corner may lie beyond the jump
            points += [centre, centre - np.sign(gradient) * radius]
        return bound, score, points

    def _raise(self, found: Found, x: ndarray, goal: ndarray) -> None:
        value = self.value(x, goal)
        order = np.argsort(value)
        best = np.full(self.n_goals, -1)
        best[goal[order]] = order
        for j in np.flatnonzero(best >= 0):
            if value[best[j]] > found.value[j]:
                found.value[j], found.at[j] = value[best[j]], x[best[j]]


class Slopes(Splitting):
    """The same for sums of entries of the Jacobian, where no kink is near.

    In a box, a unit that is on in a part of it counts if that adds to the goal. Where k kinks of m
    directions cross, with k ≤ m, each of their sides meets each other, so that such a bound is
    attained; elsewhere it may not be, and stays open.

    Args:
        function: on ``[−1, 1]^m``.
        per_unit: ``[n_goals, n]``, what each unit counts where it is on.
        offset: ``[n_goals]``.
        margin: how near a kink or jump may be, where two corners of the box are 2 apart in each
            coordinate. Points that are nearer to one are not asked about.
    """

    def __init__(self, function: Piecewise, per_unit: ndarray, offset: ndarray, margin: float):
        self.f, self.weight, self.offset = function, per_unit, offset
        self.n_goals, self.m = len(offset), function.read.shape[1]
        self.margin = margins(function, margin)
        sizes = np.abs(per_unit).sum(1) + np.abs(offset)
        self.slack = ROUNDING * (len(function.bias) + self.m) * sizes

    def _far(self, x: ndarray) -> Bool[ndarray, "B"]:
        z, n = self.f.pre(x), self.f.n_ranked
        far = (np.abs(z - self.f.threshold) >= self.margin)[:, n:].all(1)
        if n:
            gap, k = self.margin[0], self.f.k
            ranked = -np.sort(-z[:, :n], axis=1)
            by_sign = (np.abs(ranked) >= gap).all(1) & ((ranked > 0).sum(1) <= k)
            last, next_ = ranked[:, k - 1], ranked[:, min(k, n - 1)]
            far &= by_sign | ((last >= gap) & (last - next_ >= 2 * gap))
        return far

    def values(self, x: ndarray) -> ndarray:
        found = self.f.on(x) @ self.weight.T + self.offset
        return np.where(self._far(x)[:, None], found, -np.inf)

    def value(self, x: ndarray, goal: ndarray) -> ndarray:
        found = (self.f.on(x) * self.weight[goal]).sum(1) + self.offset[goal]
        return np.where(self._far(x), found, -np.inf)

    def bounded(self, boxes: Boxes) -> tuple[ndarray, ndarray, list[ndarray]]:
        centre, radius = (boxes.low + boxes.high) / 2, (boxes.high - boxes.low) / 2
        z, reach = self.f.pre(centre) - self.f.threshold, radius @ np.abs(self.f.read).T
        can_on, can_off = z + reach >= self.margin, z - reach <= -self.margin
        n = self.f.n_ranked
        if n:
            kept, out = ranks((z - reach)[:, :n], (z + reach)[:, :n], self.f.k)
            can_off[:, :n] |= ~kept
            can_on[:, :n] &= ~out
        weight = self.weight[boxes.goal]
        both = can_on & can_off
        counts = np.where(both, np.maximum(weight, 0), np.where(can_on, weight, 0.0))
        bound = counts.sum(1) + self.offset[boxes.goal]
        bound[~(can_on | can_off).all(1)] = -np.inf
        score = ((np.abs(weight) * both) @ np.abs(self.f.read)) * radius + 1e-12 * radius
        draw = np.random.default_rng(len(centre)).uniform(-1, 1, (4, *centre.shape))
        return bound, score, [centre, *(centre + draw * radius)]


def margins(f: Piecewise, margin: float) -> Float[ndarray, "n"]:
    """How far z must be from the threshold of each unit; the same for all that are ranked."""
    found = margin * np.abs(f.read).sum(1)
    found[: f.n_ranked] = found[: f.n_ranked].max(initial=0)
    return found


def lines(
    low: Float[ndarray, "B n"], high: Float[ndarray, "B n"], f: Piecewise, above: ndarray
) -> tuple[Float[ndarray, "B n"], Float[ndarray, "B n"], Bool[ndarray, "B n"]]:
    """Slope and intercept of a line above each unit where that is asked for, else below it, for z
    from ``low`` to ``high``, and whether the unit is no line itself. A jump has both its values."""
    jumps = f.threshold > 0
    off, on = high <= f.threshold, np.where(jumps, low > f.threshold, low >= 0)
    if n := f.n_ranked:
        kept, out = ranks(low[:, :n], high[:, :n], f.k)
        off[:, :n] |= out
        on[:, :n] &= kept
    chord = np.where(low >= 0, 1.0, high / np.maximum(high - low, 1e-300))
    below = np.where(jumps | (high <= -low), 0.0, 1.0)
    if n:
        below[:, :n] = 0.0
    slope = np.where(above, chord, below)
    shift = np.where(above & (low < 0), -chord * low, 0.0)
    bent = ~(off | on)
    return np.where(bent, slope, on), np.where(bent, shift, 0.0), bent


def ranks(
    low: Float[ndarray, "B n"], high: Float[ndarray, "B n"], k: int
) -> tuple[Bool[ndarray, "B n"], Bool[ndarray, "B n"]]:
    """Which are surely among the k largest, and which surely are not."""
    n = low.shape[1]
    if n <= k:
        return np.ones_like(low, dtype=bool), np.zeros_like(low, dtype=bool)
    highest, lowest = -np.sort(-high, axis=1), -np.sort(-low, axis=1)
    return low > highest[:, k : k + 1], high < lowest[:, k - 1 : k]
