"""Differences of outputs over a step, in place of derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from faithnb.matching.form import Batch, Matching, PerInstance
from faithnb.matching.workspace import Workspace, minus


class Finite(Matching):
    """‖[f_T(x + σv) − f_T(x)] − [f_M(x + σv) − f_M(x)]‖² / σ².

    Its gradient is that of a loss, biases included; plain and smoothed matching hold the slopes
    fixed.
    """

    name = "finite"
    kinks = ("zero",)
    in_page = True

    def linear(self) -> bool:
        """It does."""
        return True

    def distance(self, batch: Batch) -> PerInstance:
        """The weighted mean of the squared difference of differences."""
        moved = batch.moved(batch.v)
        step_T = batch.transcoder(moved) - batch.y_hat
        residual = step_T - (batch.target(moved) - batch.y)
        return (batch.weight * residual.square().sum(-1)).sum(-1) / batch.scale.square()

    def before(self, work: Workspace) -> Tensor:
        """The residual: it depends on ŷ(x) as on ŷ(x + σv), with the other sign."""
        x, h, residual = self._end(work)
        work.do(torch.addcmul, work.see("x"), work.see("v"), work.sigma, out=x)
        work.hidden(x, h)
        work.decode(x, h, residual)
        work.do(minus, residual, work.target, x[..., :-1])
        work.do(residual.sub_, work.error)
        work.weigh(residual, 2 * work.mu / work.sigma.square(), matched=True)
        return residual

    def gradient(self, work: Workspace) -> None:
        """From the outputs at x + σv."""
        work.backward_from_output(*self._end(work))

    @staticmethod
    def _end(work: Workspace) -> tuple[Tensor, Tensor, Tensor]:
        """The second end of each difference: its inputs, hidden layer and output gradient."""
        x = work.see("x")
        moved = work.buffer("moved", x, *work.each(x).shape)
        return moved, work.buffer("h moved", work.h), work.buffer("residual", work.error)
