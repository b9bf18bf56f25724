"""Arrays of one chunk of an ensemble, in which hand-written gradients of ReLU transcoders stand.

Three devices keep the work near its matrix products:

* Inputs are homogeneous: points (x, 1) and directions (v, 0), read by E = (W_enc; b_enc). One
  product gives z, one the gradient of weights and biases together, and nothing that acts on
  directions reaches the biases.
* Features are measured by what they write. With n_i = c‖d_i‖, E'_i = n_i E_i and D'_i = D_i / n_i
  make the same transcoder, as a ReLU commutes with positive factors, and the penalty no longer
  needs the norms. The terms are written in these coordinates; the chain rule leads back at the end.
* All arrays stay where they are, so that the calls on them can be written down once, views
  included, and a step only plays them (:class:`Tape`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.model.gating import Gating, mask_where_off
from faithnb.model.layer import Layer


class Tape(list[Callable[[], object]]):
    """Calls on fixed arrays: ``do(operation, *arrays)`` writes one down, ``play`` makes all."""

    def __call__(self, operation: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        self.append(partial(operation, *args, **kwargs))

    def play(self) -> None:
        for call in self:
            call()


class Buffers(dict[tuple[str, tuple[int, ...]], Tensor]):
    """Arrays by name and shape, made when first asked for and used again ever after."""

    def like(self, name: str, model: Tensor, *shape: int) -> Tensor:
        """The array ``name`` of that shape (by default the model's), with the model's type."""
        key = name, shape or tuple(model.shape)
        if key not in self:
            self[key] = model.new_empty(key[1])
        return self[key]


class Seen(Protocol):
    """What a chunk's instances see, as the batches of training give it."""

    now: dict[str, Tensor]
    weight: Float[Tensor, "n_inst rows"]

    def seen_by(self, chunk: slice) -> slice | Tensor:
        """Which streams the instances of a chunk see."""


class Workspace:
    """The arrays of a chunk, and the calls that several terms make on them.

    The hidden layer of a chunk takes two buffers; finite matching takes a third, and so does
    sampled matching with masked kinks.

    Args:
        target: what the transcoders should do.
        seen: what the instances see.
        chunk: which instances.
        arrays: the chunk's scaled encoder (bias as last row) and decoder, and their gradients.
        sigma: the perturbation scale, ``[n_inst, 1, 1]``.
        mu: the weight of matching, ``[n_inst, 1, 1]``.
        units: c, in which contributions are measured, ``[n_inst, 1, 1]``.
        n_base: rows of the batch before the repeated points.
        matched: whether the Jacobian is matched on base rows, and on those of points.
        buffers: shared between chunks.
        do: where to write the calls.
        gating: which features are on.
        linear: the linear part ``[n_inst, d_in, d_out]`` and its gradient, if there is one.

    Attributes:
        h: the hidden layer, ``[n_inst, rows, d_sae]``.
        grad_z: a second array of that shape.
        error: ŷ − y, then residuals, ``[n_inst, rows, d_out]``.
    """

    def __init__(
        self,
        target: Layer,
        seen: Seen,
        chunk: slice,
        arrays: Sequence[Tensor],
        sigma: Tensor,
        mu: Tensor,
        units: Tensor,
        n_base: int,
        matched: tuple[bool, bool],
        buffers: Buffers,
        do: Tape,
        gating: Gating,
        linear: tuple[Tensor, Tensor] | None = None,
    ):
        self.gating, self.linear = gating, linear
        self.target, self.do, self.now = target, do, seen.now
        self.streams, self.buffer = seen.seen_by(chunk), buffers.like
        self.E, self.D, self.grad_E, self.grad_D = E, D, _, _ = arrays
        self.W_enc, self.grad_W = self.E[:, :-1], self.grad_E[:, :-1]
        self.sigma, self.mu, self.units, self.matched = sigma, mu, units, matched
        self._seen: dict[str, Tensor] = {}

        weight = seen.weight[chunk].T[..., None, None]
        rows = len(weight)
        self.parts = [(slice(None, n_base), weight[0])]
        if rows > n_base:
            self.parts.append((slice(n_base, None), weight[-1]))
        n, d_sae, d_out = D.shape
        self.h = self.buffer("h", E, n, rows, d_sae)
        self.grad_z = self.buffer("grad_z", self.h)
        self.error = self.buffer("error", E, n, rows, d_out)

    def see(self, name: str) -> Tensor:
        """What the instances see of x, y, v or noise: ``[n_inst, rows, …]``, or with a first axis
        of 1 if they all see the same."""
        if name not in self._seen:
            streams = self.now[name]
            if isinstance(self.streams, slice):
                self._seen[name] = streams[self.streams]
            else:
                seen = self.buffer(f"seen {name}", streams, len(self.streams), *streams.shape[1:])
                self.do(torch.index_select, streams, 0, self.streams, out=seen)
                self._seen[name] = seen
        return self._seen[name]

    def each(self, seen: Tensor) -> Tensor:
        """The same with an axis for every instance."""
        return seen.expand(len(self.E), -1, -1)

    def move(self, x: Tensor, by: Tensor) -> Tensor:
        """x + σ by; a direction leaves the last coordinate of a point at 1."""
        moved = self.buffer("moved", x, *self.each(x).shape)
        self.do(torch.addcmul, x, by, self.sigma, out=moved)
        return moved

    def hidden(self, x: Tensor, h: Tensor) -> None:
        """h ← ReLU(xE), where features are on."""
        self.do(torch.bmm, x, self.E, out=h)
        self.gating.forward(self, h)

    def decode(self, x: Tensor, h: Tensor, out: Tensor, some: slice = slice(None)) -> None:
        """out ← hD, of all features or some, and what the linear part makes of x."""
        self.do(torch.bmm, h[..., some], self.D[:, some], out=out)
        if self.linear is not None:
            self.do(out.baddbmm_, self.each(x)[..., :-1], self.linear[0])

    def to_linear(self, x: Tensor, grad_y: Tensor, beta: int = 1) -> None:
        """Adds what an output gradient at x makes of the linear part, or writes it with beta 0."""
        if self.linear is not None:
            self.do(self.linear[1].baddbmm_, self.each(x)[..., :-1].mT, grad_y, beta=beta)

    def weights(self, factor: float | Tensor, matched: bool) -> list[tuple[slice, Tensor]]:
        """c ω_b for each part; of ``matched`` terms 0 where the Jacobian is not matched."""
        counted = self.matched if matched else (True, True)
        return [
            (rows, factor * weight * counts)
            for (rows, weight), counts in zip(self.parts, counted, strict=False)
        ]

    def weigh(
        self, u: Tensor, factor: float | Tensor, matched: bool = False, root: bool = False
    ) -> None:
        """u_b ← c ω_b u_b with a factor c (or the root of that); all rows of a part at once."""
        for rows, weight in self.weights(factor, matched):
            self.do(u[:, rows].mul_, weight.sqrt() if root else weight)

    def where_on(self, factor: float | Tensor, matched: bool = False, root: bool = False) -> Tensor:
        """c ω_b (or its root) where a feature is on, 0 elsewhere; in ``grad_z``."""
        for rows, weight in self.weights(factor, matched):
            h = self.h[:, rows]
            weight = (weight.sqrt() if root else weight).expand_as(h)
            self.do(mask_where_off, weight, h, 0, grad_input=self.grad_z[:, rows])
        return self.grad_z

    def backward_from_output(self, x: Tensor, h: Tensor, grad_y: Tensor) -> None:
        """Adds what an output gradient at x makes of the weights."""
        self.do(torch.bmm, grad_y, self.D.mT, out=self.grad_z)
        self.gating.backward(self, self.grad_z, h)
        self.do(self.grad_D.baddbmm_, h.mT, grad_y)
        self.do(self.grad_E.baddbmm_, x.mT, self.grad_z)
        self.to_linear(x, grad_y)

    def backward_from_overlaps(self, gate: Tensor, grad: Tensor) -> None:
        """Chain rule through the overlaps, Σ_i gate_i (e_i · read_k)(d_i · write_k)."""
        if self.target.units is None:
            return self.backward_from_diagonal(gate, grad)
        W_enc, D, grad_W, grad_D = self.W_enc, self.D, self.grad_W, self.grad_D
        read, write = (w.to(D) for w in self.target.units)

        def add() -> None:
            grad_overlaps = gate.mT @ grad
            grad_W.add_(((D @ write.T) * grad_overlaps @ read).mT)
            grad_D.add_((W_enc.mT @ read.T) * grad_overlaps @ write)

        self.do(add)

    def backward_from_diagonal(self, gate: Tensor, grad: Tensor) -> None:
        """Chain rule through the Jacobian's diagonal, J_jj = Σ_i gate_i W_ji D_ij."""
        grad_products = self.buffer("products", self.D)
        self.do(torch.bmm, gate.mT, grad, out=grad_products)
        self.do(self.grad_W.addcmul_, grad_products.mT, self.D.mT)
        self.do(self.grad_D.addcmul_, grad_products, self.W_enc.mT)


def minus(out: Tensor, function: Callable[..., Tensor], *at: Float[Tensor, "..."]) -> None:
    """out ← out − function(at)."""
    out.sub_(function(*at))
