"""What a form of Jacobian matching is: a subclass of :class:`Matching` in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registered, Registry
from faithnb.matching.workspace import Workspace
from faithnb.model.layer import LAYERS, Kink, Layer
from faithnb.model.transcoder import Transcoder

Estimator = Literal["sampled", "exact"]
"""One random direction a row and step, or the Frobenius norm in closed form."""

PerInstance = Float[Tensor, "n_inst"]

MATCHING: Registry[type[Matching]] = Registry("matching")
"""Every form that ``Experiment.jacobian_matching`` may name."""


@dataclass(frozen=True)
class Batch:
    """What a form of matching is shown of a batch, for the instances of an ensemble."""

    transcoder: Transcoder
    target: Layer
    x: Float[Tensor, "*inst rows d_in"]
    z: Float[Tensor, "n_inst rows d_sae"]
    """What the encoder reads at x."""
    slopes: Float[Tensor, "n_inst rows d_sae"]
    """∂h/∂z at x, as constants."""
    y: Float[Tensor, "*inst rows d_out"]
    y_hat: Float[Tensor, "n_inst rows d_out"]
    weight: Float[Tensor, "n_inst rows"]
    """ω, 0 where the Jacobian is not matched."""
    scale: Float[Tensor, "n_inst"]
    """``Experiment.perturbation_scale``."""
    v: Float[Tensor, "*inst rows d_in"] | None = None
    """Probes, for forms that draw them."""
    noise: Float[Tensor, "*inst rows d_in"] | None = None
    """ε ~ N(0, I), for forms that draw it."""

    def moved(self, by: Tensor | None) -> Tensor:
        """x + σ by."""
        assert by is not None
        return self.x + self.scale[:, None, None] * by


@dataclass(frozen=True)
class Matching(Registered):
    """A form of Jacobian matching.

    A subclass with a ``name`` can be asked for by an experiment. It says its :meth:`distance`,
    which autograd follows; a hand-written :meth:`gradient` for ReLU transcoders is optional, and
    faster.
    """

    estimator: Estimator = "sampled"
    kink: Kink = "zero"

    registry = MATCHING

    draws: ClassVar[tuple[str, ...]] = ("v",)
    """Its random numbers for each row, ``"v"``, a probe, and ``"noise"``, ε ~ N(0, I)."""

    estimators: ClassVar[tuple[Estimator, ...]] = ("sampled",)
    """Those it has."""

    kinks: ClassVar[tuple[Kink, ...]] = ("zero", "one")
    """The conventions that it can follow."""

    on_gates: ClassVar[bool] = False
    """Whether it softens the gates of ReLUs, and so needs them."""

    in_page: ClassVar[bool] = False
    """Whether pages can train it, in JavaScript."""

    @classmethod
    def variants(cls) -> Mapping[str, Mapping[str, Any]]:
        """The form as comparisons show it, under one name or several: what to change in an
        experiment besides."""
        return {cls.name: {}}

    @property
    def needs(self) -> tuple[str, ...]:
        """What is drawn for it."""
        return tuple(name for name in self.draws if name != "v" or self.estimator == "sampled")

    def refusals(self, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        form = f"jacobian_matching = {self.name!r}"
        if self.on_gates and experiment.architecture != "relu":
            yield (
                f"{form} is not allowed with architecture = {experiment.architecture!r}: it "
                "softens the gates of a ReLU."
            )
        layer = LAYERS[experiment.target]
        in_closed_form = self.estimator == "exact" or self.kink == "masked"
        if in_closed_form and self.estimator in self.estimators and not layer.has_units():
            yield (
                f"target = {experiment.target!r} is not allowed with jacobian_estimator = "
                f"{self.estimator!r} and kink = {self.kink!r}: it does not say its units, use "
                "'sampled' and 'zero'."
            )
        if self.estimator not in self.estimators:
            yield (
                f"jacobian_estimator = {self.estimator!r} is not allowed with {form}: it has no "
                "closed form, use 'sampled'."
            )
        if self.kink not in self.kinks:
            only = " or ".join(map(repr, self.kinks))
            why = "it reads no derivative of the target, " if len(self.kinks) == 1 else ""
            verb = "leave it at" if why else "use"
            yield f"kink = {self.kink!r} is not allowed with {form}: {why}{verb} {only}."

    def distance(self, batch: Batch) -> PerInstance:
        """What is added to the loss, for each instance: a weighted mean over the rows."""
        raise NotImplementedError

    def linear(self) -> bool:
        """Whether its hand-written gradient holds for transcoders with a linear part too."""
        return False

    def before(self, work: Workspace) -> Tensor | None:
        """Called where ``work.error`` is ŷ − y: what is to be taken off the gradient of the output,
        ``[n_inst, rows, d_out]``, where the distance depends on it."""
        return None

    def gradient(self, work: Workspace) -> None:
        """Write the calls that add the gradient of μ times the distance, at the end of a step,
        where ``work.h`` is the hidden layer at x."""
        raise NotImplementedError


def refusals_without(experiment: Any) -> Iterator[str]:
    """A sentence for each choice of an experiment that makes no sense without matching."""
    if experiment.jacobian_coefficient > 0:
        yield (
            f"jacobian_coefficient = {experiment.jacobian_coefficient:g} is not allowed with "
            f"jacobian_matching = 'none': use one of {', '.join(map(repr, MATCHING))}, or 0."
        )
    if experiment.jacobian_start > 0:
        yield (
            f"jacobian_start = {experiment.jacobian_start:g} is not allowed with "
            "jacobian_matching = 'none': nothing would set in."
        )


def variants() -> dict[str, dict[str, Any]]:
    """The forms as the book compares them, by name: what to change in an experiment for each."""
    return {
        name: {"jacobian_matching": form, **changes}
        for form, of in MATCHING.items()
        for name, changes in of.variants().items()
    }
