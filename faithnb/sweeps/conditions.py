"""The conditions of comparisons between forms of Jacobian matching, as the chapters make them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import xarray as xr

from faithnb.experiment import Experiment
from faithnb.matching import variants
from faithnb.sweeps.sweep import sweep


def matched(base: Experiment, form: str, weight: float, **changes: Any) -> Experiment:
    """The same with a form of matching.

    Args:
        base: without or with another.
        form: a name in :func:`~faithnb.matching.variants`.
        weight: μ.
        **changes: of other fields; they win over what the form sets.

    Raises:
        ParameterError: if these make no sense together.
    """
    of_form = {"jacobian_coefficient": weight} | variants()[form]
    return replace(base, **(of_form | changes))


def fair_noise(base: Experiment, weight: float, scale: float) -> Experiment:
    """The error at inputs moved by ``scale`` · N(0, I), with the ratio of the penalty to all of the
    reconstruction's weight, 1 + μ/σ², as without."""
    heavier = (1 + weight / scale**2) * base.sparsity_coefficient
    return matched(base, "noise", weight, perturbation_scale=scale, sparsity_coefficient=heavier)


def ladder(
    base: Experiment, forms: Iterable[str], weights: Sequence[float], seeds: Iterable[int],
    sweeping: Mapping[str, Any],
) -> dict[str, xr.Dataset]:  # fmt: skip
    """Each form over its weight, from no matching on: metrics over (jacobian_coefficient, seed).

    Args:
        base: without matching.
        forms: names as in :func:`matched`.
        weights: μ, without 0.
        seeds: of every cell.
        sweeping: how to sweep, as :attr:`faithnb.notebook.Run.sweeping` says.
    """
    seeds = list(seeds)
    none = sweep(base, **sweeping, seed=seeds).expand_dims(jacobian_coefficient=[0.0])
    found = {}
    for form in forms:
        of_form = replace(base, **variants()[form])
        some = sweep(of_form, **sweeping, seed=seeds, jacobian_coefficient=list(weights))
        found[form] = xr.concat([none, some], dim="jacobian_coefficient", join="outer")
    return found
