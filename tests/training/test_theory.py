"""The theory against numbers worked by hand, against sampling, and against its own minima."""

import math

import numpy as np
import pytest
import torch

from faithnb import measures
from faithnb.data.sampling import sample_base
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder
from faithnb.training import theory

EXACT = np.array([1.0, 0.0, 0.0, 0.0] * 2)


def weights(numbers):
    make = theory._single_features if len(numbers) == 8 else theory._with_p
    return make(torch.tensor(numbers, dtype=torch.float64))


def test_closed_forms_by_hand():
    assert [theory.saving(s) for s in (1, 2, 4)] == pytest.approx([1.345, 1.894, 1.998], abs=1e-3)
    assert theory.threshold(0.1) == pytest.approx(0.0028, abs=5e-5)
    assert theory.threshold(0.3) == pytest.approx(0.0051, abs=5e-5)
    assert theory.threshold(1) == 0
    assert theory.matching_threshold(0.1) == pytest.approx(0.0673, abs=5e-5)


def test_the_error_that_rotation_leaves_is_the_constant_of_the_threshold():
    """min over the gain of E_u (u − gain · ReLU(u − 1/3))², u uniform on (0, 1), is 5/162."""
    u = (np.arange(100_000) + 0.5) / 100_000
    moved = np.maximum(u - 1 / 3, 0)
    gain = (u @ moved) / (moved @ moved)
    assert np.mean((u - gain * moved) ** 2) == pytest.approx(5 / 162, rel=1e-6)
    assert pytest.approx(5 / 108) == 5 / 162 * 3 / 2


def test_a_memorising_jacobian_is_at_best_two_from_the_identity():
    for slope, error in ((0.2, 2.16), (1 / 3, 2.0), (0.5, 2.25)):
        assert 9 * slope**2 - 6 * slope + 3 == pytest.approx(error)
        assert np.sum((np.full((3, 3), slope) - np.eye(3)) ** 2) == pytest.approx(error)


@pytest.mark.parametrize("density", [0.1, 0.5, 1.0])
def test_quadrature_weighs_the_base_distribution(density):
    x, mass = theory._base_data(density)
    assert mass.sum().item() == pytest.approx(1)
    assert (mass @ x.square().sum(-1)).item() == pytest.approx(density)  # E‖x‖² = 3 q / 3
    assert (mass @ x).abs().max().item() < 1e-12
    everywhere = (x != 0).all(-1)
    assert mass[everywhere].sum().item() == pytest.approx(density**3)


def test_what_exact_and_silent_transcoders_cost():
    q, r, lam = 0.1, 0.2, 0.1
    exact = theory.population_loss(weights(EXACT), r, q, lam)
    of_base = 3 * q * math.log(math.cosh(1))  # ∫₀¹ tanh
    assert exact.item() == pytest.approx(lam * ((1 - r) * of_base + r * 3 * math.tanh(1)), rel=1e-9)
    silent = theory.population_loss(weights(EXACT * 0), r, q, lam)
    assert silent.item() == pytest.approx((1 - r) * q + r * 3, rel=1e-9)


def test_a_feature_for_p_by_hand():
    """At p it contributes √3 and nothing else does; on base data it is silent where t = c · 3 − 1
    and the rotated features read (u − 1/3)₊ where one coordinate is active."""
    steep = np.array([1, 1 / 3, 0, 0, 1, 0, 0, 0, 100, 299])
    at_p = theory.population_loss(weights(steep), 1.0, 0.1, 0.1)
    assert at_p.item() == pytest.approx(0.1 * math.tanh(math.sqrt(3)), rel=1e-9)
    q = 1e-4
    of_base = theory.population_loss(weights(steep), 0.0, q, 0.0).item()
    assert of_base / q == pytest.approx(3 / 2 * (1 / 81 + (2 / 3) / 9), rel=1e-2)


def test_quadrature_agrees_with_sampling():
    rng = torch.Generator().manual_seed(0)
    x = sample_base(torch.rand(400_000, 3, generator=rng, dtype=torch.float64), 0.3)
    arrays = weights([1.1, 0.2, 0.05, 0.1, 0.9, -0.1, 0.02, 0, 1, 1.5])
    made = Transcoder.from_arrays(*arrays)
    contributions = made.encode(x)[0] * made.decoder_norms()
    error = (made(x)[0] - x.abs()).square().sum(-1)
    loss = error + 0.1 * torch.tanh(contributions).sum(-1)
    found = theory.population_loss(arrays, 0.0, 0.3, 0.1).item()
    assert abs(loss.mean().item() - found) < 4 * loss.std().item() / len(x) ** 0.5


@pytest.mark.parametrize("solution", [theory.generalising, theory.memorising])
def test_a_minimum_is_one(solution):
    best = solution(0.05, 0.1, 0.1)
    rng = np.random.default_rng(0)
    for _ in range(40):
        numbers = best.numbers + rng.normal(size=len(best.numbers)) * 0.01
        numbers[[2, 6]] = np.abs(numbers[[2, 6]])
        assert theory.population_loss(weights(numbers), 0.05, 0.1, 0.1).item() > best.loss - 1e-7


def test_the_solutions_are_what_they_are_called():
    p, target = torch.ones(3), AbsoluteValue(3)
    generalising = theory.generalising(0.05, 0.1, 0.1).transcoder
    assert measures.state(generalising, target, p) == ["generalising"]
    memorising = theory.memorising(0.05, 0.1, 0.1).transcoder
    assert measures.state(memorising, target, p) == ["datapoint"]
    assert memorising.gate(p[None])[0, 0].tolist() == [False] * 6 + [True]


def test_the_line_between_them():
    r = theory.equilibrium(0.1, 0.1)
    assert theory.threshold(0.1) / 2 < r * 0.1 < 2 * theory.threshold(0.1)
    for factor, sign in ((0.8, -1), (1.25, 1)):
        better = (
            theory.generalising(factor * r, 0.1, 0.1).loss
            - theory.memorising(factor * r, 0.1, 0.1).loss
        )
        assert sign * better > 0
    assert math.isnan(theory.equilibrium(0.1, 0.0))  # without a penalty nothing is saved


@pytest.mark.parametrize(("setting", "name"), [
    ((0.05, 0.0, 0.1), "density"), ((0.05, 1.5, 0.1), "density"), ((1.5, 0.1, 0.1), "repeat_frac"),
    ((0.05, 0.1, -1.0), "sparsity_coefficient"), ((0.05, 0.1, 0.1, 0.0), "tanh_scale"),
    ((0.05, 0.1, math.nan), "sparsity_coefficient"), (("a", 0.1, 0.1), "repeat_frac"),
])  # fmt: skip
def test_a_setting_that_no_experiment_has_is_refused(setting, name):
    for solution in (theory.generalising, theory.memorising):
        with pytest.raises(ValueError, match=f"^{name} = .* is not allowed"):
            solution(*setting)
    if name != "repeat_frac":
        with pytest.raises(ValueError, match=f"^{name} = .* is not allowed"):
            theory.equilibrium(*setting[1:])
