"""Which features of a chunk are on, where gradients are written by hand: what an architecture makes
of ReLU(z), and what passes its gates on the way back.

All architectures here are ReLUs of which some are turned off, so a feature is on where the hidden
layer is above 0, and gradients pass there. Only the thresholds of a JumpReLU learn through gates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

mask_where_off = torch.ops.aten.threshold_backward.grad_input
"""mask_where_off(u, h, 0, grad_input=out): u where h > 0, else 0, in one pass."""

JUST_BELOW_0 = -1e-30
"""A bound that 0 exceeds and no difference of two activations below 0 does."""

MANY = 8
"""For more features than these, finding them all at once is faster than one maximum after the
other."""

Workspace = Any
"""A :class:`faithnb.matching.workspace.Workspace`."""


class Gating:
    """A ReLU: on where z is above 0."""

    prefixes: Sequence[int] = ()
    """Sizes of prefixes of the features whose errors count too, rising, besides that of all."""

    def begin(self, work: Workspace) -> None:
        """Write the calls that come first in a step."""

    def forward(self, work: Workspace, h: Tensor) -> None:
        """h holds z; write the calls that make it the hidden layer."""
        work.do(h.relu_)

    def backward(self, work: Workspace, grad: Tensor, h: Tensor) -> None:
        """``grad`` is the gradient of h; write the calls that make it that of z, in place."""
        work.do(mask_where_off, grad, h, 0, grad_input=grad)

    def count(self, work: Workspace, factor: Tensor) -> None:
        """Write the calls that add the gradient of c · Σ_b ω_b Σ_i 1[i is on] with a factor c,
        ``[n_inst, 1, 1]``, which may change from step to step."""
        raise NotImplementedError


class Ranked(Gating):
    """Some of the largest z.

    Args:
        norms: n, by which z was multiplied, ``[n_inst, d_sae]``, if it was.
    """

    def __init__(self, norms: Tensor | None):
        self.norms = norms

    def forward(self, work: Workspace, h: Tensor) -> None:
        """ReLU(z), of which the largest stay."""
        work.do(h.relu_)
        u = h
        if self.norms is not None:
            u = work.buffer("unscaled", h)
            work.do(torch.div, h, self.norms[:, None], out=u)
        self.keep(work, h, u)

    def keep(self, work: Workspace, h: Tensor, u: Tensor) -> None:
        """Write the calls that turn off in h what is not kept, by its rank in u."""
        raise NotImplementedError


class OfRows(Ranked):
    """The k largest z of each input.

    Args:
        k: how many.
        norms: as above.
    """

    def __init__(self, k: int, norms: Tensor | None):
        super().__init__(norms)
        self.k = k

    def keep(self, work: Workspace, h: Tensor, u: Tensor) -> None:
        """h where u is at least the k-th largest of its row; equal ones may all stay."""
        do = work.do
        spare, below = work.buffer("ranked", h), work.buffer("below", h)
        bound = work.buffer("bound", h, *h.shape[:-1], 1)
        if self.k > MANY:
            do(lambda: bound.copy_(u.topk(self.k, dim=-1).values[..., -1:]))
        else:
            do(torch.amax, u, -1, keepdim=True, out=bound)
            left = u
            for _ in range(self.k - 1):
                do(torch.sub, bound, left, out=below)
                do(mask_where_off, left, below, 0, grad_input=spare)
                left = spare
                do(torch.amax, left, -1, keepdim=True, out=bound)
        do(torch.sub, u, bound, out=below)
        do(mask_where_off, h, below, JUST_BELOW_0, grad_input=h)


class OfBatch(Ranked):
    """The largest z of a batch, up to a weight of k.

    Args:
        bound: gives the largest z that is not kept, ``[n_inst]``, from ReLU(z).
        norms: as above.
        prefixes: sizes of prefixes whose errors count too.
    """

    def __init__(
        self,
        bound: Callable[[Tensor], Tensor],
        norms: Tensor | None,
        prefixes: Sequence[int] = (),
    ):
        super().__init__(norms)
        self.bound, self.prefixes = bound, prefixes

    def keep(self, work: Workspace, h: Tensor, u: Tensor) -> None:
        """h where u exceeds the bound."""
        above = work.buffer("above", h)
        work.do(lambda: torch.sub(u, self.bound(u)[:, None, None], out=above))
        work.do(mask_where_off, h, above, 0, grad_input=h)


class Thresholds(Gating):
    """z where it exceeds the feature's threshold, which learns through a window of width ε: ∂h/∂θ =
    −(θ/ε) R, with R = 1 where z is within ε/2 of θ.

    Args:
        threshold: θ, ``[n_inst, d_sae]``.
        gradient: where its gradient is added.
        bandwidth: ε.
        norms: as above.
    """

    def __init__(self, threshold: Tensor, gradient: Tensor, bandwidth: float, norms: Tensor | None):
        self.threshold, self.gradient, self.bandwidth = threshold, gradient, bandwidth
        self.norms = torch.ones_like(threshold) if norms is None else norms
        self.scaled, self.half = torch.empty_like(threshold), torch.empty_like(threshold)

    def begin(self, work: Workspace) -> None:
        """θ and ε/2 in the units of z, and no gradient yet."""
        work.do(torch.mul, self.threshold, self.norms, out=self.scaled)
        work.do(torch.mul, self.norms, self.bandwidth / 2, out=self.half)
        work.do(self.gradient.zero_)

    def forward(self, work: Workspace, h: Tensor) -> None:
        """z · 1[z > θ]."""
        above = self._above(work, h)
        work.do(torch.sub, h, self.scaled[:, None], out=above)
        work.do(mask_where_off, h, above, 0, grad_input=h)

    def backward(self, work: Workspace, grad: Tensor, h: Tensor) -> None:
        """To z where a feature is on, to θ through the window."""
        summed = self._through(work, grad, h)
        work.do(summed.mul_, self.scaled)
        work.do(self.gradient.sub_, summed)
        super().backward(work, grad, h)

    def count(self, work: Workspace, factor: Tensor) -> None:
        """To θ, −R/ε."""
        weighed = work.buffer("weighed", work.h)
        for rows, weight in work.weights(1.0, matched=False):
            part = weighed[:, rows]
            work.do(part.copy_, weight.expand_as(part))
        summed = self._through(work, weighed, work.h)
        work.do(summed.mul_, factor[..., 0])
        work.do(self.gradient.sub_, summed)

    def _through(self, work: Workspace, grad: Tensor, h: Tensor) -> Tensor:
        """Σ_b R grad / ε, ``[n_inst, d_sae]``."""
        near, product = work.buffer("near", h), work.buffer("through", h)
        summed = work.buffer("of thresholds", self.threshold)
        work.do(torch.abs, self._above(work, h), out=near)
        work.do(torch.sub, self.half[:, None], near, out=near)
        work.do(mask_where_off, grad, near, 0, grad_input=product)
        work.do(torch.sum, product, 1, out=summed)
        work.do(summed.div_, self.bandwidth)
        return summed

    @staticmethod
    def _above(work: Workspace, h: Tensor) -> Tensor:
        """z − θ of that hidden layer."""
        return work.buffer("above" if h is work.h else "above, moved", h)


def slope_by_autograd(
    self: Any, z: Float[Tensor, "n_inst B d_sae"]
) -> Float[Tensor, "n_inst B d_sae"]:
    """∂h_i/∂z_i, whatever the activation; exact where which features are on does not change."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().clone().requires_grad_()
        h = self.activate(z)
        if not h.requires_grad:  # steps alone
            return torch.zeros_like(z)
        (found,) = torch.autograd.grad(h.sum(), z)
    return found
