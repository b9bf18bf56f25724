import pytest
import torch

from faithnb import ParameterError, Transcoder
from faithnb.benchmark.points import of_directions
from faithnb.common.store import StoreWarning
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.experiment import Experiment
from faithnb.matching.probes import leading
from faithnb.measures.memorization import memorization_share, state
from faithnb.model import networks
from faithnb.model.layer import LAYERS, Circuit
from faithnb.model.layers import AbsoluteValue, Identity, SmoothAbsolute
from faithnb.model.networks import GeluNetwork, Superposed, SuperposedOnce
from faithnb.model.sums import Combinations, Rotated, TwoLayers
from faithnb.model.with_point import WithPoint

X = torch.tensor([[0.5, -2.0, 0.0], [0.0, 0.0, 1.0]])
V = torch.tensor([[3.0, 5.0, 7.0], [1.0, 2.0, 4.0]])


def test_absolute_value_is_the_sum_of_its_circuits():
    target = AbsoluteValue(3)
    x = torch.randn(1000, 3, dtype=torch.float64)
    summed = sum(circuit.contribution(x) for circuit in target.circuits())
    assert (summed - target(x)).abs().max() < 1e-7
    assert [c.name for c in target.circuits()][::3] == ["ReLU(+x1)", "ReLU(−x1)"]


@pytest.mark.parametrize(
    ("kink", "at_zero", "ignored"), [("zero", 0, False), ("masked", 0, True), ("one", 1, False)]
)
def test_kink_decides_the_derivative_at_zero_and_only_there(kink, at_zero, ignored):
    target = AbsoluteValue(3, kink=kink)
    expected = torch.tensor([[1.0, -1.0, at_zero], [at_zero, at_zero, 1.0]])
    assert torch.equal(target.slope(X), expected)
    assert torch.equal(target.jacobian(X), torch.diag_embed(expected))
    assert torch.equal(target.jvp(X, V), expected * V)
    assert torch.equal(target.ignored(X), (X == 0) & ignored)


def test_kink_zero_is_what_autograd_says():
    x = X.clone().requires_grad_()
    x.abs().sum().backward()
    assert torch.equal(AbsoluteValue(3).slope(X), x.grad)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="d_in = 0"):
        AbsoluteValue(0)
    with pytest.raises(ValueError, match="kink = 'left'"):
        AbsoluteValue(3, kink="left")


P = pad_points([[1, 1, 1]], 6)[0]
P8 = pad_points([[1, 0.5, 0, 0, 0, 0, 1, 1]], 8)[0]
SUMS = [
    of(8, kink)
    for of in (Rotated, Combinations, TwoLayers)
    for kink in ("zero", "one")
]  # fmt: skip
WITH_POINT = [LAYERS[name].of_experiment(8, P8[None], "zero") for name in (
    "rotated_with_point", "combinations_with_point", "two_layers_with_point", "abs_with_pattern",
    "abs_with_strong_point",
)]  # fmt: skip
OTHERS = [
    WithPoint(6, P), WithPoint(6, P, "one"), Identity(6), Superposed.trained(6), *SUMS, *WITH_POINT
]  # fmt: skip
DIFFERENT = [*OTHERS, SmoothAbsolute(6), GeluNetwork.trained(6)]


@pytest.mark.parametrize("target", DIFFERENT, ids=lambda t: f"{t.name} {t.kink}")
def test_derivatives_of_other_layers_are_what_autograd_says(target):
    p = P if target.d_in == 6 else P8
    x = torch.cat([torch.randn(40, target.d_in), p[None]]).double()
    v = torch.randn(41, target.d_in).double()
    J = torch.stack([torch.autograd.functional.jacobian(target, row) for row in x])
    smooth = (x != 0).all(-1) if target.kink == "one" else torch.ones(len(x), dtype=torch.bool)
    assert torch.allclose(target.jacobian(x)[smooth], J[smooth], atol=1e-6)
    expected = (target.jacobian(x) @ v[..., None])[..., 0]
    assert torch.allclose(target.jvp(x, v), expected, atol=1e-6)


@pytest.mark.parametrize("target", OTHERS, ids=lambda t: f"{t.name} {t.kink}")
def test_other_layers_are_the_sum_of_their_circuits(target):
    p = (P if target.d_in == 6 else P8)[None]
    x = torch.cat([torch.randn(100, target.d_in), p, 2 * p])
    summed = sum(circuit.contribution(x) for circuit in target.circuits())
    assert (summed - target(x)).abs().max() < 1e-5


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_moves_with_all_that_it_holds_and_stays_where_it_was(name):
    layer = LAYERS[name].of_experiment(16, pad_points([[1, 1, 1]], 16), "zero")
    x = evaluation_sample(16, 0.3, 50)
    before, moved = layer(x), layer.to(torch.device("meta"))
    given = x.to("meta")
    assert moved(given).is_meta
    assert moved.jvp(given, given).is_meta
    assert all(w.is_meta for w in (*(moved.units or ()), getattr(moved, "bias", given)))
    assert torch.equal(layer(x), before)


def test_the_smooth_layer_is_near_the_kinked_one_and_flat_at_zero():
    target, x = SmoothAbsolute(3), torch.linspace(-1, 1, 201)[:, None].expand(-1, 3)
    gelu = torch.nn.functional.gelu
    assert torch.allclose(target(x), (gelu(4 * x) + gelu(-4 * x)) / 4, atol=1e-6)
    assert (target(x) - x.abs()).abs().max() < 0.1
    assert target.slope(torch.zeros(3)).abs().max() == 0
    assert not SmoothAbsolute(3, kink="masked").ignored(X).any()


def test_the_identity_has_slope_one_at_zero_too_and_two_half_lines_a_coordinate():
    for kink in ("zero", "masked", "one"):
        target = Identity(3, kink)
        assert torch.equal(target(X), X)
        assert torch.equal(target.jacobian(X), torch.eye(3).expand(2, 3, 3))
        assert torch.equal(target.jvp(X, V), V)
        assert not target.ignored(X).any()
    above, below = (torch.stack([c.contribution(X[0]) for c in some])
                    for some in (target.circuits()[:3], target.circuits()[3:]))  # fmt: skip
    assert torch.equal(above, torch.diag(torch.tensor([0.5, 0.0, 0.0])))
    assert torch.equal(below, torch.diag(torch.tensor([0.0, -2.0, 0.0])))


def test_what_the_identity_gives_is_a_tensor_of_its_own():
    x = X.clone()
    Identity(3)(x).zero_()
    assert torch.equal(x, X)


def test_a_layer_that_knows_p():
    target = WithPoint(6, P)
    assert torch.equal(target(P), 2 * P)
    expected = torch.diag(P) + torch.outer(P, P)
    assert torch.allclose(target.jacobian(P), expected)
    x = evaluation_sample(6, 0.1)
    assert ((target(x) - x.abs()).abs().amax(-1) > 0).float().mean() < 1e-3
    assert torch.equal(WithPoint(6, P, "masked").ignored(P), P == 0)


def test_the_superposed_layer_shares_its_neurons():
    target = Superposed.trained(16)
    x = evaluation_sample(16, 0.05)
    error = (target(x) - x.abs()).square().sum(-1).mean()
    computing_some_exactly = (1 - 24 / 32) * x.square().sum(-1).mean()
    assert len(target.circuits()) == 24
    assert error < 0.6 * computing_some_exactly
    assert torch.equal(Superposed.trained(16)(x), target(x))


def test_the_gelu_network_is_near_the_absolute_value_without_being_flat_at_zero():
    target = GeluNetwork.trained(8)
    x = evaluation_sample(8, 0.05)
    error = (target(x) - x.abs()).square().sum(-1).mean() / x.square().sum(-1).mean()
    slope = target.jacobian(torch.zeros(8)).diagonal()
    assert target.units[0].shape == (32, 8)
    assert error < 0.03
    assert (slope.abs() > 1e-4).all()
    assert (slope.abs() < 0.7).all()


def test_targets_by_name():
    for name in ("abs", "abs_with_point", "identity", "superposed", "smooth_abs", "gelu_network"):
        assert LAYERS[name].of_experiment(6, P[None], "zero").name == name
        assert Experiment(target=name, d_in=6).make_target().name == name
    with pytest.raises(ValueError, match="exactly one point, not 2"):
        LAYERS["abs_with_point"].of_experiment(6, torch.eye(6)[:2], "zero")


def test_leading_directions_are_those_of_the_singular_value_decomposition():
    layer, x = Superposed.trained(6), torch.tensor([[1.0, 0, 0, 0.5, 0, 0], [0.0, 0, -1, 0, 0, 0]])
    v = torch.randn(2, 6)
    found = leading(layer, x, v)
    for row, k in ((0, 2), (1, 1)):
        right = torch.linalg.svd(layer.jacobian(x[row])).Vh[:k]
        assert torch.allclose(found[row], v[row] @ right.T @ right, atol=1e-4)
    assert torch.equal(leading(AbsoluteValue(6), x, v), v * (x != 0))


def test_neurons_in_superposition_are_shared():
    used, served = Superposed.trained(16).sharing()
    assert 2 * 16 * used == pytest.approx(24 * served)  # every pair counted once from either side
    assert used > 1
    assert served > 1


def test_a_trained_layer_is_kept_and_trained_again_where_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))
    trainings = []

    def train(act, d_in, d_hidden):
        trainings.append(d_hidden)
        return torch.ones(d_hidden, d_in), torch.arange(float(d_hidden)), torch.ones(d_hidden, d_in)

    monkeypatch.setattr(networks, "_train", train)
    for _ in range(2):
        networks._kept.cache_clear()
        assert Superposed.trained(6).bias.tolist() == [*range(9)]
        assert Superposed.trained(6, "masked").kink == "masked"
    assert trainings == [9]
    networks._kept.cache_clear()
    GeluNetwork.trained(6)
    assert trainings == [9, 24]
    for file in (tmp_path / "networks").iterdir():
        file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    networks._kept.cache_clear()
    with pytest.warns(StoreWarning, match="damaged"):
        assert Superposed.trained(6).bias.tolist() == [*range(9)]
    assert trainings == [9, 24, 9]
    networks._kept.cache_clear()


def test_combinations_of_two_inputs():
    a, b, c, d = torch.rand(4, 500, dtype=torch.float64) * 2 - 1
    y = Combinations(4)(torch.stack([a, b, c, d], dim=1))
    smaller = torch.minimum(a.abs(), b.abs())
    both, beyond = (c + d - 1).relu(), (d.abs() - 0.5).relu()
    expected = [
        torch.maximum(a.abs(), b.abs()),
        a.sign() * b.sign() * smaller,
        2 * both,
        2 * beyond,
    ]
    assert torch.allclose(y, torch.stack(expected, dim=1))


def test_one_rotated_circuit_acts_on_one_direction():
    layer = Rotated(24)
    x = 1.5 * layer.units[0]
    assert torch.allclose(layer(x), layer.units[1], atol=1e-6)
    assert len(layer.circuits()) == 40


def test_each_of_two_layers_is_by_itself():
    y = TwoLayers(4)(torch.tensor([-1.0, 2, 3, -4]))
    assert y.tolist() == [0.5, 1, 3, 4]


@pytest.mark.parametrize(("kink", "slope"), [("zero", 0.0), ("masked", 0.0), ("one", 1.0)])
def test_sums_at_their_kinks(kink, slope):
    layer, x = TwoLayers(4, kink), torch.zeros(4)
    assert torch.equal(layer.jacobian(x), slope * torch.tensor([0.5, 0.5, 1, 1]).diag())
    assert torch.equal(layer.ignored(x), torch.full((4,), kink == "masked"))
    groups = Combinations(4, kink)
    at_rest = groups.ignored(x)
    assert at_rest.tolist() == [kink == "masked"] * 2 + [False] * 2


def test_a_strong_mechanism_writes_three_times_the_output_at_p():
    for layer in WITH_POINT:
        assert torch.allclose(layer(P8), 4 * layer.without(P8), atol=1e-5)
    p = torch.tensor([1.0, -1, 0.5, 0, 0, 0])
    assert torch.equal(WithPoint(6, p).circuit.write, p.abs())


def test_what_is_written_at_p_one_by_one():
    layer = Combinations(8)
    half = 0.5**0.5
    assert AbsoluteValue(8).written_at(P8) is None
    found = layer.written_at(P8)
    assert torch.allclose(found[:2, :2], torch.tensor([[half, half], [half, -half]]))
    assert found[2:].argmax(1).tolist() == [6, 7]
    assert torch.equal(WITH_POINT[1].written_at(P8), found)
    t = Transcoder.from_circuits(Rotated(24).circuits())
    p = of_directions(0, 24)
    assert state(t, Rotated(24), p) == ["generalising"]
    whole = Circuit("p", p / (p @ p), Rotated(24)(p.float()))
    t = Transcoder.from_circuits([whole])
    assert state(t, Rotated(24), p) == ["datapoint"]
    m = memorization_share(t, p, Rotated(24)(p), target=Rotated(24))
    assert m.item() == pytest.approx(1, abs=1e-5)


def test_the_layer_that_was_trained_once_is_near_what_is_trained_here():
    once, here = SuperposedOnce.trained(16), Superposed.trained(16)
    x = evaluation_sample(16, 0.05)
    assert (once(x) - here(x)).norm() < 0.2 * here(x).norm()
    assert len(once.circuits()) == 24


def test_widths_that_do_not_fit():
    for fields, sentence in (
        ({"target": "combinations", "d_in": 6}, "it must be a multiple of 4"),
        ({"target": "two_layers_with_point", "d_in": 5}, "two_layers_with_point.*multiple of 2"),
        ({"target": "rotated", "d_in": 3}, "it must be at least 4"),
        ({"target": "superposed_once", "d_in": 8}, "it must be 16"),
    ):
        with pytest.raises(ParameterError, match=sentence):
            Experiment(**fields)
    with pytest.raises(ValueError, match="d_in = 6 is not allowed: it must be a multiple of 4"):
        Combinations(6)
