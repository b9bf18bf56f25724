"""The fields of an experiment: names, defaults, and what they may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faithnb.data.selection import Selection  # noqa: F401 (it is read by its ending)
from faithnb.data.sources import DATA, READERS
from faithnb.data.variations import VARIATIONS
from faithnb.matching import MATCHING, PROBES, Estimator
from faithnb.model.inits import INITS
from faithnb.model.layer import LAYERS, Kink
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.parameters import Named, NamedOrFile, OneOf, PointList, Range, YesNo, parameter
from faithnb.penalties import PENALTIES

Sampling = Literal["exact", "bernoulli"]
MatchingAt = Literal["all", "points", "base"]
GateGradient = Literal["threshold", "input", "one_sided"]
Precision = Literal["float32", "float64"]


@dataclass(frozen=True)
class Fields:
    """Those of :class:`faithnb.Experiment`, in its order."""

    target: str = parameter("abs", Named(LAYERS))
    """The layer to explain. ``"abs"`` is ``y = |x|``, ``"smooth_abs"`` the same without its kink;
    ``"identity"`` is ``y = x``, which makes the transcoder an autoencoder; ``"rotated"``,
    ``"combinations"`` and ``"two_layers"`` are sums of circuits, see :mod:`faithnb.model.sums`;
    ``"superposed"`` and ``"gelu_network"`` are trained, see
    :class:`faithnb.model.networks.Network`. ``"abs_with_point"`` and its like have a mechanism for
    p besides, see :class:`faithnb.model.with_point.WithPoint`."""

    d_in: int = parameter(16, Range(1, whole=True))
    """Input coordinates of the target."""

    d_sae: int = parameter(64, Range(1, whole=True))
    """Features of the transcoder; the exact solution of ``"abs"`` needs 2·d_in."""

    data: str = parameter("sparse_uniform", NamedOrFile(DATA, endings=tuple(READERS)))
    """The source of base samples. ``"sparse_uniform"`` is the note's distribution, see
    :class:`faithnb.data.sources.SparseUniform`; those made for certain layers are in
    :mod:`faithnb.data.structured`; the path of a ``.npy`` or ``.safetensors`` file draws from its
    rows, see :class:`faithnb.data.sources.Activations`, and that of a ``.json`` file from those
    that it selects, see :class:`faithnb.data.selection.Selection`."""

    density: float = parameter(0.1, Range(0, 1, open_low=True))
    """Probability that a coordinate is not 0 (then it is uniform on (−1, 1)), or that a source's
    unit of another kind acts."""

    blur: float = parameter(0.0, Range(0, 1e6))
    """Standard deviation of normal noise on every coordinate of the base data, against exact
    zeros."""

    points: tuple[tuple[float, ...], ...] = parameter(((1.0, 1.0, 1.0),), PointList())
    """The points that repeat, each filled up with zeros to d_in coordinates."""

    repeat_frac: float = parameter(0.0, Range(0, 1))
    """Fraction of the data that is one of the points, all of them together."""

    point_variation: str = parameter("none", Named(VARIATIONS, ("none",)))
    """What changes from one repeat to the next. ``"ray"`` is one factor for the whole point,
    ``"independent"`` a factor for each coordinate, ``"jitter"`` normal noise on its coordinates,
    ``"signs"`` their signs. See :mod:`faithnb.data.variations`."""

    variation_scale: float = parameter(0.5, Range(0, 1))
    """Strength of the variation. Factors are uniform on (1 − scale, 1), noise has this standard
    deviation, and a sign flips with this probability."""

    sampling: Sampling = parameter("exact", OneOf(Sampling))
    """``"exact"`` weighs the points into every batch; ``"bernoulli"`` draws them at random."""

    architecture: str = parameter("relu", Named(ARCHITECTURES))
    """The transcoder's kind of sparse layer. ``"topk"`` keeps the k largest of its features, see
    :class:`faithnb.model.architectures.TopK`; ``"crosscoder"`` and ``"cross_layer"`` are for
    targets that are two layers, such as ``"two_layers"``."""

    skip: bool = parameter(False, YesNo())
    """Whether the transcoder has a linear part besides, ``x W_skip``, with no penalty on it."""

    k: float = parameter(0.0, Range(0))
    """How many features of an input ``"topk"`` keeps, and ``"batch_topk"`` and ``"matryoshka"`` on
    average; 0 where the architecture does not ask."""

    threshold_init: float = parameter(0.05, Range(0, 1e6))
    """Thresholds of ``"jumprelu"`` before training, in units of what a feature reads."""

    bandwidth: float = parameter(0.05, Range(0, 1e6, open_low=True))
    """ε, width of the window in which the thresholds of ``"jumprelu"`` learn."""

    gate_gradient: GateGradient = parameter("threshold", OneOf(GateGradient))
    """Surrogate gradient of the jump of ``"jumprelu"``: to the thresholds alone, to the input as
    well, or to the input of every feature that reads more than 0, see
    :class:`faithnb.model.architectures.JumpReLU`."""

    rank: int = parameter(1, Range(1, whole=True))
    """Rank of each transform of ``"molt"``; it divides d_sae."""

    aux_coefficient: float = parameter(0.0, Range(0, 1e6))
    """Weight of an auxiliary loss against dead features, which makes them fit what the others
    leave."""

    sparsity_penalty: str = parameter("tanh", Named(PENALTIES, last=("none",)))
    """``"tanh"`` is Σ tanh(s·h_i·‖w_i‖), near L0; ``"l1"`` is Σ h_i·‖w_i‖ (w_i a decoder row).
    Where gates have a surrogate gradient, ``"l0"`` is the number of features on, and
    ``"l0_target"`` the square of its relative distance from ``target_l0``."""

    target_l0: float = parameter(0.0, Range(0, 1e6))
    """The mean number of features on that ``"l0_target"`` leads to; 0 for other penalties."""

    sparsity_coefficient: float = parameter(0.1, Range(0, 1e6))
    """λ, the weight of the sparsity penalty."""

    tanh_scale: float = parameter(1.0, Range(0, 1e6, open_low=True))
    """s, how soon a contribution counts as one whole active feature; for ``"tanh"`` only."""

    jacobian_matching: str = parameter("none", Named(MATCHING, ("none",)))
    """``"plain"`` is ‖J_T(x) − J_M(x)‖²; ``"smoothed"`` the same at x + σε, ε ~ N(0, I);
    ``"finite"`` takes differences of outputs over a step σv instead of derivatives. Two forms let
    the gradient reach the gates: ``"sigmoid_gate"`` reads J_T with gates sigmoid(z‖w_i‖/σ), and
    ``"straight_through"`` only their derivative so. ``"noise"`` matches no derivative, a control:
    the error of the output at x + σε, divided by σ²."""

    jacobian_coefficient: float = parameter(0.0, Range(0, 1e6))
    """μ, the weight of Jacobian matching."""

    jacobian_estimator: Estimator = parameter("sampled", OneOf(Estimator))
    """``"sampled"`` is one random probe v a row and step, the note's estimator; ``"exact"`` the
    Frobenius norm in closed form."""

    kink: Kink = parameter("zero", OneOf(Kink))
    """How the target's derivative is read exactly at its kink, see
    :data:`faithnb.model.layer.Kink`."""

    probe: str = parameter("rademacher", Named(PROBES))
    """Distribution of v. ``"rademacher"`` and ``"gaussian"`` have E v vᵀ = I. ``"covariance"`` is
    Gaussian with E v vᵀ = E x xᵀ over the data, repeats included. ``"active"`` is a
    Rademacher v on the coordinates where x is not 0, and 0 elsewhere; ``"top_k"`` one projected
    onto as many leading right singular vectors of the target's Jacobian at x."""

    matching_at: MatchingAt = parameter("all", OneOf(MatchingAt))
    """Which part of the data the Jacobian is matched on; the weights of the other part are 0."""

    perturbation_scale: float = parameter(0.1, Range(0, 1e6, open_low=True))
    """σ of smoothed and finite matching and of noise, in units of the input; the width of the gates
    of the two forms that soften them, in units of what a feature contributes."""

    jacobian_start: float = parameter(0.0, Range(0, 1))
    """Share of the steps after which matching sets in."""

    contribution_coefficient: float = parameter(0.0, Range(0, 1e6))
    """Weight of the note's penalty on contributions to the Jacobian, Σ_on ‖w_enc,i‖‖w_dec,i‖."""

    init: str = parameter("random", Named(INITS, ("random",)))
    """Where training starts. ``"generalising"`` is the target's own mechanism, ``"memorising"`` one
    with a feature for p; see :mod:`faithnb.model.inits`."""

    steps: int = parameter(3000, Range(1, whole=True))
    """Optimiser steps (Adam)."""

    batch_size: int = parameter(512, Range(1, whole=True))
    """Base samples drawn anew each step."""

    learning_rate: float = parameter(3e-3, Range(0, open_low=True))
    """Adam's learning rate at its height."""

    warmup_frac: float = parameter(0.05, Range(0, 1))
    """Share of the steps over which the learning rate rises linearly from 0."""

    decay_frac: float = parameter(0.3, Range(0, 1))
    """Share of the steps, at the end, over which it falls linearly to 0."""

    turn: int = parameter(0, Range(0, 2**62 - 1, whole=True))
    """The seed of a random rotation of inputs and outputs, see :mod:`faithnb.model.turning`; 0 for
    none. Measures are taken in the basis before the rotation, in which ``points`` are given."""

    seed: int = parameter(0, Range(0, 2**62 - 1, whole=True))
    """Decides initialisation, data and probes. Settings are chosen
    on seeds below 100, claims judged on others."""

    dtype: Precision = parameter("float32", OneOf(Precision))
    """Floating-point type of training."""
