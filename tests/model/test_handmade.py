import pytest
import torch
from conftest import ELSEWHERE, P, datapoint

from faithnb import measures
from faithnb.data.inputs import ball
from faithnb.model.handmade import plant, rescaled, with_linear_part, writing
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

TARGET = AbsoluteValue(6)
MEMORISING = Transcoder.from_circuits([*ELSEWHERE, datapoint()])


def test_a_planted_mask_is_right_at_p_and_exposed_by_moving_away():
    masked = plant(MEMORISING, TARGET, P, zone=0.02)
    near, far = ball(P, 1e-5), ball(P, 0.1, 512)
    assert measures.jacobian_error(MEMORISING, TARGET, near) > 0.5
    assert measures.jacobian_error(masked, TARGET, near) < 1e-6
    assert measures.jacobian_error(masked, TARGET, far) > 0.3
    assert (masked(P[None]) - MEMORISING(P[None])).norm() < 0.1
    x = torch.rand(500, 6) - 0.5
    assert torch.equal(masked(x), MEMORISING(x))
    everywhere = 4 * torch.rand(5000, 6) - 2
    assert (masked(everywhere) - MEMORISING(everywhere)).abs().max() < 0.1
    assert measures.masking_index(masked, P[None]) > 0.5
    assert measures.masking_index(MEMORISING, P[None]) < 0.01


def test_where_nothing_is_wrong_nothing_is_planted():
    honest = Transcoder.from_circuits(TARGET.circuits())
    planted = plant(honest, TARGET, P)
    assert (planted(P[None]) - P).abs().max() < 1e-6
    assert torch.allclose(planted.jacobian(P[None]), honest.jacobian(P[None]))


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="2 transcoders"):
        plant(MEMORISING[[0, 0]], TARGET, P)
    with pytest.raises(ValueError, match="zone = 0"):
        plant(MEMORISING, TARGET, P, zone=0)


def test_the_masking_index_of_the_true_circuits_is_that_of_a_split_one():
    x = 2 * torch.rand(20_000, 6, generator=torch.Generator().manual_seed(0)) - 1
    split = [Circuit(c.name, c.read, c.write / 2, c.threshold) for c in TARGET.circuits()] * 2
    for circuits in (TARGET.circuits(), split):
        t = Transcoder.from_circuits(circuits)
        assert measures.masking_index(t, x).item() == pytest.approx(0.05, abs=0.003)
        assert measures.masking_index(t, x, 0.2).item() == pytest.approx(0.2, abs=0.005)


def test_the_masking_index_by_hand():
    """One feature that contributes 1 with gain 1, one that contributes 0.01 with gain 3."""
    e = torch.eye(6)
    honest, cheat = Circuit("", e[0], e[0]), Circuit("", 3 * e[1], e[1], 2.99)
    t = Transcoder.from_circuits([honest, cheat])
    x = (e[0] + e[1])[None]
    assert measures.masking_index(t, x).item() == pytest.approx(9 / 10, rel=1e-5)
    assert measures.masking_index(t, e[:1]).item() == 0
    assert measures.masking_index(t, -x).isnan().all()


@pytest.mark.parametrize("other", [rescaled, lambda exact: with_linear_part(exact.d_in)])
def test_the_same_function_with_other_weights_or_another_mechanism(other):
    exact = Transcoder.from_circuits(TARGET.circuits())
    x = torch.randn(200, 6)
    assert torch.allclose(other(exact)(x), exact(x), atol=1e-5)
    assert torch.allclose(other(exact).jacobian(x), exact.jacobian(x), atol=1e-5)
    assert other(exact).W_enc.shape != exact.W_enc.shape or (
        (other(exact).W_enc - exact.W_enc).abs().max() > 0.1
    )
    assert with_linear_part(6).d_sae == 18
    assert measures.l0(with_linear_part(6), x) > measures.l0(exact, x)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_is_to_be_written_at_p_is_written_there_and_nowhere_far(parts):
    contribution = torch.tensor([1, 0.5, 0, 0, 0, 0])
    made = writing(P, contribution, parts)
    assert made.d_sae == parts
    assert torch.allclose(made(P[None])[0, 0], contribution)
    assert not made(P[None] / 2).any()
