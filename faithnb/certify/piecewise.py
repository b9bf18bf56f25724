"""A transcoder, a layer, or one minus the other as what all of them are: sums of units with a kink
or a jump each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from faithnb.certify.chords import smooth_absolute
from faithnb.common.errors import InputError
from faithnb.model.architectures import BatchTopK, JumpReLU, TopK
from faithnb.model.layer import Layer
from faithnb.model.layers import AbsoluteValue, Identity, SmoothAbsolute
from faithnb.model.networks import GeluNetwork, Superposed
from faithnb.model.sums import Sum
from faithnb.model.transcoder import Transcoder
from faithnb.model.turning import TurnedLayer
from faithnb.model.with_point import WithPoint

PARALLEL = 1e-14
"""How far the kinks of two units may be from each other, in what they read, to be taken as one."""


@dataclass(frozen=True, eq=False)
class Piecewise:
    """``x ↦ Σ_i write_i h_i + linear x + offset``, where ``h_i = z_i 1[z_i > threshold_i]`` and
    ``z_i = read_i · x + bias_i``. Of the first ``n_ranked`` units only the k largest z count.

    Thresholds are at or above 0; one of 0 is a ReLU. All of it is in float64.
    """

    read: Float[ndarray, "n d_in"]
    bias: Float[ndarray, "n"]
    threshold: Float[ndarray, "n"]
    write: Float[ndarray, "n d_out"]
    linear: Float[ndarray, "d_out d_in"]
    offset: Float[ndarray, "d_out"]
    n_ranked: int = 0
    k: int = 0
    size: Float[ndarray, "d_out"] | None = None
    """How much was added up where it was simplified, which tells how much rounding may hide."""
    cancelled: Float[ndarray, "d_out"] | None = None
    """How much was added up where it was seen from elsewhere: biases may cancel there, and what was
    rounded stays."""
    apart: Float[ndarray, "d_out"] | None = None
    """How far what it stands for may be from it; nothing where that is the same."""

    def pre(self, x: Float[ndarray, "B d_in"]) -> Float[ndarray, "B n"]:
        """z."""
        return x @ self.read.T + self.bias

    def on(self, x: Float[ndarray, "B d_in"]) -> Bool[ndarray, "B n"]:
        """Which units are above their threshold and, where they are ranked, among the k largest."""
        z = self.pre(x)
        on = z > self.threshold
        if self.n_ranked:
            rank = np.argsort(np.argsort(-z[:, : self.n_ranked], axis=1, kind="stable"), axis=1)
            on[:, : self.n_ranked] &= rank < self.k
        return on

    def __call__(self, x: Float[ndarray, "B d_in"]) -> Float[ndarray, "B d_out"]:
        return (self.pre(x) * self.on(x)) @ self.write + x @ self.linear.T + self.offset

    def jacobian(self, x: Float[ndarray, "B d_in"]) -> Float[ndarray, "B d_out d_in"]:
        """Of the units that are on."""
        return np.einsum("bn,no,ni->boi", self.on(x), self.write, self.read) + self.linear

    def minus(self, other: Piecewise) -> Piecewise:
        """The difference, which has the units of both. The other has none that are ranked, and
        may be the one that is near to what it stands for."""
        return Piecewise(
            np.concatenate([self.read, other.read]),
            np.concatenate([self.bias, other.bias]),
            np.concatenate([self.threshold, other.threshold]),
            np.concatenate([self.write, -other.write]),
            self.linear - other.linear,
            self.offset - other.offset,
            self.n_ranked,
            self.k,
            cancelled=_both(self.cancelled, other.cancelled),
            apart=other.apart,
        )

    def seen_from(
        self, matrix: Float[ndarray, "d_in m"], shift: Float[ndarray, "d_in"]
    ) -> Piecewise:
        """The same as a function of ξ, where ``x = matrix ξ + shift``."""
        cancelled = self.cancelled
        if self.size is None and shift.any():
            added = (np.abs(self.bias) + np.abs(self.read) @ np.abs(shift)) @ np.abs(self.write)
            added += np.abs(self.linear) @ np.abs(shift) + np.abs(self.offset)
            cancelled = _both(cancelled, added)
        return replace(
            self,
            cancelled=cancelled,
            read=self.read @ matrix,
            bias=self.bias + self.read @ shift,
            linear=self.linear @ matrix,
            offset=self.offset + self.linear @ shift,
        )

    def simplified(self) -> Piecewise:
        """The same on ``[−1, 1]^m`` with fewer units: those that are never on drop out, ReLUs that
        are always on become linear, ReLUs with the same kink become one."""
        radius = np.abs(self.read).sum(1)
        high, low = self.bias + radius, self.bias - radius
        ranked = np.arange(len(self.bias)) < self.n_ranked
        possible = high > self.threshold
        if ranked.any() and (possible & ranked).sum() <= self.k:
            return replace(self, n_ranked=0, k=0).simplified()
        if self.size is None:
            summed = (np.abs(self.bias) + radius)[possible] @ np.abs(self.write[possible])
            summed += np.abs(self.linear).sum(1) + np.abs(self.offset)
            return replace(self, size=_both(summed, self.cancelled)).simplified()
        above = np.where(self.threshold > 0, low > self.threshold, low >= 0)
        straight = possible & above & ~ranked
        linear = self.linear + (self.write * straight[:, None]).T @ self.read
        offset = self.offset + self.bias @ (self.write * straight[:, None])
        kept = possible & ~straight
        return replace(
            self,
            read=self.read[kept],
            bias=self.bias[kept],
            threshold=self.threshold[kept],
            write=self.write[kept],
            linear=linear,
            offset=offset,
            n_ranked=int((kept & ranked).sum()),
        )._merged()

    def _merged(self) -> Piecewise:
        """``ReLU(−z) = ReLU(z) − z`` and ``ReLU(c z) = c ReLU(z)``."""
        first = np.concatenate([self.read, self.bias[:, None]], axis=1)
        scale = np.abs(first).max(1)
        lead = np.take_along_axis(first, np.abs(first).argmax(1)[:, None], 1)[:, 0]
        sign = np.where(lead < 0, -1.0, 1.0)
        mergeable = (self.threshold == 0) & (np.arange(len(sign)) >= self.n_ranked) & (scale > 0)
        unit = first / np.where(scale > 0, scale, 1)[:, None] * sign[:, None]
        write, linear, offset = self.write.copy(), self.linear.copy(), self.offset.copy()
        kept: list[int] = []
        for i in range(len(sign)):
            near = np.abs(unit[kept] - unit[i]).max(1, initial=0) <= PARALLEL
            same = [
                j for j, one in zip(kept, near, strict=True)
                if one and mergeable[i] and mergeable[j]
            ]  # fmt: skip
            if not same:
                kept.append(i)
                continue
            write[same[0]] += write[i] * scale[i] / scale[same[0]]
            if sign[i] != sign[same[0]]:
                linear += np.outer(write[i], self.read[i])
                offset += write[i] * self.bias[i]
        at = [i for i in kept if np.abs(write[i]).max(initial=0) > 0 or i < self.n_ranked]
        return replace(
            self, read=self.read[at], bias=self.bias[at], threshold=self.threshold[at],
            write=write[at], linear=linear, offset=offset,
        )  # fmt: skip


def _both(one: ndarray | None, other: ndarray | None) -> ndarray | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def _array(weight: Tensor) -> Float[ndarray, "..."]:
    return weight.detach().cpu().double().numpy()


def _units(read: Tensor, bias: Tensor, write: Tensor) -> Piecewise:
    r, w = _array(read), _array(write)
    d_out, d_in = w.shape[1], r.shape[1]
    return Piecewise(r, _array(bias), np.zeros(len(r)), w, np.zeros((d_out, d_in)), np.zeros(d_out))


def _by_chords(read: Tensor, bias: Tensor, write: Tensor, straight: float) -> Piecewise:
    """``Σ_i write_i (s(z_i) + straight z_i)`` with the smooth ``|z|``, s, by chords."""
    chords, each = smooth_absolute(), _units(read, bias, write)
    n = len(chords.knots)
    less = straight - 1  # left of every knot a chord is −z
    return replace(
        each,
        read=np.repeat(each.read, n, axis=0),
        bias=(each.bias[:, None] - chords.knots).ravel(),
        threshold=np.zeros(len(each.bias) * n),
        write=(each.write[:, None] * chords.jumps[:, None]).reshape(-1, each.write.shape[1]),
        linear=less * each.write.T @ each.read,
        offset=(less * each.bias + chords.offset) @ each.write,
        apart=chords.error * np.abs(each.write).sum(0),
    )


def of_transcoder(transcoder: Transcoder) -> Piecewise:
    """A single instance of ReLUs, JumpReLUs, TopK, or BatchTopK in use, by its threshold.

    Raises:
        InputError: if it is of another architecture, or several instances.
    """
    if len(transcoder) != 1:
        raise InputError(
            f"{len(transcoder)} transcoders are not allowed: certify one, such as transcoder[0]."
        )
    known = (JumpReLU, BatchTopK, TopK)
    own = type(transcoder).activate
    if not transcoder.is_relu and not any(own is of.activate for of in known):
        raise InputError(
            f"architecture = {transcoder.architecture!r} is not allowed: certificates are known of "
            "relu, jumprelu, topk and batch_topk, with a linear part or without."
        )
    t = transcoder.in_float64()
    made = _units(t.W_enc[0].T, t.b_enc[0], t.W_dec[0])
    made = replace(made, offset=_array(t.b_dec[0]))
    if t.W_skip is not None:
        made = replace(made, linear=_array(t.W_skip[0]).T)
    if isinstance(t, TopK):
        made = replace(made, n_ranked=t.d_sae, k=t.k)
    elif isinstance(t, JumpReLU | BatchTopK):
        threshold = np.maximum(_array(t.threshold)[0], 0)
        made = replace(made, threshold=np.broadcast_to(threshold, made.bias.shape).copy())
    weights = (made.read, made.bias, made.threshold, made.write, made.linear, made.offset)
    if not all(np.isfinite(weight).all() for weight in weights):
        raise InputError("transcoder is not allowed: it has weights that are not finite.")
    return made


def of_layer(layer: Layer) -> Piecewise:
    """A layer that is made of ReLUs, absolute values and GELUs; what is smooth, by chords.

    Raises:
        InputError: if it is not known to be made of them.
    """
    if isinstance(layer, TurnedLayer):
        read, write = _array(layer.of_inputs), _array(layer.of_outputs)
        upright = of_layer(layer.upright).seen_from(read, np.zeros(len(read)))
        return replace(
            upright,
            write=upright.write @ write,
            linear=write.T @ upright.linear,
            offset=upright.offset @ write,
            apart=None if upright.apart is None else upright.apart @ np.abs(write),
        )
    if isinstance(layer, WithPoint):
        c = layer.circuit
        one = _units(
            c.read[None], torch.tensor([-c.threshold], dtype=torch.float64), -c.write[None]
        )
        without = of_layer(layer.without)
        return replace(without.minus(one), apart=without.apart)
    if isinstance(layer, Superposed):
        return _units(layer.units[0], layer.bias, layer.units[1])
    if isinstance(layer, Sum):
        ones = _units(layer.units[0], -layer.threshold, layer.units[1])
        both = layer.absolute.double().numpy()[:, None]
        below = ones.write * both
        return replace(
            ones,
            write=ones.write * (1 + both),
            linear=-below.T @ ones.read,
            offset=-below.T @ ones.bias,
        )
    if isinstance(layer, SmoothAbsolute):
        each = torch.eye(layer.d_in)
        return _by_chords(layer.beta * each, 0 * each[0], each / layer.beta, 0.0)
    if isinstance(layer, GeluNetwork):
        return _by_chords(layer.units[0], layer.bias, layer.units[1] / 2, 1.0)
    if not isinstance(layer, AbsoluteValue | Identity):
        name = getattr(layer, "name", type(layer).__name__)
        raise InputError(
            f"layer = {name} is not allowed: certificates are known of layers that are sums of "
            "ReLUs, absolute values and GELUs, and this one is not known to be such a sum."
        )
    eye, zero = np.eye(layer.d_in), np.zeros(layer.d_in)
    if isinstance(layer, Identity):
        none = np.zeros((0, layer.d_in))
        return Piecewise(none, np.zeros(0), np.zeros(0), none, eye, zero)
    return Piecewise(eye, zero, zero, 2 * eye, -eye, zero)
