"""Where training can begin other than at random: at circuits laid out by hand, one class each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registered, Registry
from faithnb.model.layer import Circuit, Layer

INITS: Registry[type[Init]] = Registry("initialisation")
"""Every initialisation that ``Experiment.init`` may name, besides ``"random"``."""


class Init(Registered):
    """An initialisation at circuits. A subclass with a ``name`` can be an experiment's."""

    registry = INITS

    @staticmethod
    def circuits(layer: Layer, points: Float[Tensor, "n_points d_in"]) -> list[Circuit]:
        """The circuits that the first features are; the others begin small and at random."""
        raise NotImplementedError

    @classmethod
    def n_circuits(cls, experiment: Any) -> int:
        """How many features it lays out."""
        return 2 * experiment.d_in

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        e, needed = experiment, cls.n_circuits(experiment)
        if e.target != "abs":
            yield (
                f"init = {e.init!r} is not allowed with target = {e.target!r}: only the circuits "
                "of 'abs' are laid out by hand, use 'random'."
            )
        if e.d_sae < needed:
            yield (
                f"init = {e.init!r} is not allowed with d_sae = {e.d_sae} and d_in = {e.d_in}: it "
                f"needs {needed} features."
            )


class Generalising(Init):
    """The layer's own mechanism."""

    name = "generalising"

    @staticmethod
    def circuits(layer: Layer, points: Float[Tensor, "n_points d_in"]) -> list[Circuit]:
        """The layer's."""
        return layer.circuits()


class Memorising(Init):
    """The layer's mechanism with a feature for p, and those of p's coordinates off at p."""

    name = "memorising"

    @staticmethod
    def circuits(layer: Layer, points: Float[Tensor, "1 d_in"]) -> list[Circuit]:
        """Those of :func:`memorising_circuits` for the one point."""
        return memorising_circuits(layer, points[0])

    @classmethod
    def n_circuits(cls, experiment: Any) -> int:
        """One more, for p."""
        return super().n_circuits(experiment) + 1

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """It is made for one point of several coordinates."""
        yield from super().refusals(experiment)
        points = experiment.points
        if len(points) != 1 or sum(c != 0 for c in points[0]) < 2:
            yield (
                f"init = 'memorising' is not allowed with points = {points}: it needs exactly one, "
                "with at least two coordinates that are not 0."
            )


def memorising_circuits(layer: Layer, p: Float[Tensor, "d_in"]) -> list[Circuit]:
    """The circuits of ``|x|`` with a feature for p, and those of p's coordinates off at p.

    With k coordinates of p that are not 0, the feature for p is ``|p| · ReLU(p·x − (1 − 1/k)‖p‖²)``
    times k / ‖p‖², which is 1 at p and silent where one of k equal coordinates is missing. That of
    coordinate j reads ``sign(p_j) (x_j − Σ_l p_j x_l / (k p_l)) − |p_j| / k``, l over the others,
    which is 0 at p.
    """
    support = p.nonzero()[:, 0]
    k, size = len(support), p @ p
    made = []
    for circuit in layer.circuits():
        (j,) = circuit.read.nonzero()[:, 0]
        if circuit.read[j] * p[j] > 0:
            others = support[support != j]
            read = circuit.read.clone()
            read[others] = -circuit.read[j] * p[j] / (k * p[others])
            circuit = replace(circuit, read=read, threshold=(p[j].abs() / k).item())
        made.append(circuit)
    of_p = Circuit("p", k * p / size, layer(p), k - 1.0)
    return [*made, of_p]
