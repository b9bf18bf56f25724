"""The inputs at which transcoders are looked at."""

import pytest
import torch
from conftest import D, P

from faithnb.data.inputs import (
    ball,
    in_proportion,
    ray,
    sign_flips,
    subsets,
    with_active,
    without_one,
)
from faithnb.data.sampling import evaluation_sample


def test_the_ball_keeps_the_zeros_of_p():
    assert (ball(P)[:, 3:] == 0).all()
    assert ((ball(P) - P).abs().max() - 1e-3).abs() < 1e-4


def test_subsets_are_all_but_the_empty_one_and_p():
    assert subsets(P).sum(-1).tolist() == [1, 1, 1, 2, 2, 2]
    assert len(subsets(torch.tensor([0.0, 1.0]))) == 0
    with pytest.raises(ValueError, match="at most 10"):
        subsets(torch.ones(11))


def test_sign_flips_and_the_ray():
    assert sign_flips(P).shape == (7, D)
    assert (sign_flips(P).abs() == P).all()
    assert not (sign_flips(P) == P).all(1).any()
    assert len(sign_flips(P).unique(dim=0)) == 7
    assert torch.allclose(ray(P, 4), torch.tensor([0.5, 1.0, 1.5, 2.0])[:, None] * P)
    with pytest.raises(ValueError, match="at most 10"):
        sign_flips(torch.ones(11))


def test_a_point_comes_in_its_proportion():
    x, p = torch.rand(90, 4), torch.tensor([1.0, 1.0, 0.0, 0.0])
    mixed = in_proportion(x, p, 0.1)
    assert len(mixed) == 100
    assert torch.equal(mixed[:90], x)
    assert (mixed[90:] == p).all()
    assert torch.equal(in_proportion(x, p, 0.0), x)
    with pytest.raises(ValueError, match="repeat_frac = 1 is not allowed"):
        in_proportion(x, p, 1.0)


def test_without_one_removes_one_coordinate_that_was_there():
    x = evaluation_sample(D, 0.3)[:500]
    kept, changed = without_one(x)
    assert len(kept) == (x != 0).any(1).sum()
    assert ((kept != 0).sum(1) - (changed != 0).sum(1) == 1).all()
    assert ((kept != changed).sum(1) == 1).all()
    assert torch.equal(without_one(x)[1], changed)
    full = torch.ones(400, D)
    taken = (without_one(full)[1] == 0).float().mean(0)
    assert ((taken - 1 / D).abs() < 0.1).all()


@pytest.mark.parametrize("k", [1, 2, 4])
def test_so_many_coordinates_are_active(k):
    x = with_active(D, k, n=300)
    assert x.shape == (300, D)
    assert ((x != 0).sum(1) == k).all()
    size = x[x != 0].abs()
    assert size.min() >= 0.5
    assert size.max() <= 1
    assert 0.3 < (x > 0).sum() / (x != 0).sum() < 0.7
    assert ((x != 0).float().mean(0) > 0).all()
    assert not torch.equal(x, with_active(D, k, n=300, seed=1))
