import pytest
import torch
from conftest import BASIS, MADE, D, P, random_transcoder

from faithnb.measures import conjunction_share, linear_share, memorization_share
from faithnb.model.architectures import JumpReLU
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder


def jumprelu(*made, **own):
    """Features of one read, one write and one threshold each."""
    read, write, threshold = zip(*made, strict=True)
    return JumpReLU.from_arrays(
        torch.stack(read, 1), torch.zeros(len(made)), torch.stack(write), threshold=threshold, **own
    )


@pytest.mark.parametrize(
    ("name", "share"), [("generalising", 0), ("datapoint", 1), ("split", 1), ("pair", 2**0.5)]
)
def test_what_is_silent_at_each_coordinate_alone_is_a_conjunction(name, share):
    if name == "pair":  # a feature for two of them beside one for the third
        share /= 1 + share
    t = Transcoder.from_circuits(MADE[name])
    assert conjunction_share(t, P).item() == pytest.approx(share, abs=1e-6)


def test_a_sum_from_zero_on_is_none():
    t = Transcoder.from_circuits([Circuit("", P / 3, P)])
    assert memorization_share(t, P).item() == pytest.approx(1)
    assert conjunction_share(t, P).item() == 0


def test_a_gate_hides_a_conjunction_from_the_memorization():
    """Each feature writes one coordinate, and acts where two of the three are there."""
    two_of_three = [(P / 3, BASIS[j], 0.5) for j in range(3)]
    t = jumprelu(*two_of_three)
    assert t(P[None])[0, 0].tolist() == pytest.approx(P.tolist())
    assert memorization_share(t, P).item() == pytest.approx(0, abs=1e-6)
    assert conjunction_share(t, P).item() == 1
    mixed = jumprelu(two_of_three[0], (BASIS[1], 3 * BASIS[1], 0.5))
    assert conjunction_share(mixed, P).item() == pytest.approx(1 / 4)


def test_a_linear_part_is_never_silent():
    t = jumprelu((P / 3, BASIS[0], 0.5), W_skip=torch.eye(D))
    assert conjunction_share(t, P).item() == pytest.approx(1 / 4)
    assert linear_share(t, P).item() == pytest.approx(3 / 4)
    assert linear_share(random_transcoder(2, D, 9), P).tolist() == [0, 0]


def test_where_nothing_is_written_there_is_no_share():
    t = jumprelu((P / 3, BASIS[0], 2.0))
    assert conjunction_share(t, P).isnan().all()
    assert linear_share(t, P).isnan().all()
    with pytest.raises(ValueError, match="at least two coordinates"):
        conjunction_share(t, BASIS[0])


def test_the_layer_has_no_conjunction():
    circuits = AbsoluteValue(D).circuits()
    assert conjunction_share(Transcoder.from_circuits(circuits), P).item() == 0
