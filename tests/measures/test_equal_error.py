"""Comparisons at the same error."""

import numpy as np
import pytest

from faithnb.measures.equal_error import overlapping, pairs


def test_arms_are_compared_where_each_reaches():
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
