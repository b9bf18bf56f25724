"""Three methods, which share nothing but the function: they agree."""

from itertools import combinations

import numpy as np
import pytest
from certifiable import random_transcoder

from faithnb.certify.box import box_of
from faithnb.certify.enumeration import largest_output, largest_slope, regions
from faithnb.certify.piecewise import Piecewise
from faithnb.certify.questions import error_problem, jacobian_problem
from faithnb.certify.solving import Effort, largest, task_of
from faithnb.certify.splitting import Splitting, lines, ranks
from faithnb.model.layers import AbsoluteValue


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("FAITHNB_STORE", str(tmp_path))


def by_programs(problem):
    whole = -np.ones(problem.m), np.ones(problem.m)
    every = (task_of(problem, j, whole, -np.inf).solve(60) for j in range(problem.n_goals))
    return max(solved.dual_bound for solved in every)


def problem_of(seed):
    t = random_transcoder(seed).in_float64()
    layer, box = AbsoluteValue(t.d_in), box_of(t.d_in, None, -1.0, 1.0, None)
    return error_problem(t, layer, box), jacobian_problem(t, layer, box, 1e-5, True)[0]


@pytest.mark.parametrize("seed", range(100, 116))
def test_splitting_programs_and_enumeration_agree(seed):
    error, slope = problem_of(seed)
    found = largest(error, Effort(60, 1)).dual.max()
    assert found == pytest.approx(largest_output(error.f, error.goals), abs=1e-6)
    assert found == pytest.approx(by_programs(error), abs=1e-6)
    found = largest(slope, Effort(60, 1)).dual.max()
    enumerated = largest_slope(slope.f, slope.weight, slope.offset, 1e-5)
    assert found == pytest.approx(enumerated, abs=1e-6)
    assert found == pytest.approx(by_programs(slope), abs=1e-6)


def test_regions_of_planes_by_hand():
    """Three lines in general position within the square cut it into seven parts."""
    read = np.array([[1.0, 0], [0, 1.0], [1.0, 1.0]])
    none = np.zeros((3, 0))
    f = Piecewise(read, np.array([0, 0, 0.3]), np.zeros(3), none, np.zeros((0, 2)), np.zeros(0))
    assert len(list(regions(f))) == 7
    through = Piecewise(read, np.zeros(3), np.zeros(3), none, np.zeros((0, 2)), np.zeros(0))
    assert len(list(regions(through))) == 6


def test_lines_are_on_the_right_side_of_units_and_of_jumps():
    rng = np.random.default_rng(0)
    low, width = rng.uniform(-2, 1, (500, 1)), rng.uniform(0.01, 2, (500, 1))
    for threshold in (0.0, 0.4):
        zero = np.zeros((1, 1))
        f = Piecewise(zero, zero[0], np.array([threshold]), zero, zero, zero[0])
        z = low + width * np.linspace(0, 1, 101)
        h = np.where(z > threshold, z, 0)
        for above in (True, False):
            slope, shift, _ = lines(low, low + width, f, np.full((500, 1), above))
            gap = slope * z + shift - h
            assert (gap if above else -gap).min() > -1e-12


def test_ranks_by_hand():
    kept, out = ranks(np.array([[3.0, 1, 0, -1]]), np.array([[4.0, 2, 1.5, 0.5]]), 2)
    assert kept.tolist() == [[True, False, False, False]]
    assert out.tolist() == [[False, False, False, True]]


def test_splitting_alone_is_exact_to_rounding_without_jumps():
    for seed in (200, 201, 204, 205):
        error, _ = problem_of(seed)
        assert isinstance(error, Splitting)
        found = largest(error, Effort(60, 1))
        assert found.programs == 0
        assert found.slack.max() < 1e-10


def by_corners(f, goals):
    """A third method: where as many planes and faces meet as there are inputs, without jumps."""
    m = f.read.shape[1]
    planes = np.concatenate([f.read, np.eye(m), np.eye(m)])
    shift = np.concatenate([f.bias, np.ones(m), -np.ones(m)])
    some = np.array(list(combinations(range(len(shift)), m)))
    size = np.prod(np.linalg.norm(planes[some], axis=2), axis=1)
    some = some[np.abs(np.linalg.det(planes[some])) > 1e-12 * size]
    x = np.linalg.solve(planes[some], -shift[some][..., None])[..., 0]
    x = x[(np.abs(x) <= 1 + 1e-9).all(1)]
    return (f(np.clip(x, -1, 1)) @ goals.T).max()


@pytest.mark.parametrize("seed", range(300, 340, 4))
def test_splitting_and_corners_agree(seed):
    for kind in (0, 1):  # ReLUs, without a linear part and with one
        error, _ = problem_of(seed + kind)
        found = largest(error, Effort(60, 1))
        at_corners = by_corners(error.f, error.goals)
        assert found.dual.max() == pytest.approx(at_corners, abs=2e-7)
        assert at_corners <= (found.dual + found.slack).max()
