"""A transcoder's features written in a library of circuits: the note's "compressed sensing" map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.checks import checked, exact
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.codes import RIDGE, sparse_code
from faithnb.measures.registry import CONTRIBUTES, measure
from faithnb.model.layer import Circuit, Layer
from faithnb.model.transcoder import Transcoder

THRESHOLDS = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Where a datapoint circuit may begin to act, as a fraction of p · p."""

ALIKE = 0.1
"""Mechanism error up to which a transcoder counts as computing the way the layer does."""

LOADED, GAIN_RANGE = 0.9, (0.8, 1.25)
"""A feature *is* a circuit if its loading exceeds the first and its gain lies in the second."""


@checked
def datapoint_circuit(target: Layer, p: Float[Tensor, "d_in"], threshold: float) -> Circuit:
    """P_τ(x) = f(p) · ReLU((p̃·x − τ)/(1 − τ)) with p̃ = p/(p·p): writes f(p) at p, acts where
    p̃·x > τ. For τ → 1 it is the indicator of p."""
    read = p / (p @ p) / (1 - threshold)
    return Circuit("datapoint", read, target(p), threshold / (1 - threshold))


@dataclass(frozen=True)
class CircuitMap:
    """Which circuits each feature of an ensemble is made of.

    A feature's contribution over a sample, C_i = (w_dec,i f_i(x_n))_n, is written as a non-negative
    sparse sum Σ_k a_k A_k of the circuits' contributions over the same sample.

    Attributes:
        names: the circuits, K of them; the datapoint circuits come last.
        gain: a_k, ``[n_inst, K, d_sae]``; 1 is the circuit as the target has it.
        loading: a_k‖A_k‖/‖C_i‖, ``[n_inst, K, d_sae]``; 1 is exactly the circuit's direction.
        residual: ‖C_i − Σ_k a_k A_k‖/‖C_i‖, ``[n_inst, d_sae]``; NaN for dead features.
        size: ‖C_i‖ as a root mean square over the sample, ``[n_inst, d_sae]``.
        alive: whether a feature contributes more than 1e-2 anywhere in the sample.
        n_true: how many of the circuits, the first ones, are the target's own.
    """

    names: tuple[str, ...]
    gain: np.ndarray
    loading: np.ndarray
    residual: np.ndarray
    size: np.ndarray
    alive: np.ndarray
    n_true: int

    @classmethod
    @exact
    def of(
        cls,
        transcoder: Transcoder,
        target: Layer,
        x: Float[Tensor, "B d_in"],
        points: Sequence[Float[Tensor, "d_in"]] | Float[Tensor, "n_points d_in"] = (),
    ) -> CircuitMap:
        """Map every feature onto the target's circuits and one datapoint circuit a point.

        Args:
            x: the sample, without the points; each point is added once.
            points: repeated points. The threshold of their circuits, the same for all, is the one
                that explains the feature best.
        """
        transcoder = transcoder[:].cpu()
        points = [p.double().cpu() for p in points]
        x = torch.cat([x.cpu(), *[p[None] for p in points]])
        true = target.circuits()
        families = [[datapoint_circuit(target, p, t) for t in THRESHOLDS] for p in points]
        every = [*true, *(c for family in families for c in family)]
        acts = torch.stack([c.activation(x) for c in every], dim=1)
        write = torch.stack([c.write for c in every]).double()
        atom_norms = (acts.norm(dim=0) * write.norm(dim=1)).numpy()

        # Contributions have rank one, so inner products factor: ⟨C_i, A_k⟩ = (f_i·a_k)(w_i·w_k).
        scale = np.where(atom_norms > 0, atom_norms, np.inf)
        gram = ((acts.T @ acts) * (write @ write.T)).numpy() / np.outer(scale, scale)
        h = transcoder.encode(x)
        sizes = (h.norm(dim=1) * transcoder.decoder_norms()).numpy()
        cross = ((h.mT @ acts) * (transcoder.W_dec @ write.T)).numpy() / scale
        alive = (h.abs().amax(1) * transcoder.decoder_norms() > CONTRIBUTES).numpy()

        n_true, n_atoms = len(true), len(true) + len(points)
        loading = np.zeros((*sizes.shape, n_atoms))
        gain, residual = np.zeros_like(loading), np.full(sizes.shape, np.nan)
        choices = _choices(n_true, len(points))
        usable = [_independent(gram, c) for c in choices]
        factors = [np.linalg.cholesky(gram[np.ix_(c, c)] + RIDGE * np.eye(len(c))) for c in usable]
        for n, i in zip(*np.nonzero(alive), strict=True):
            correlation = cross[n, i] / sizes[n, i]
            codes = [sparse_code(L, correlation[c]) for L, c in zip(factors, usable, strict=True)]
            best = int(np.argmin([rest for _, rest in codes]))
            used = np.isin(choices[best], usable[best])
            loading[n, i, used], residual[n, i] = codes[best]
            gain[n, i] = loading[n, i] * sizes[n, i] / scale[choices[best]]
        names = [c.name for c in true] + [
            "datapoint p" if len(points) == 1 else f"datapoint p{k + 1}" for k in range(len(points))
        ]
        return cls(
            tuple(names), gain.swapaxes(1, 2), loading.swapaxes(1, 2), residual,
            sizes / len(x) ** 0.5, alive, n_true,
        )  # fmt: skip

    @property
    def notable(self) -> np.ndarray:
        """Live features that contribute at least 5 % of the largest, ``[n_inst, d_sae]``."""
        return self.alive & (self.size >= 0.05 * self.size.max(1, keepdims=True))

    def order(self, inst: int = 0) -> np.ndarray:
        """Columns for a picture: by the circuit that loads most, then by loading.

        Features that are not notable come after the others, dead ones last.
        """
        best = self.loading[inst].argmax(0)
        strength = self.loading[inst].max(0)
        small = ~self.notable[inst]
        return np.lexsort((np.arange(len(best)), -strength, best, small, ~self.alive[inst]))

    def matches(self) -> np.ndarray:
        """``[n_inst, K, d_sae]``: whether a feature is a circuit, by loading and gain."""
        low, high = GAIN_RANGE
        return (self.loading > LOADED) & (self.gain >= low) & (self.gain <= high)

    def circuit_match(self) -> np.ndarray:
        """Share of the target's circuits that have a feature of their own, ``[n_inst]``.

        Features and circuits are assigned one to one (Hungarian); a pair counts if it matches.
        """
        score = np.where(self.matches(), 1.0 + self.loading, 0.0)[:, : self.n_true]
        shares = []
        for one in score:
            rows, columns = scipy.optimize.linear_sum_assignment(one, maximize=True)
            shares.append((one[rows, columns] > 0).sum() / self.n_true)
        return np.array(shares)

    def neurons_per_circuit(self) -> np.ndarray:
        """Mean number of features that point along a true circuit (loading > 0.9), ``[n_inst]``."""
        return (self.loading[:, : self.n_true] > LOADED).sum(-1).mean(-1)

    def median_residual(self) -> np.ndarray:
        """Median residual of the notable features, ``[n_inst]``; NaN without any."""
        return np.array([np.median(r[a]) if a.any() else np.nan
                         for r, a in zip(self.residual, self.notable, strict=True)])  # fmt: skip


def _choices(n_true: int, n_points: int) -> list[list[int]]:
    """Index sets of the true circuits and a datapoint circuit a point, at each threshold."""
    true = list(range(n_true))
    if n_points == 0:
        return [true]
    return [
        true + [n_true + k * len(THRESHOLDS) + t for k in range(n_points)]
        for t in range(len(THRESHOLDS))
    ]


def _independent(gram: np.ndarray, choice: list[int]) -> list[int]:
    """The atoms of a choice without those that are silent or repeat an earlier one."""
    kept: list[int] = []
    for k in choice:
        if gram[k, k] > 0 and (gram[k, kept] < 1 - 1e-9).all():
            kept.append(k)
    return kept


@measure("relative squared error", costly=True)
@exact
def mechanism_error(
    transcoder: Transcoder,
    target: Layer,
    x: Float[Tensor, "B d_in"],
    assign_on: Float[Tensor, "n d_in"] | None = None,
) -> Float[Tensor, "n_inst"]:
    """How far the transcoder's features are, circuit by circuit, from the target's mechanism at x.

    Each feature is counted towards the circuit whose contributions its own are most like (the
    largest cosine over a sample), so that a split circuit is no error. Then the error is
    Σ_k E‖Σ_{i for k} C_i(x) − A_k(x)‖² / Σ_k E‖A_k(x)‖²: 0 for the same mechanism, 1 for silence,
    and 4/3 for a sole datapoint feature at three ones, however right its output is. A feature that
    only takes away is like no circuit; it counts towards the one that it takes least from. A linear
    part counts as one feature a coordinate, which x_j turns on and W_skip,j is written by.

    Args:
        x: where the error is taken.
        assign_on: the sample over which features are assigned; x by default.

    Raises:
        ValueError: if no circuit of the target acts on x.
    """
    true = target.circuits()
    write = torch.stack([c.write for c in true]).to(transcoder.W_dec)
    W_dec: Tensor = transcoder.W_dec
    W_skip = transcoder.W_skip
    if W_skip is not None:
        W_dec = torch.cat([W_dec, W_skip], dim=1)
    written = W_dec @ write.T

    def encoded(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the features and the circuits do, and ‖A_k‖²."""
        inputs = inputs.to(write)
        acts = torch.stack([c.activation(inputs) for c in true], dim=1)
        h = transcoder.encode(inputs)
        if W_skip is not None:
            h = torch.cat([h, inputs.expand(len(h), -1, -1)], dim=-1)
        return h, acts, acts.square().sum(0) * write.square().sum(1)

    h, acts, size = encoded(x if assign_on is None else assign_on)
    likeness = (h.mT @ acts) * written / size.sqrt().clamp(min=1e-12)
    counted = torch.nn.functional.one_hot(likeness.argmax(-1), len(true)).to(write)
    h, acts, size = encoded(x)
    if size.sum() == 0:
        raise ValueError("mechanism_error needs inputs on which a circuit of the target acts.")
    own = (h.mT @ h) * (W_dec @ W_dec.mT) * (counted @ counted.mT)
    mixed = (h.mT @ acts) * written * counted
    return (own.sum((1, 2)) - 2 * mixed.sum((1, 2)) + size.sum()).clamp(min=0) / size.sum()


@measure("share of circuits", costly=True)
@exact
def circuit_match(
    transcoder: Transcoder, target: Layer, x: Float[Tensor, "B d_in"] | None = None
) -> np.ndarray:
    """Share of the target's circuits found one to one among the features, ``[n_inst]``.

    ``x`` defaults to :func:`faithnb.data.sampling.evaluation_sample` at density 0.1.
    """
    x = evaluation_sample(target.d_in, 0.1) if x is None else x
    return CircuitMap.of(transcoder, target, x).circuit_match()
