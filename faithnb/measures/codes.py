"""Non-negative sparse codes: what a sum consists of, as far as a given dictionary can say it."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.checks import exact
from faithnb.data.inputs import Inputs
from faithnb.measures.registry import PerInstance, outputs
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

SPARSITY = 0.02
"""L1 weight of the code, in units of the loading: enough to drop what noise would fill in."""

RIDGE = 1e-13
"""Keeps Gram matrices of unit atoms positive definite where a sample cannot tell them apart."""

RIDGE_OF_MANY = 1e-9
"""The same for more atoms than dimensions, which are never independent."""


def sparse_code(
    L: Float[np.ndarray, "K K"], correlation: Float[np.ndarray, "K"], ridge: float = RIDGE
) -> tuple[Float[np.ndarray, "K"], float]:
    """Non-negative sparse code of a unit vector with the given correlations to unit atoms, and the
    norm of what it leaves.

    Non-negative LASSO picks the atoms, non-negative least squares on these sets the amplitudes.
    Both are solved on the Cholesky factor L of the Gram matrix, G = L Lᵀ. Without atoms, which the
    solver must not be asked about (it frees memory twice), the code is empty.
    """
    if len(correlation) == 0:
        return np.zeros(0), 1.0
    picked = scipy.optimize.nnls(L.T, np.linalg.solve(L, correlation - SPARSITY))[0] > 0
    code = np.zeros(len(correlation))
    if picked.any():
        gram = (L @ L.T)[np.ix_(picked, picked)]
        small = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
        code[picked] = scipy.optimize.nnls(small.T, np.linalg.solve(small, correlation[picked]))[0]
    rest = 1 - 2 * code @ correlation + code @ (L @ (L.T @ code))
    return code, float(np.sqrt(max(rest, 0.0)))


@exact
def inferred_codes(
    transcoder: Transcoder, y: Float[Tensor, "B d_out"]
) -> Float[Tensor, "n_inst B d_sae"]:
    """Feature activations that explain outputs by the decoder alone, whatever the encoder says:
    each y without the decoder's bias as a non-negative sparse sum of the decoder's rows.

    Args:
        y: outputs, ``[B, d_out]``.

    Raises:
        ValueError: if the transcoder has a linear part, about which outputs alone say nothing.
    """
    if transcoder.W_skip is not None:
        raise ValueError("codes cannot be inferred from outputs where there is a linear part.")
    found = torch.zeros(len(transcoder), len(y), transcoder.d_sae, dtype=torch.float64)
    for one, W, b in zip(found, transcoder.W_dec.cpu(), transcoder.b_dec.cpu(), strict=True):
        norms = W.norm(dim=-1)
        usable = norms > 0
        atoms = (W[usable] / norms[usable, None]).numpy()
        L = np.linalg.cholesky(atoms @ atoms.T + RIDGE_OF_MANY * np.eye(len(atoms)))
        for h, rest in zip(one, y.cpu() - b, strict=True):
            if size := rest.norm().item():
                code, _ = sparse_code(L, atoms @ (rest / size).numpy(), RIDGE_OF_MANY)
                h[usable] = size * torch.as_tensor(code) / norms[usable]
    return found.to(transcoder.W_dec)


@exact
def dictionary_error(transcoder: Transcoder, target: Layer, x: Inputs) -> PerInstance:
    """E‖ŷ − y‖² / E‖y‖² where ŷ is what :func:`inferred_codes` make of the layer's output y.

    For an autoencoder it is the error that is left if the codes of an input are inferred rather
    than read from the encoder. For a transcoder it needs the answer, y, and only says whether the
    decoder could write it.

    Raises:
        ValueError: as for :func:`inferred_codes`, or if the layer's output is 0 on all of x.
    """
    y = outputs(target, x)
    if (size := y.square().sum(-1).mean()) == 0:
        raise ValueError("dictionary_error needs inputs on which the target's output is not 0.")
    written = inferred_codes(transcoder, y) @ transcoder.W_dec + transcoder.b_dec[:, None]
    return (written - y).square().sum(-1).mean(-1) / size
