"""The transcoders of an ensemble before their first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faithnb.data.sampling import pad_points
from faithnb.experiment import Experiment
from faithnb.model.inits import INITS
from faithnb.model.layer import Layer
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
    random.begin(template)
    for i, experiment in enumerate(experiments):
        if experiment.init == "random":
            continue
        points = pad_points(experiment.points, experiment.d_in)
        circuits = INITS[experiment.init].circuits(target, points)
        made, n = Transcoder.from_circuits(circuits), len(circuits)
        random.W_enc[i] *= SPARE
        random.W_enc[i, :, :n] = made.W_enc[0]
        random.b_enc[i, :n] = made.b_enc[0]
        random.W_dec[i, :n] = made.W_dec[0]
    return random


def settings(template: Experiment) -> dict[str, Any]:
    """What an experiment says of its architecture's numbers; whole ones as such."""
    said = {name: getattr(template, name) for name in ARCHITECTURES[template.architecture].settings}
    return {name: int(value) if value == int(value) else value for name, value in said.items()}
