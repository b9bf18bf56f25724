"""When memorizing pays: the loss of the two solutions, compared without training anything.

Only the coordinates of p = (1, 1, 1) matter, so the theory looks at ``y = |x|`` on three of them.
Its transcoders have a feature for each x_j, one for each −x_j, and perhaps one for p. Nothing
distinguishes the three coordinates, so a handful of numbers describes each transcoder. The
*generalising* and the *memorizing* solution are the minima of the population loss, the loss of
training without its noise, among those without and with a feature for p. Nothing is fitted.

Notation: q density, r repeat_frac, λ sparsity_coefficient, s tanh_scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import brentq, minimize
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.checks import checked
from faithnb.experiment import Experiment
from faithnb.model.transcoder import Transcoder
from faithnb.parameters import clean
from faithnb.penalties import Tanh
from faithnb.training.objectives import reconstruction

NODES = (20, 10, 5)
"""Gauss–Legendre nodes for each half axis where one, two or three coordinates are not 0."""


def saving(tanh_scale: float = 1.0) -> float:
    """Δφ = 3 tanh(s) − tanh(√3 s): what a feature for p saves at p, in units of λ.

    Three features that contribute 1 each are replaced by one that contributes √3.
    """
    return 3 * math.tanh(tanh_scale) - math.tanh(math.sqrt(3) * tanh_scale)


def threshold(density: float, tanh_scale: float = 1.0) -> float:
    """r·λ above which memorizing pays if it is paid in error alone: 5/108 · q (1 − q)² / Δφ.

    The features of p's coordinates must be off at p, and no feature may act where its coordinate
    does not, so each reads x_j − (x_k + x_l)/3 − 1/3. Of one active coordinate, uniform on (0, 1),
    the best gain then leaves the squared error 5/162; three coordinates are active alone and
    positive with probability 3 q (1 − q)² / 2 together. A rule of thumb: :func:`equilibrium`, which
    assumes none of this, is below it where features that act a little too often cost less.
    """
    return 5 / 108 * density * (1 - density) ** 2 / saving(tanh_scale)


def matching_threshold(sparsity_coefficient: float, tanh_scale: float = 1.0) -> float:
    """μ above which a memorizing transcoder costs more at p than a generalising one: λ Δφ / 2.

    With the three features off at p, J_T(p) = λ' p pᵀ; its squared distance from the identity,
    9λ'² − 6λ' + 3, is at least 2.
    """
    return sparsity_coefficient * saving(tanh_scale) / 2


def _in_range(**setting: float) -> None:
    """What no experiment could have is refused, as it refuses it."""
    for name, value in setting.items():
        clean(name, value, Experiment.__dataclass_fields__[name].metadata["allowed"])


SINGLE = [1.0, 0.0, 0.01, 0.0] * 2
ROTATED = [1.0, 1 / 3, 0.0, 0.0, *SINGLE[4:]]
OF_P = [[1.0, 2.0], [0.5, 0.5]]
"""Where the minimisations start; the feature for p from several readings, for it has several
minima: it may or may not act where two of p's coordinates are active."""

SINGLE_BOUNDS: list[tuple[float | None, float | None]] = [
    (0, None), (None, None), (0, None), (None, None)
] * 2  # fmt: skip


@dataclass(frozen=True)
class Minimum:
    """The best transcoder of its kind: what it is and what it costs."""

    transcoder: Transcoder
    loss: float
    numbers: np.ndarray


@checked
def generalising(
    repeat_frac: float,
    density: float,
    sparsity_coefficient: float,
    tanh_scale: float = 1.0,
    start: np.ndarray | None = None,
) -> Minimum:
    """The best transcoder without a feature for p.

    Feature j reads a x_j − g Σ_{k≠j} x_k − b and writes e_j + w Σ_{k≠j} e_k; so do the features of
    −x_j, with numbers of their own. All biases close their features at 0 (b ≥ 0).
    """
    starts = [np.array(SINGLE)] if start is None else [start]
    loss = (repeat_frac, density, sparsity_coefficient, tanh_scale)
    return _minimum(_single_features, starts, SINGLE_BOUNDS, loss)


@checked
def memorising(
    repeat_frac: float,
    density: float,
    sparsity_coefficient: float,
    tanh_scale: float = 1.0,
    start: np.ndarray | None = None,
) -> Minimum:
    """The best transcoder with a feature for p and the three single features off there.

    As :func:`generalising`, with b ≥ a − 2g for the features of x_j; the feature for p reads
    c (x_1 + x_2 + x_3) − t and writes (1, 1, 1).
    """
    starts = [np.array(ROTATED + p) for p in OF_P] if start is None else [start]
    loss = (repeat_frac, density, sparsity_coefficient, tanh_scale)
    return _minimum(_with_p, starts, SINGLE_BOUNDS + [(0, None)] * 2, loss)


@checked
def equilibrium(density: float, sparsity_coefficient: float, tanh_scale: float = 1.0) -> float:
    """The repeat_frac at which both solutions cost the same, to 1 %; NaN if there is none within a
    factor of 10 of :func:`threshold`, or above 0.9.

    Above it memorizing is cheaper. Training need not get there: see which solution it finds.

    Raises:
        ParameterError: if a number is one that no :class:`faithnb.Experiment` takes.
    """
    setting = density, sparsity_coefficient, tanh_scale
    _in_range(density=density, sparsity_coefficient=sparsity_coefficient, tanh_scale=tanh_scale)
    if not (guess := threshold(density, tanh_scale)) * sparsity_coefficient > 0:
        return math.nan
    guess = min(guess / sparsity_coefficient, 0.5)
    starts = [solution(guess, *setting).numbers for solution in (generalising, memorising)]

    def advantage(log_r: float) -> float:
        """Loss of generalising minus loss of memorizing."""
        losses = []
        for k, solution in enumerate((generalising, memorising)):
            best = solution(math.exp(log_r), *setting, starts[k])
            starts[k] = best.numbers
            losses.append(best.loss)
        return losses[0] - losses[1]

    low, high = math.log(guess / 10), math.log(min(10 * guess, 0.9))
    if advantage(low) > 0 or advantage(high) < 0:
        return math.nan
    return math.exp(float(brentq(advantage, low, high, xtol=0.01)))


Weights = tuple[Tensor, Tensor, Tensor]
"""Encoder ``[3, d_sae]``, its biases ``[d_sae]``, decoder ``[d_sae, 3]``."""

with settled():
    _SELF = torch.eye(3, dtype=torch.float64)
    _OTHERS = 1 - _SELF


def _single_features(n: Tensor) -> Weights:
    reads = [sign * (a * _SELF - g * _OTHERS) for sign, a, g in ((1, n[0], n[1]), (-1, n[4], n[5]))]
    biases = [-n[2].expand(3), -n[6].expand(3)]
    writes = [_SELF + n[3] * _OTHERS, _SELF + n[7] * _OTHERS]
    return torch.cat(reads, 1), torch.cat(biases), torch.cat(writes)


def _with_p(n: Tensor) -> Weights:
    beyond = torch.stack([torch.zeros_like(n[0])] * 2 + [n[0] - 2 * n[1]] + [n[0] * 0] * 5)
    reads, biases, writes = _single_features(n[:8] + beyond)
    ones = torch.ones(3, 1, dtype=torch.float64)
    return (
        torch.cat([reads, n[8] * ones], 1), torch.cat([biases, -n[9:]]), torch.cat([writes, ones.T])
    )  # fmt: skip


def _minimum(
    make: Callable[[Tensor], Weights],
    starts: list[np.ndarray],
    bounds: list[tuple[float | None, float | None]],
    loss: tuple[float, float, float, float],
) -> Minimum:
    fields = ("repeat_frac", "density", "sparsity_coefficient", "tanh_scale")
    _in_range(**dict(zip(fields, loss, strict=True)))

    def value_and_gradient(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        n = torch.tensor(numbers, requires_grad=True)
        value = population_loss(make(n), *loss)
        (gradient,) = torch.autograd.grad(value, n)
        return value.item(), gradient.numpy()

    tried = [
        minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds,
                 options={"maxiter": 500, "ftol": 1e-10, "gtol": 1e-8})
        for start in starts
    ]  # fmt: skip
    found = min(tried, key=lambda result: result.fun)
    weights = make(torch.tensor(found.x))
    return Minimum(Transcoder.from_arrays(*weights), float(found.fun), found.x)


@settled()
def population_loss(
    weights: Weights,
    repeat_frac: float,
    density: float,
    sparsity_coefficient: float,
    tanh_scale: float = 1.0,
) -> Float[Tensor, ""]:
    """The loss of one transcoder of three coordinates, in the mean over all data.

    An integral over the patterns of active coordinates, by quadrature; by symmetry one pattern
    stands for all that have as many active coordinates.
    """
    W_enc, b_enc, W_dec = weights
    base, mass = _base_data(density)
    x = torch.cat([base, torch.ones(1, 3, dtype=base.dtype)])
    weight = torch.cat([(1 - repeat_frac) * mass, mass.new_tensor([repeat_frac])])
    h = torch.relu(x @ W_enc + b_enc)
    scale = mass.new_tensor([tanh_scale])
    penalty = Tanh().of(h[None], W_dec[None].norm(dim=-1), weight[None], scale)
    error = reconstruction((h @ W_dec)[None], x.abs()[None], weight[None])
    return (error + sparsity_coefficient * penalty)[0]


@lru_cache(maxsize=16)
def _base_data(density: float) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Quadrature points of the base distribution on three coordinates; weights sum to 1."""
    points = [torch.zeros(1, 3, dtype=torch.float64)]
    masses = [torch.full((1,), (1 - density) ** 3, dtype=torch.float64)]
    for active, n in enumerate(NODES, 1):
        node, share = map(torch.tensor, np.polynomial.legendre.leggauss(n))
        axis = torch.cat([-(node + 1) / 2, (node + 1) / 2])
        x = torch.zeros(len(axis) ** active, 3, dtype=torch.float64)
        x[:, :active] = torch.cartesian_prod(*[axis] * active).reshape(-1, active)
        mass = torch.cartesian_prod(*[share.repeat(2) / 4] * active).reshape(-1, active).prod(-1)
        patterns = math.comb(3, active) * density**active * (1 - density) ** (3 - active)
        points.append(x)
        masses.append(mass * patterns)
    return torch.cat(points), torch.cat(masses)
