"""The matrix products that a step cannot do without, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import torch

from faithnb.experiment import Experiment
from faithnb.matching.workspace import Buffers
from faithnb.training.loop import Loop


def of_a_step(form: Experiment) -> list[str]:
    """Which products: forward and backward once, and what the matching term adds."""
    once = ["encode", "decode", "back", "to decoder", "to encoder"]
    if form.jacobian_matching == "none":
        return once
    again = ["encode"] if form.jacobian_matching == "smoothed" else []
    if form.jacobian_estimator == "exact":
        small = ["encoder pairs", "decoder pairs", "pairs to decoder", "pairs to encoder"]
        return [*once, *again, "gate pairs", *small, "to decoder"]
    return [*once, *again, *once]


def alone(loop: Loop) -> Callable[[], None]:
    """A function that does the products of one step of ``loop``, chunk by chunk.

    Shapes and strides are those of the step, and the chunks share their buffers as there.
    """
    form, buffers = loop.template, Buffers()
    loop.draw()
    rows, d_sae, d_out = loop.batches.weight.shape[1], form.d_sae, loop.target.d_out
    calls = []
    for chunk in loop.chunks:
        E, D = (w[chunk] for w in loop.weights)
        n = len(E)
        streams = loop.batches.seen_by(chunk)
        x = loop.batches.now["x"][streams].expand(n, -1, -1)
        h, back = (buffers.like(name, E, n, rows, d_sae) for name in ("h", "back"))
        y = buffers.like("y", E, n, rows, d_out)
        to_E, to_D = (buffers.like(f"to {w}", weights) for w, weights in (("E", E), ("D", D)))
        pairs = buffers.like("pairs", E, n, d_sae, d_sae)
        W, to_W = E[:, :-1], buffers.like("to W", E, n, form.d_in, d_sae)
        operands = {
            "encode": (x, E, h),
            "decode": (h, D, y),
            "back": (y, D.mT, back),
            "to decoder": (h.mT, y, to_D),
            "to encoder": (x.mT, back, to_E),
            "gate pairs": (h.mT, h, pairs),
            "encoder pairs": (W.mT, W, pairs),
            "decoder pairs": (D, D.mT, pairs),
            "pairs to decoder": (pairs, D, to_D),
            "pairs to encoder": (W, pairs, to_W),
        }
        calls += [operands[name] for name in of_a_step(form)]
    for array in buffers.values():
        array.uniform_()

    @torch.no_grad()
    def run() -> None:
        for a, b, out in calls:
            torch.bmm(a, b, out=out)

    return run
