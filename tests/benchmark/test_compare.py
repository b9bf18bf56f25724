"""Recipes at equal L0 and at equal FVU, where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from faithnb import InputError
from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.compare import comparisons, difference

SEEDS = 16


def swept(shift=0.0, at=(1.0, 2.0, 4.0), noise=0.0, seeds=SEEDS, name="a"):
    """A recipe whose mechanism error is log2 of its L0, and whose FVU is 1 / L0."""
    draw = np.random.default_rng(len(name))
    rows = []
    for seed in range(seeds):
        for l0 in at:
            row = dict.fromkeys(COLUMNS, np.nan) | {
                "recipe": name, "task": "t", "seed": seed, "failed": "", "l0": l0, "fvu": 1 / l0,
                "mechanism_error": np.log2(l0) + shift + noise * draw.standard_normal(),
                "circuit_match": np.log2(l0) + shift,
            }  # fmt: skip
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("axis", ["l0", "fvu"])
def test_points_of_other_sparsities_are_compared_where_they_are_equal(axis):
    same = difference(swept(), swept(at=(1.5, 3.0, 6.0)), "mechanism_error", axis)
    assert same.mean == pytest.approx(0, abs=1e-12)
    assert not same.decided
    shifted = difference(swept(0.3), swept(at=(1.5, 3.0, 6.0)), "mechanism_error", axis)
    assert shifted.mean == pytest.approx(0.3)
    assert shifted.decided
    assert shifted.seeds == SEEDS


def test_a_small_difference_in_much_noise_is_not_decided():
    noisy = [swept(0.01, noise=1.0, name="a"), swept(noise=1.0, name="bc")]
    found = difference(*noisy, "mechanism_error", "l0")
    assert not found.decided
    assert found.low < 0 < found.high
    assert found.decidable > 0.1
    large = [swept(3.0, noise=0.1, name="a"), swept(noise=0.1, name="bc")]
    assert difference(*large, "mechanism_error", "l0").decided


def test_few_seeds_decide_nothing():
    found = difference(swept(1, seeds=8), swept(seeds=8), "mechanism_error", "l0")
    assert found.low > 0
    assert not found.decided


def test_where_they_are_never_equal_nothing_is_said():
    found = difference(swept(), swept(at=(8.0, 16.0)), "mechanism_error", "l0")
    assert found.seeds == 0
    assert np.isnan(found.mean)
    assert not found.decided


def test_a_seed_that_failed_is_left_out():
    broken = swept()
    broken.loc[broken.seed == 3, "failed"] = "why"
    broken.loc[broken.seed == 3, "mechanism_error"] = np.nan
    assert difference(broken, swept(), "mechanism_error", "l0").seeds == SEEDS - 1


def test_a_seed_for_which_the_column_is_not_defined_is_left_out():
    lacking = swept()
    lacking.loc[(lacking.seed == 3) & (lacking.l0 == 2), "mechanism_error"] = np.nan
    assert difference(lacking, swept(), "mechanism_error", "l0").seeds == SEEDS - 1
    above = swept(at=(3.0, 4.0))  # is never compared where it is not defined
    lacking.loc[lacking.l0 == 1, "circuit_match"] = np.nan
    assert difference(lacking, above, "circuit_match", "l0").seeds == SEEDS


def test_another_axis_is_refused():
    with pytest.raises(InputError, match="axis = 'mse' is not allowed"):
        difference(swept(), swept(), "mechanism_error", "mse")


def test_all_pairs_and_which_is_better():
    rows = pd.concat([swept(0.5, name="high"), swept(name="low"), swept(name="same")])
    found = comparisons(rows, "l0", ["mechanism_error", "circuit_match"])
    assert len(found) == 6
    of = found.set_index(["first", "second", "column"])
    assert of.loc[("high", "low", "mechanism_error"), "better"] == "low"
    assert of.loc[("high", "low", "circuit_match"), "better"] == "high"
    assert of.loc[("low", "same", "mechanism_error"), "better"] == ""
