"""What training tells an architecture, and the fields of an experiment that architectures read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

FIELDS = ("k", "threshold_init", "bandwidth", "gate_gradient", "rank")
"""Fields of :class:`faithnb.Experiment` that are about an architecture, and that only some read."""


@dataclass
class Fitting:
    """What an ensemble in training knows of it."""

    experiment: Any
    """The template, which says what gradients its gates have."""

    weight: Float[Tensor, "n_inst rows"]
    """ω, the weights of the rows of a batch; each instance's sum to 1."""

    quiet: Float[Tensor, "n_inst d_sae"] | None = None
    """For how many steps a feature has not been on."""

    lightest: float = 0.0
    """The smallest weight of a row that counts."""

    least: Float[Tensor, "n_inst"] | None = None
    """The least activation that was kept at the inputs of the present batch."""


def refusals_of_fields(architecture: str, read: Collection[str], experiment: Any) -> Iterator[str]:
    """A sentence for each of :data:`FIELDS` that is set where nothing reads it."""
    for name in FIELDS:
        value, default = getattr(experiment, name), getattr(type(experiment), name)
        if name not in read and value != default:
            yield (
                f"{name} = {value!r} is not allowed with architecture = {architecture!r}, which "
                f"has none: leave it at {default!r}."
            )
