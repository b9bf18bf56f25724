"""Whether it is the product of repetition and sparsity that counts: slopes of a logistic regression
logit P(memorized) = a + b_r log r + b_λ log λ over the cells of a scan."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from faithnb.measures.stats import logit_slopes, resampled_slopes

Fit = Float[np.ndarray, "3"]
Resampled = Float[np.ndarray, "n 3"]
Interval = tuple[float, float]


def slopes(hit: xr.DataArray, smallest: float = 0.0) -> tuple[Fit, Resampled]:
    """a, b_r and b_λ over the cells with r > 0 and λ > ``smallest``, and those of resampled seeds.

    Args:
        hit: which transcoders memorized, over (repeat_frac, sparsity_coefficient, seed).
        smallest: cells up to this λ are left out.
    """
    inner = hit.sel(repeat_frac=hit.repeat_frac > 0)
    inner = inner.sel(sparsity_coefficient=hit.sparsity_coefficient > smallest)
    cells = inner.stack(cell=("repeat_frac", "sparsity_coefficient")).transpose("cell", "seed")
    logs = np.log(np.stack([cells.repeat_frac, cells.sparsity_coefficient], axis=1))
    return logit_slopes(cells.values, logs), resampled_slopes(cells.values, logs)


def slope(fit: Fit, resampled: Resampled, k: int) -> tuple[float, Interval]:
    """b_r (k = 1) or b_λ (k = 2) with its 95 % interval over seeds."""
    if not len(resampled):
        return fit[k], (np.nan, np.nan)
    low, high = np.quantile(resampled[:, k], [0.025, 0.975])
    return fit[k], (low, high)


def ratio(fit: Fit, resampled: Resampled) -> tuple[float, Interval]:
    """b_r / b_λ with its 95 % interval over seeds: 1 if only the product counts. NaN where b_λ may
    as well be 0 or less."""
    r, lam = resampled[:, 1:].T if len(resampled) else np.zeros((2, 0))
    if not np.isfinite(fit).all() or fit[2] <= 0 or np.sum(lam > 0) < 0.95 * max(len(lam), 1):
        return np.nan, (np.nan, np.nan)
    low, high = np.quantile(r[lam > 0] / lam[lam > 0], [0.025, 0.975])
    return fit[1] / fit[2], (low, high)
