"""Whether a measure has earned its column: three lenses, and the thresholds it is judged by.

*Noise*: taken on other inputs, it gives the same. *Order*: it finds nothing wrong with the layer's
own mechanism, puts it before what is not it, and agrees with the mechanism error. *Training*: it
improves along the training of an honest recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm, spearmanr

from faithnb.benchmark.columns import COLUMNS, JUDGED, Column
from faithnb.benchmark.controls import BROKEN, IDEAL, PLANTED, controls
from faithnb.benchmark.recipes import RECIPES
from faithnb.benchmark.score import Place, scored
from faithnb.benchmark.task import Task
from faithnb.common.ambient import settled
from faithnb.model.transcoder import Transcoder
from faithnb.training.loop import Loop

MOST_NOISE = 0.1
"""Coefficient of variation over samples of inputs, at most."""

LEAST_CORRELATION = 0.5
"""Spearman's correlation with the mechanism error, over controls and trainings, at least."""

LEAST_TREND = 0.8
"""Spearman's correlation with the step, in the direction of better, in the mean over seeds."""

SEEDS, LOOKS, SAMPLES = (90, 91, 92, 93), (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0), 8
"""Seeds that are trained for it, shares of a training after which it is looked at, and samples of
inputs. Thresholds were chosen on seeds below 90."""

MOST_OFF = 0.01
"""How far the layer's own mechanism may be from the best value, 0 or 1, where its circuits give the
layer's outputs exactly. Those of the smooth ``|x|`` do not: no ReLU computes it."""

DECIDES = float(norm.ppf(0.975) + norm.ppf(0.8))
"""How many standard errors a difference needs to be found four times in five at the 5 % level."""

ROUNDED = 1e-6
"""Values below are 0 but for rounding, and so are differences."""


@dataclass(frozen=True)
class Verdict:
    """What the lenses say of a measure on a task."""

    noise: float
    """Coefficient of variation over samples of inputs; 0 where the inputs are always the same."""
    decidable: float
    """The smallest difference between two modules that are measured on different samples which is
    found four times in five."""
    order: bool
    """Whether the controls stand as they must."""
    correlation: float
    """With the mechanism error, in the direction of better."""
    trend: float
    """With the step of an honest training, in the direction of better."""
    reasons: tuple[str, ...]
    """Why it has not earned its column; empty if it has."""

    @property
    def earned(self) -> bool:
        """Whether something may be ranked by it."""
        return not self.reasons


@settled()
def audit(task: Task, seeds: Sequence[int] = SEEDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lenses on every column that something could be ranked by.

    Returns:
        a row a column, the fields of :class:`Verdict` and ``earned``; and a row a control, every
        column and its ``state``.

    Raises:
        Unknown: if the layer's circuits are not known.
    """
    task = task.upright
    place = Place.of(task)
    of_controls = _table(controls(task), task, place)
    honest, other = _recipes(task)
    along = {name: _along(name, task, place, seeds) for name in (honest, other)}
    noisy = _resampled([of for of, _ in (a[-1] for a in along.values())], task)
    trained = pd.concat([rows for a in along.values() for _, rows in a])
    every = pd.concat([of_controls, trained], ignore_index=True)
    at_end = [_trends(along[honest], COLUMNS[name]) for name in JUDGED]
    exact = of_controls.fvu[IDEAL] <= ROUNDED
    found = {}
    for name, trend in zip(JUDGED, at_end, strict=True):
        verdict = judged(COLUMNS[name], of_controls[name], noisy[name], every, trend, exact)
        found[name] = vars(verdict) | {"earned": verdict.earned}
    return pd.DataFrame(found).T, of_controls


def judged(
    column: Column,
    of: pd.Series,
    noisy: np.ndarray,
    every: pd.DataFrame,
    trend: float,
    exact: bool = True,
) -> Verdict:
    """A verdict.

    Args:
        column: what is judged.
        of: its values for the controls.
        noisy: its values over samples, ``[n_modules, n_samples]``.
        every: all columns of many modules.
        trend: its correlation with the step.
        exact: whether the layer's circuits give its outputs.
    """
    sign = -1.0 if column.best == "high" else 1.0
    spread = noisy.std(1, ddof=1)
    size = np.abs(noisy.mean(1))
    cv = float(np.max(np.where(spread > ROUNDED, spread / np.maximum(size, ROUNDED), 0.0)))
    decidable = float(DECIDES * 2**0.5 * spread.max())
    wrong = _out_of_order(column, sign * of.astype(float))
    if exact and abs(of[IDEAL] - (column.best == "high")) > MOST_OFF:
        wrong = f"the layer's own mechanism has {of[IDEAL]:.2g}"
    truth = "mechanism_error_at_p" if column.name.endswith("_p") or column.name in OF_P else (
        "mechanism_error"
    )  # fmt: skip
    correlation = _spearman(sign * every[column.name], every[truth])
    reasons = []
    if not np.isfinite(of[IDEAL]):
        return Verdict(np.nan, np.nan, False, np.nan, np.nan, ("it is not defined here",))
    if not cv <= MOST_NOISE:
        reasons.append(f"noise: it varies by {cv:.0%} from sample to sample")
    if wrong:
        reasons.append(f"order: {wrong}")
    if column.kind == "faithfulness" and not correlation >= LEAST_CORRELATION:
        reasons.append(f"order: its correlation with the mechanism error is {correlation:.2f}")
    if not trend >= LEAST_TREND:
        reasons.append(f"training: its correlation with the step is {trend:.2f}")
    return Verdict(cv, decidable, not wrong, correlation, trend, tuple(reasons))


OF_P = ("memorized", "memorization_share", "parts_error", "ray_error", "signs_error",
        "near_point_fvu")  # fmt: skip
"""Columns of a point that do not say so in their name."""


def _out_of_order(column: Column, of: pd.Series) -> str:
    """Which pair stands the wrong way round; lower is better here."""
    pairs = [(IDEAL, name) for name in BROKEN]
    if PLANTED in of.index:
        faithful = column.kind == "faithfulness"
        pairs += [(IDEAL, PLANTED)] if faithful else [(PLANTED, name) for name in BROKEN]
    for better, worse in pairs:
        if np.isfinite(of[worse]) and not of[better] < of[worse] - ROUNDED:
            return f"{worse} is as good as {better}"
    return ""


def _recipes(task: Task) -> tuple[str, str]:
    """The one that comes to the layer's mechanism, and the other: where the layer has a mechanism
    for the point, that is the one without matching."""
    names = ("relu-matched", "relu")
    return names[::-1] if task.has_mechanism else names  # type: ignore[return-value]


def _along(
    name: str, task: Task, place: Place, seeds: Sequence[int]
) -> list[tuple[Transcoder, pd.DataFrame]]:
    """A recipe's transcoders along its training, and their scores."""
    experiments = [RECIPES[name]().experiment(task, seed) for seed in seeds]
    steps = experiments[0].steps
    looks = {max(1, round(share * steps)) for share in LOOKS}
    loop, found = Loop(experiments, torch.device("cpu")), []
    for step in range(1, steps + 1):
        loop.draw()
        loop.update()
        if step in looks:
            now = loop.transcoder[:]
            rows = _table({seed: now[k] for k, seed in enumerate(seeds)}, task, place)
            found.append((now, rows.assign(step=step)))
    return found


def _table(modules: Any, task: Task, place: Place) -> pd.DataFrame:
    return pd.DataFrame({name: scored(m, task, place) for name, m in modules.items()}).T


def _resampled(ensembles: Sequence[Transcoder], task: Task) -> dict[str, np.ndarray]:
    """Scores of the first of each ensemble on other samples of inputs."""
    base = replace(task, setting=replace(task.setting, repeat_frac=0.0))
    n = len(task.held_out())
    places = [Place.of(task, base.sample(n, seed)) for seed in range(SAMPLES)]
    tables = [pd.DataFrame([scored(of[0], task, place) for place in places]) for of in ensembles]
    return {name: np.array([t[name].to_numpy(float) for t in tables]) for name in JUDGED}


def _trends(along: Sequence[tuple[Transcoder, pd.DataFrame]], column: Column) -> float:
    """Correlation with the step in the direction of better, in the mean over seeds."""
    values = np.array([rows[column.name].to_numpy(float) for _, rows in along])
    steps = np.arange(len(values))
    sign = 1.0 if column.best == "high" else -1.0
    return float(np.mean([_spearman(sign * of, steps) for of in values.T]))


def _spearman(a: Any, b: Any) -> float:
    """0 where one of them does not vary, NaN where too few are defined."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3:
        return float("nan")
    a, b = a[both], b[both]
    if np.ptp(a) <= ROUNDED or np.ptp(b) <= ROUNDED:
        return 0.0
    return float(spearmanr(a, b).statistic)
