"""Where training starts: at random, at the layer's own mechanism, or with p memorised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from faithnb.data.sampling import pad_points
from faithnb.experiment import Experiment
from faithnb.model.layers import Circuit, Layer
from faithnb.model.transcoder import ARCHITECTURES, Transcoder

SPARE = 0.1
"""Encoder weights of the features that a made start leaves over, relative to a random start's:
small enough not to disturb it, not 0, so that they can grow."""


def start(experiments: Sequence[Experiment], target: Layer) -> Transcoder:
    """The transcoders before their first step, one an experiment; they may differ in ``init``."""
    template = experiments[0]
    seeds = [e.seed for e in experiments]
    of = ARCHITECTURES[template.architecture]
    random = of.random(
        seeds,
        template.d_in,
        template.d_sae,
        target.d_out,
        template.torch_dtype,
        template.skip,
        **settings(template),
    )
    for i, experiment in enumerate(experiments):
        if experiment.init == "random":
            continue
        circuits = target.circuits()
        if experiment.init == "memorising":
            (p,) = pad_points(experiment.points, experiment.d_in)
            circuits = memorising_circuits(target, p)
        made, n = Transcoder.from_circuits(circuits), len(circuits)
        random.W_enc[i] *= SPARE
        random.W_enc[i, :, :n] = made.W_enc[0]
        random.b_enc[i, :n] = made.b_enc[0]
        random.W_dec[i, :n] = made.W_dec[0]
    return random


def settings(template: Experiment) -> dict[str, Any]:
    """What an experiment says of its architecture's numbers."""
    return {name: getattr(template, name) for name in ARCHITECTURES[template.architecture].settings}


def memorising_circuits(target: Layer, p: Float[Tensor, "d_in"]) -> list[Circuit]:
    """The circuits of ``|x|`` with a feature for p, and those of p's coordinates off at p.

    With k coordinates of p that are not 0, the feature for p is ``|p| · ReLU(p·x − (1 − 1/k)‖p‖²)``
    times k / ‖p‖², which is 1 at p and silent where one of k equal coordinates is missing. That of
    coordinate j reads ``sign(p_j) (x_j − Σ_l p_j x_l / (k p_l)) − |p_j| / k``, l over the others,
    which is 0 at p.
    """
    support = p.nonzero()[:, 0]
    k, size = len(support), p @ p
    made = []
    for circuit in target.circuits():
        (j,) = circuit.read.nonzero()[:, 0]
        if circuit.read[j] * p[j] > 0:
            others = support[support != j]
            read = circuit.read.clone()
            read[others] = -circuit.read[j] * p[j] / (k * p[others])
            circuit = replace(circuit, read=read, threshold=(p[j].abs() / k).item())
        made.append(circuit)
    of_p = Circuit("p", k * p / size, target(p), k - 1.0)
    return [*made, of_p]
