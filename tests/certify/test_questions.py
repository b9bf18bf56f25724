"""Certificates against answers that are known on paper."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from certifiable import PLANTED, ROUNDED, WRITE, D, P, largest_sampled, random_transcoder
from hypothesis import given, settings
from hypothesis import strategies as st

from faithnb import certify
from faithnb.certify.box import box_of
from faithnb.certify.questions import error_on
from faithnb.certify.solving import Effort
from faithnb.certify.tasks import Task
from faithnb.common.errors import InputError, ParameterError
from faithnb.model.architectures import TopK
from faithnb.model.handmade import rescaled, with_linear_part
from faithnb.model.layers import AbsoluteValue, SmoothAbsolute
from faithnb.model.networks import GeluNetwork
from faithnb.model.transcoder import Transcoder
from faithnb.model.turning import turned_layer
from faithnb.model.with_point import SmoothWithPoint

L = AbsoluteValue(D)
G = Transcoder.from_circuits(L.circuits())


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))


@pytest.mark.parametrize("t", [G, with_linear_part(D)], ids=["circuits", "linear part"])
def test_a_generalising_transcoder_has_no_error_and_is_diagonal_everywhere(t):
    for support in (None, [0, 1, 2]):
        for found in (
            certify.worst_error(t, L, support),
            certify.worst_off_diagonal(t, L, support),
            certify.worst_jacobian_error(t, L, support),
            certify.mechanism_certificate(t, support, epsilon=1e-6),
        ):
            assert found.bound == pytest.approx(0, abs=1e-10), found.what
            assert found.closed
    assert found.holds is True


def test_a_planted_feature_by_hand():
    error = certify.worst_error(PLANTED, L, each=True)
    assert error.closed
    assert error.bound == pytest.approx(0.5, abs=1e-7)
    assert error.witness[:3] == pytest.approx([1, 1, 1])
    assert error.entry == (0,)
    assert error.by_output == pytest.approx(WRITE.abs().tolist(), abs=2e-7)
    slope = certify.worst_off_diagonal(PLANTED, L)
    assert slope.bound == pytest.approx(0.5, abs=1e-7)
    assert slope.entry[0] == 0
    mechanism = certify.mechanism_certificate(PLANTED, epsilon=0.4)
    assert mechanism.bound == pytest.approx(0.5, abs=1e-6)  # from 0 to 1 where x_1 = 1 stays
    assert mechanism.holds is False
    assert mechanism.witness[0][0] == mechanism.witness[1][0]
    assert certify.mechanism_certificate(PLANTED, [0, 1, 3, 4], epsilon=1e-6).holds is True
    assert certify.mechanism_certificate(PLANTED, epsilon=0.51).holds is True


def test_away_from_the_feature_there_is_no_error():
    assert certify.worst_error(PLANTED, L, [0, 1, 3]).bound == pytest.approx(0, abs=1e-10)
    low, high = torch.full((3,), -1.0), torch.tensor([1.0, 0.5, 0.5])
    assert certify.worst_error(PLANTED, L, [0, 1, 2], low, high).bound < 1e-10


def test_radius_by_hand():
    """Around p/2 = (½, ½, ½) the error at distance r is (1.5 + 3r − 2)/2: 0.1 at r = 0.7/3."""
    found = certify.faithful_radius(PLANTED, L, P / 2, 0.1)
    assert found.closed
    assert found.bound == pytest.approx(0.7 / 3, abs=1e-6)
    assert found.bound <= found.value <= found.bound + 2e-6
    slope = certify.faithful_radius(PLANTED, L, P / 2, 0.1, "jacobian")
    assert slope.bound == pytest.approx(0.5 / 3, abs=1e-4)
    everywhere = certify.faithful_radius(G, L, P, 0.1, limit=3.0)
    assert (everywhere.bound, everywhere.value, everywhere.closed) == (3.0, float("inf"), True)
    at_p = certify.faithful_radius(PLANTED, L, P, 0.1)
    assert at_p.bound <= 1e-6


def test_ranges_by_hand():
    found = certify.activation_range(PLANTED, [0, 1, 2])
    assert found.closed
    np.testing.assert_allclose(found.high, [1, 1, 1, 0, 0] * 2 + [1], atol=1e-9)
    np.testing.assert_allclose(found.low, np.zeros(11), atol=1e-9)
    near = certify.activation_range(PLANTED, [0, 1, 2], -0.25, 0.125, P)
    np.testing.assert_allclose(near.low[[0, -1]], [0.75, 0.25], atol=1e-9)
    np.testing.assert_allclose(near.high[[0, -1]], [1.125, 1.375], atol=1e-9)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_order_and_scale_of_features_change_nothing(seed):
    t = random_transcoder(4 * seed).in_float64()  # of ReLUs
    t.b_dec.data.zero_()
    layer = AbsoluteValue(t.d_in)
    for ask in (certify.worst_error, certify.worst_jacobian_error):
        one, other = ask(t, layer), ask(rescaled(t), layer)
        assert one.bound == pytest.approx(other.bound, rel=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_a_box_of_one_point_gives_the_value_there(seed):
    t = random_transcoder(seed)
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, t.d_in))
    found = certify.worst_error(t, AbsoluteValue(t.d_in), None, 0.0, 0.0, x)
    error = (t.in_float64()(x[None])[0, 0] - x.abs()).abs().max().item()
    assert found.value == pytest.approx(error, abs=1e-12)
    assert found.dual_bound == pytest.approx(error, abs=min(found.slack, 1e-12))
    assert found.bound == max(found.dual_bound + found.slack, found.value)
    assert found.closed


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]])
def test_at_a_tie_of_ranks_every_order_counts(order):
    """At x = 1 three features have z = 1, and one has z = 2; two of the four are kept. So with the
    largest one comes 3, −4 or 0, and |x| = 1 is missing."""
    write = torch.tensor([10.0, 3, -4, 0])[order]
    read, bias = torch.tensor([[2.0, 1, 0.5, 3]])[:, order], torch.tensor([0.0, 0, 0.5, -2])[order]
    t, layer = TopK.from_arrays(read, bias, write[:, None], k=2), AbsoluteValue(1)
    one = torch.ones(1)
    found = certify.worst_error(t, layer, None, 0.0, 0.0, one)
    assert found.dual_bound == pytest.approx(20 + 3 - 1, abs=1e-12)
    assert found.bound == found.dual_bound + found.slack
    assert found.value in (22, 19, 15)  # whichever the transcoder keeps itself
    assert found.closed == (found.value == 22)
    near = certify.worst_error(t, layer, None, -1e-3, 1e-3, one)
    assert found.bound <= near.bound <= found.bound + 0.1
    ranges = certify.activation_range(t, None, 0.0, 0.0, one)
    assert sorted(ranges.low) == pytest.approx([0, 0, 0, 2], abs=1e-11)
    assert sorted(ranges.high) == pytest.approx([1, 1, 1, 2], abs=1e-11)


TRANSCODERS = {
    "circuits": (G, [0, 1, 2]), "planted": (PLANTED, [0, 1, 2]), "planted on all": (PLANTED, None),
    "linear part": (with_linear_part(D), None),
    **{f"random {seed}": (random_transcoder(seed), None) for seed in range(16)},
}  # fmt: skip


@pytest.mark.parametrize(("t", "support"), TRANSCODERS.values(), ids=TRANSCODERS)
def test_no_sample_of_a_million_exceeds_a_certificate_and_its_witness_attains_it(t, support):
    """A sample may be rounded across a jump or kink, but only onto another value or slope that the
    certificate allows for there."""
    layer = AbsoluteValue(t.d_in)
    some = list(range(t.d_in)) if support is None else support
    found = certify.worst_error(t, layer, support, workers=1)
    assert found.closed
    assert found.dual_bound - found.value <= 1e-6
    sampled = largest_sampled(lambda x: t(x)[0] - layer(x), some, t.d_in)
    assert sampled <= found.bound + ROUNDED
    slope = certify.worst_jacobian_error(t, layer, support, workers=1)

    def slopes(x):
        return (t.jacobian(x)[0] - layer.jacobian(x))[..., some]

    assert largest_sampled(slopes, some, t.d_in) <= slope.bound + ROUNDED


NETWORK = torch.Generator().manual_seed(1)
SMOOTH = {
    "smooth_abs": SmoothAbsolute(3),
    "turned": turned_layer(SmoothAbsolute(3), 2),
    "with a point": SmoothWithPoint(3, torch.ones(3)),
    "gelu": GeluNetwork(
        *(torch.randn(s, generator=NETWORK) for s in ((6, 3), (6,), (6, 3)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("layer", SMOOTH.values(), ids=SMOOTH)
def test_a_smooth_layer_is_bounded_from_above_and_nearly_attained(layer):
    """Its chords are off by a thousandth of a unit's scale, here at most .02 in all."""
    for seed in (3, 4):
        t = Transcoder.random([seed], 3, 5, 3)
        found = certify.worst_error(t, layer, workers=1)
        sampled = largest_sampled(lambda x, t=t: t(x)[0] - layer(x), [0, 1, 2], 3)
        assert sampled <= found.bound + ROUNDED
        assert found.value <= found.bound <= found.value + 0.02
        near = certify.faithful_radius(t, layer, torch.ones(3), found.bound / 2)
        assert 0 <= near.bound < near.value


def test_a_time_limit_leaves_a_bound_that_is_valid_and_not_closed():
    t = Transcoder.random([0], 6, 40, 6)
    t.b_enc.data.uniform_(-0.3, 0.3)
    layer = AbsoluteValue(6)
    found, all_of_it = (certify.worst_error(t, layer, time_limit=s) for s in (1e-9, 60.0))
    assert not found.closed
    assert all_of_it.closed
    assert all_of_it.value <= found.bound < float("inf")
    assert found.gap == pytest.approx(found.dual_bound - found.value)


def test_a_number_of_boxes_leaves_the_same_bound_on_every_run(monkeypatch):
    """However long it takes, and nothing is solved that a clock could end."""
    t, layer = Transcoder.random([0], 6, 40, 6), AbsoluteValue(6)
    t.b_enc.data.uniform_(-0.3, 0.3)
    found = [certify.worst_error(t, layer, most_boxes=n) for n in (50, 50, 200, 5000)]
    assert found[0].bound == found[1].bound >= found[2].bound >= found[3].bound
    assert [c.closed for c in found] == [False, False, False, True]
    assert max(c.value for c in found) <= min(c.bound for c in found)
    ties, few = random_transcoder(3, 4, 12), {"most_boxes": 8}
    asked = {
        "leak": lambda: certify.mechanism_certificate(t, **few),
        "slope": lambda: certify.worst_jacobian_error(ties, AbsoluteValue(ties.d_in), **few),
        "radius": lambda: certify.faithful_radius(t, layer, torch.ones(6), 0.5, **few),
        "error": lambda: certify.worst_error(ties, AbsoluteValue(ties.d_in), **few),
    }
    for name, ask in asked.items():
        monkeypatch.setattr("time.perf_counter", lambda: 0.0)
        one = ask()
        monkeypatch.setattr("time.perf_counter", iter(np.arange(1e9, 2e9, 1e3)).__next__)
        assert one.bound == ask().bound, name
        assert one.programs == 0, name


@pytest.mark.parametrize("workers", [1, 2])
def test_programs_that_were_solved_are_kept(workers, monkeypatch):
    monkeypatch.setattr("faithnb.certify.tasks.ALONE", 0.0)
    t = random_transcoder(3, 4, 12)
    layer, exact = AbsoluteValue(t.d_in), t.in_float64()
    box = box_of(t.d_in, None, -1.0, 1.0, None)
    first = error_on(exact, layer, box, Effort(600, workers, most_boxes=8, each=True))
    assert first.programs > 1
    assert first.closed
    assert first.dual_bound == pytest.approx(certify.worst_error(t, layer).dual_bound, abs=1e-6)

    def refuse(*args):
        raise AssertionError

    monkeypatch.setattr(Task, "solve", refuse)
    again = error_on(exact, layer, box, Effort(600, 1, most_boxes=8, each=True))
    assert (again.bound, again.witness) == (first.bound, first.witness)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"low": 1.0, "high": -1.0}, "the box would be empty"),
        ({"support": []}, "one or more different coordinates from 0 to 4"),
        ({"support": [5]}, "one or more different coordinates from 0 to 4"),
        ({"support": [1, 1]}, "one or more different coordinates from 0 to 4"),
        ({"low": [0.0, 0.0]}, "or one for each of the 5 coordinates that vary"),
        ({"low": float("nan")}, "not finite"),
        ({"high": [float("inf")] * 5}, "finite"),
        ({"time_limit": 0}, "above 0 seconds"),
        ({"workers": 0}, "1 or more"),
        ({"most_boxes": 0}, "most_boxes = 0 is not allowed: it must be 1 or more"),
        ({"around": torch.zeros(4)}, "shape"),
    ],
)
def test_bad_input_gets_one_sentence(asked, sentence):
    with pytest.raises((InputError, ParameterError), match=sentence) as error:
        certify.worst_error(G, L, **asked)
    assert "\n" not in str(error.value)


def test_questions_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="a smooth layer is not allowed"):
        certify.worst_off_diagonal(G, SmoothAbsolute(D))
    with pytest.raises(ValueError, match="d_out = 4: they must be equal"):
        certify.worst_error(Transcoder.random([0], D, 3, 4), L)
    with pytest.raises(InputError, match="epsilon = -0.1"):
        certify.mechanism_certificate(G, epsilon=-0.1)
    with pytest.raises(InputError, match="no coordinate varies"):
        certify.worst_off_diagonal(G, L, low=0.0, high=0.0)
    with pytest.raises(InputError, match="not be a topk"):
        certify.mechanism_certificate(random_transcoder(3))
    with pytest.raises(InputError, match="tolerance = 0"):
        certify.faithful_radius(G, L, P, 0.0)


def test_rounding_where_large_biases_cancel_is_in_the_bound():
    """Features whose kinks all go through p, on a small box around it, in exact arithmetic."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, read, write = (
            rng.uniform(-1, 1, 3),
            1e6 * rng.normal(size=(3, 4)),
            rng.normal(size=(4, 3)),
        )
        weights = (read, 10 * rng.normal(size=4) - p @ read, write)
        t = Transcoder.from_arrays(*(torch.from_numpy(w) for w in weights))
        layer = AbsoluteValue(3)
        found = certify.worst_error(t, layer, None, -1e-5, 1e-5, torch.from_numpy(p), workers=1)
        x, bias = [Fraction(v) for v in found.witness], [Fraction(v) for v in weights[1].tolist()]
        y = [-abs(v) for v in x]
        for i in range(4):
            z = bias[i] + sum(Fraction(float(read[k, i])) * x[k] for k in range(3))
            y = [v + max(z, 0) * Fraction(float(write[i, j])) for j, v in enumerate(y)]
        assert max(map(abs, y)) <= found.bound
