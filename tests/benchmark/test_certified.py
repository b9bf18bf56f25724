"""The column that is proved."""

import itertools

import numpy as np
import pytest
import torch
from strangers import Relu, small

from faithnb.benchmark import TASKS, certified, score
from faithnb.benchmark.columns import CERTIFIED, NOT_CERTIFIED
from faithnb.benchmark.controls import IDEAL, LINEAR, PLANTED, UNTRAINED, controls
from faithnb.benchmark.score import Place, beside
from faithnb.model.architectures import Gated, TopK
from faithnb.model.transcoder import Transcoder

ABS = TASKS["abs-v1"]
POINT = ((0.0, 1.0, -1.0),)


def of(module, task=ABS):
    place = Place.of(task)
    return certified.certified(beside(module, task, place), place.layer, place.points)


def test_controls_whose_worst_error_is_known():
    """The planted feature writes p where |x| is missing at (1, 1, 1): with one of the coordinates
    at −1 it is silent, and the circuits that were turned off at p give nothing."""
    found = {name: of(module) for name, module in controls(ABS).items()}
    assert found[IDEAL] == (pytest.approx(0, abs=1e-9), "")
    assert found[PLANTED] == (pytest.approx(1, abs=1e-6), "")
    corners = torch.zeros(8, 16)
    corners[:, :3] = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))
    linear = controls(ABS)[LINEAR]
    at_corners = (linear(corners)[0] - corners.abs()).abs().max().item()
    assert found[LINEAR][0] >= at_corners - 1e-6  # a linear map may also be worst in the middle


def test_no_sample_of_the_box_exceeds_it():
    task = small(points=POINT)
    module = controls(task)[UNTRAINED]
    bound, _ = of(module, task)
    x = torch.zeros(100_000, 16)
    x[:, 1:3] = 2 * torch.rand(100_000, 2) - 1
    sampled = (module(x)[0] - x.abs()).abs().max().item()
    assert 0.97 * bound < sampled <= bound + 1e-6


def test_of_several_points_the_worst_counts():
    points, module = (*POINT, (1.0, 1.0, 1.0)), Transcoder.random([1], 16, 8, 16)
    each = [of(module, small(points=(p,)))[0] for p in points]
    assert of(module, small(points=points))[0] == max(each)


def test_what_is_left_open_has_a_bound_that_is_valid_and_comes_out_again(monkeypatch):
    module, task = TopK.random([0], 16, 30, 16, k=2), small(points=POINT)
    closed, _ = of(module, task)
    monkeypatch.setattr(certified, "MOST_BOXES", 8 * 2000)
    few = of(module, task)
    assert few == of(module, task)
    assert few[0] >= closed


@pytest.mark.parametrize(("module", "task", "why"), [
    (Relu(), ABS, "of transcoders of this package"),
    (Gated.random([0], 16, 8, 16), ABS, "architecture = 'gated' is not allowed"),
    (Transcoder.random([0], 24, 8, 24), TASKS["rotated-v1"], "The point has 24 coordinates"),
    (Transcoder.random([0], 16, 8, 16), small(points=(), repeat_frac=0.0), "no point"),
])  # fmt: skip
def test_where_it_is_empty_it_says_why(module, task, why):
    found = score(module, task)
    assert np.isnan(found[CERTIFIED])
    assert why in found[NOT_CERTIFIED]


def test_on_a_hidden_variant_it_is_that_of_its_own_point():
    hidden = ABS.hidden(3)
    ideal = Transcoder.from_circuits(hidden.layer.circuits())
    assert of(ideal, hidden)[0] < 1e-5  # its weights are turned back in float32
