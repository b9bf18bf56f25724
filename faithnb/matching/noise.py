"""The error of the output at inputs with noise: a control that matches no derivative."""

from __future__ import annotations

from faithnb.matching.form import Batch, Matching, PerInstance
from faithnb.matching.workspace import Workspace, minus


class Noise(Matching):
    """‖f_T(x + σε) − f_M(x + σε)‖² / σ², ε ~ N(0, I). It adds a weight of 1/σ² to the
    reconstruction."""

    name = "noise"
    draws = ("noise",)
    kinks = ("zero",)

    def linear(self) -> bool:
        """It does."""
        return True

    def distance(self, batch: Batch) -> PerInstance:
        """The weighted mean of the squared error at the moved inputs."""
        moved = batch.moved(batch.noise)
        error = batch.transcoder(moved) - batch.target(moved)
        return (batch.weight * error.square().sum(-1)).sum(-1) / batch.scale.square()

    def gradient(self, work: Workspace) -> None:
        """From the outputs at x + σε."""
        h, residual = work.h, work.error
        x = work.move(work.see("x"), work.see("noise"))
        work.hidden(x, h)
        work.decode(x, h, residual)
        work.do(minus, residual, work.target, x[..., :-1])
        work.weigh(residual, 2 * work.mu / work.sigma.square(), matched=True)
        work.backward_from_output(x, h, residual)
