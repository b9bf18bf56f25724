"""What sampling and climbing find, beside what is proved."""

import pytest
import torch
from certifiable import PLANTED, D, P, random_transcoder

from faithnb.certify import sampled_error, worst_error
from faithnb.common.errors import InputError
from faithnb.model.layers import AbsoluteValue


@pytest.mark.parametrize("seed", range(12))
def test_nothing_found_exceeds_the_proof(seed):
    t = random_transcoder(seed)
    layer = AbsoluteValue(t.d_in)
    found, proved = sampled_error(t, layer, n=2000), worst_error(t, layer)
    assert found.drawn <= found.climbed <= proved.bound
    assert found.climbed >= 0.9 * proved.value
    at = torch.from_numpy(found.witness)
    assert float((t.double()(at[None])[0] - layer(at[None])).abs().max()) == pytest.approx(
        found.climbed, abs=1e-6
    )


def test_climbing_reaches_a_corner_that_no_draw_hits():
    found = sampled_error(PLANTED, AbsoluteValue(D), support=[0, 1, 2], n=200, climbers=10)
    assert found.drawn < 0.5
    assert found.climbed == pytest.approx(0.5)
    assert found.witness == pytest.approx(P.numpy())


def test_a_box_around_a_point_and_a_single_point():
    near = sampled_error(PLANTED, AbsoluteValue(D), [0, 1, 2], low=-0.1, high=0.0, around=P, n=100)
    assert near.climbed == pytest.approx(0.5)
    assert (near.witness[:3] >= 0.9).all()
    alone = sampled_error(PLANTED, AbsoluteValue(D), [0], low=0.0, high=0.0, around=P, n=1)
    assert alone.drawn == alone.climbed == pytest.approx(0.5)


def test_the_seed_decides():
    a, b, c = (sampled_error(PLANTED, AbsoluteValue(D), n=50, seed=s).drawn for s in (1, 1, 2))
    assert a == b != c


def test_it_refuses_to_find_nothing():
    with pytest.raises(InputError, match="n = 0 is not allowed: it must be at least 1"):
        sampled_error(PLANTED, AbsoluteValue(D), n=0)
    with pytest.raises(InputError, match="climbers = 0 is not allowed"):
        sampled_error(PLANTED, AbsoluteValue(D), climbers=0)
