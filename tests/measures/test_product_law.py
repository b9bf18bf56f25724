"""Whether it is the product that counts."""

import numpy as np
import pytest
import xarray as xr

from faithnb.measures.product_law import ratio, slope, slopes

R = [0.0, *np.geomspace(0.005, 0.3, 8)]
LAMBDA = [0.0, *np.geomspace(0.003, 0.5, 8)]


def scan(b_r, b_lambda, n_seeds=20):
    """Who memorizes by the law with these slopes."""
    r, lam = np.log(np.maximum(np.meshgrid(R, LAMBDA, indexing="ij"), 1e-9))
    u = np.random.default_rng(0).random((len(R), len(LAMBDA), n_seeds))
    logit = np.clip(b_r * (r + 3.2) + b_lambda * (lam + 3.2), -50, 50)
    return xr.DataArray(
        u < 1 / (1 + np.exp(-logit))[..., None],
        dims=("repeat_frac", "sparsity_coefficient", "seed"),
        coords={"repeat_frac": R, "sparsity_coefficient": LAMBDA, "seed": range(n_seeds)},
    )


@pytest.mark.parametrize("b_r", [2.0, 4.0])
def test_the_ratio_of_the_slopes_is_found_with_its_interval(b_r):
    found = slopes(scan(b_r, 2.0))
    value, (low, high) = ratio(*found)
    assert value == pytest.approx(b_r / 2, rel=0.2)
    assert low < value < high
    assert low < b_r / 2 < high
    for k, true in ((1, b_r), (2, 2.0)):
        value, (low, high) = slope(*found, k)
        assert value == pytest.approx(true, rel=0.3)
        assert low < value < high


def test_cells_below_a_coefficient_are_left_out():
    hit = scan(2.0, 2.0)
    above = hit.sel(sparsity_coefficient=hit.sparsity_coefficient > 0.02)
    np.testing.assert_array_equal(slopes(hit, smallest=0.02)[0], slopes(above)[0])


def test_where_nothing_memorizes_there_is_no_ratio():
    found = slopes(scan(2.0, 2.0) & False)
    assert np.isnan(ratio(*found)[0])
    assert np.isnan(slope(*found, 1)[0])
    assert np.isnan(slope(*found, 1)[1]).all()


def test_a_ratio_to_a_slope_that_may_be_0_is_none():
    assert np.isnan(ratio(*slopes(scan(2.0, -0.3)))[0])
