"""Comparisons at the same error."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from faithnb.measures.equal_error import (
    at_same_error,
    overlapping,
    pairs,
    partners,
    where_equal,
)


def test_conditions_are_compared_where_each_reaches():
    first, second = overlapping([0.1, 0.2, 0.4, np.nan], [0.15, 0.3])
    assert first.tolist() == [False, True, False, False]
    assert second.tolist() == [True, True]
    found = overlapping([1, 2, 3], [2, 3, 4], [0, 2.5, 5])
    assert [v.tolist() for v in found] == [
        [False, True, True], [True, True, False], [False, True, False],
    ]  # fmt: skip
    assert [v.tolist() for v in overlapping([1, 2], [3, 4])] == [[False] * 2] * 2
    assert [v.tolist() for v in overlapping([1, 2], [])] == [[False] * 2, []]
    assert overlapping() == []
    assert [v.tolist() for v in overlapping([1, 2], [np.nan])] == [[False] * 2, [False]]


def test_a_bound_leaves_out_what_fails():
    first, second = overlapping([0.05, 0.1, 0.2], [0.01, 0.3], below=0.1)
    assert first.tolist() == [True, False, False]
    assert second.tolist() == [False, False]


def test_pairs_take_each_partner_once():
    first, second = pairs([1.0, 1.01, 10.0], [1.2, 1.0, 9.0, 5.0])
    assert list(zip(first, second, strict=True)) == [(0, 1), (1, 0), (2, 2)]
    first, second = pairs([1.0], [1.3])
    assert len(first) == len(second) == 0
    first, second = pairs([1.0, np.nan], [np.nan, 1.1])
    assert (first.tolist(), second.tolist()) == ([0], [1])
    assert [len(v) for v in pairs([], [])] == [0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_partners_are_within_the_factor(seed):
    a, b = np.random.default_rng(seed).lognormal(size=(2, 40))
    first, second = pairs(a, b, 1.1)
    assert 0 < len(first) < 40
    assert len(set(second.tolist())) == len(second)
    assert (np.abs(np.log(a[first] / b[second])) < np.log(1.1)).all()


def test_places_in_a_table_at_the_same_error():
    table = xr.Dataset(
        {"fvu": ("inst", [0.1, 0.15, 0.2, 0.3, 0.4, np.nan])},
        coords={"kind": ("inst", ["a", "b", "a", "b", "a", "b"])},
    )
    b, a = at_same_error(table, "kind", ["b", "a"])
    assert (a.tolist(), b.tolist()) == ([2], [1, 3])
    first, second = (np.array(v, dtype=bool) for v in ([1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]))
    one, other = partners(table.fvu.values, first, second, factor=1.4)
    assert list(zip(one, other, strict=True)) == [(2, 1), (4, 3)]


def test_a_ladder_is_read_where_another_condition_lies_and_not_beyond():
    l0 = pd.DataFrame({8: [64.0, 4, 16], 9: [81.0, 1, 9]})
    rungs = [pd.DataFrame({"l0": row, "error": 3 * row**-0.5}) for _, row in l0.iterrows()]
    other = pd.DataFrame({"l0": [27.0, 200.0], "error": 0.0}, index=[9, 8])
    found = where_equal(rungs, other, "l0", ["error", "l0"])
    assert found.index.tolist() == [9, 8]
    assert found.loc[9].tolist() == pytest.approx([3 / 27**0.5, 27])
    assert found.loc[8].isna().all()
    other.loc[8, "l0"] = 64.0  # the end itself is reached
    assert where_equal(rungs, other, "l0", ["error"]).at[8, "error"] == pytest.approx(3 / 8)
