"""Rows that everybody can judge: the layer's own mechanism, and four that are not it."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.benchmark.task import Task
from faithnb.common.ambient import settled
from faithnb.data.sampling import pad_points
from faithnb.model.layer import Circuit, Layer
from faithnb.model.transcoder import Transcoder

IDEAL, PLANTED, SHUFFLED, UNTRAINED, LINEAR = (
    "ideal", "planted", "shuffled decoder", "untrained", "linear",
)  # fmt: skip
BROKEN = (SHUFFLED, UNTRAINED, LINEAR)
"""Those whose outputs are wrong on the data as well."""

SILENT = 2 / 3
"""What share of p a planted feature needs to see before it acts."""


@settled()
def controls(task: Task, seed: int = 0) -> dict[str, Transcoder]:
    """The rows, in the basis of :attr:`faithnb.benchmark.Task.upright`.

    Args:
        task: whose layer says its circuits.
        seed: of what is random.

    Raises:
        Unknown: if it does not.
    """
    task = task.upright
    layer, e = task.layer, task.setting
    circuits = layer.circuits()
    ideal = Transcoder.from_circuits(circuits)
    found = {IDEAL: ideal}
    if e.points:
        points = pad_points(e.points, e.d_in)
        found[PLANTED] = Transcoder.from_circuits(memorising(layer, points))
    drawn = torch.Generator().manual_seed(seed)
    order = torch.randperm(ideal.d_sae, generator=drawn)
    weights = ideal.weights()
    found[SHUFFLED] = ideal.with_weights(weights | {"W_dec": weights["W_dec"][:, order]})
    found[UNTRAINED] = Transcoder.random([seed], e.d_in, e.d_sae, task.d_out)
    found[LINEAR] = _linear(task, seed)
    return found


def memorising(layer: Layer, points: Float[Tensor, "n_points d_in"]) -> list[Circuit]:
    """The layer's circuits with one more for each point, which writes what the layer gives there.

    A circuit that acts at a point reads besides, with a negative weight, what of the point it did
    not read, so that it is at 0 there. One that reads along the point stays as it is; the
    new one writes only what is then missing.
    """
    made = layer.circuits()
    for p in points:
        made = [_off_at(circuit, p) for circuit in made]
        missing = layer(p) - sum(c.contribution(p) for c in made)
        if missing.norm() > 1e-6:
            read = p / (p @ p) / (1 - SILENT)
            made.append(Circuit("p", read, missing, SILENT / (1 - SILENT)))
    return made


def _off_at(circuit: Circuit, p: Float[Tensor, "d_in"]) -> Circuit:
    acts = circuit.read @ p - circuit.threshold
    rest = p - (circuit.read @ p) / (circuit.read @ circuit.read) * circuit.read
    if acts <= 0 or rest.norm() < 1e-6 * p.norm():
        return circuit
    return replace(circuit, read=circuit.read - acts * rest / (rest @ rest))


def _linear(task: Task, seed: int) -> Transcoder:
    """The linear map with the least squared error on what a recipe sees."""
    x = task.sample(8192, seed).double()
    y = task.layer(x)
    with_one = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
    found = torch.linalg.lstsq(with_one, y, driver="gelsd").solution
    zeros = torch.zeros(task.d_in, 1, dtype=found.dtype)
    return Transcoder.from_arrays(
        zeros, zeros[0], torch.zeros(1, task.d_out), found[-1], found[:-1]
    )
