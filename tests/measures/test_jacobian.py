"""Measures of Jacobians, and rotation."""

import numpy as np
import pytest
import torch
from conftest import ELSEWHERE, P, pair, random_transcoder, rotated

from faithnb import measures
from faithnb.data.sampling import evaluation_sample
from faithnb.model.layer import LAYERS, Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

X = evaluation_sample(6, 0.3)


def test_jacobian_metrics_of_the_truth_and_of_nothing(made, target):
    masked = AbsoluteValue(6, "masked")
    zero = Transcoder.from_arrays(torch.zeros(6, 1), torch.zeros(1), torch.zeros(1, 6))
    for f in (target, masked):
        assert measures.jacobian_error(made["generalising"], f, X).item() == 0
        assert measures.jacobian_cosine(made["generalising"], f, X).item() == pytest.approx(1)
        assert measures.jacobian_error(zero, f, X).item() == pytest.approx(1)
        assert measures.jacobian_cosine(zero, f, X).item() == 0
    opposite = Transcoder.from_arrays(*(made["generalising"].W_enc, made["generalising"].b_enc,
                                        -made["generalising"].W_dec))  # fmt: skip
    assert measures.jacobian_cosine(opposite, target, X).item() == pytest.approx(-1)
    assert measures.jacobian_error(opposite, target, X).item() == pytest.approx(4)


def test_undefined_entries_count_only_where_the_convention_says(made):
    x = torch.zeros(1, 6)
    x[0, 0] = 0.5
    t = made["generalising"]
    assert measures.jacobian_error(t, AbsoluteValue(6, "one"), x).item() == pytest.approx(5 / 6)
    assert measures.jacobian_error(t, AbsoluteValue(6, "masked"), x).item() == 0


def test_jacobian_at_p(made, p):
    t = made["generalising"]
    assert torch.allclose(measures.jacobian_at_point(t, p)[0], torch.eye(3).double())
    assert measures.off_diagonal_share(t, p).item() == 0
    alone = Transcoder.from_circuits([Circuit("", P / 1.5, P, 1.0)])
    assert torch.allclose(
        measures.jacobian_at_point(alone, p)[0], torch.full((3, 3), 2 / 3).double()
    )
    assert measures.off_diagonal_share(alone, p).item() == pytest.approx(2 / 3)
    assert measures.off_diagonal_norm(alone, p).item() == pytest.approx(2 / 3 * 6**0.5)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kink", ["zero", "masked", "one"])
def test_products_of_jacobians_are_those_of_the_matrices(name, kink):
    d = {"superposed_once": 16, "combinations": 8}.get(name.removesuffix("_with_point"), 6)
    p = torch.nn.functional.pad(P, (0, d - 6))
    target, t = LAYERS[name].of_experiment(d, p[None], kink), random_transcoder(d=d)
    x = torch.cat([evaluation_sample(d, 0.3, 50), p[None]]).double()
    ignored = torch.diag_embed(target.ignored(x))
    has_kinks = name.startswith(("abs", "combinations", "two_layers"))
    assert ignored.any() == (kink == "masked" and has_kinks)
    J_T, J_M = (J.masked_fill(ignored, 0) for J in (t.jacobian(x), target.jacobian(x)))
    own, mixed, size = measures.jacobian_products(t, target, x)
    assert (own - J_T.square().sum((-1, -2))).abs().max() < 1e-10
    assert (mixed - (J_T * J_M).sum((-1, -2))).abs().max() < 1e-10
    assert (size - J_M.square().sum((-1, -2))).abs().max() < 1e-10
    assert mixed.abs().max() > 1


def test_rotation_and_what_is_off_at_p(made):
    """rotated() reads x_j − (x_k + x_l)/3: a third of its own weight, and is 0 at p."""
    rotation = {name: measures.rotation(t, P).item() for name, t in made.items()}
    assert rotation["generalising"] == 0
    assert rotation["datapoint"] == pytest.approx(1 / 3)
    assert rotation["split"] == pytest.approx(1 / 3)
    off = {name: measures.off_at_point(t, P).item() for name, t in made.items()}
    assert off == {"generalising": False, "datapoint": True, "pair": False, "split": True}
    found = measures.coordinate_features(made["datapoint"], P)[0].tolist()
    assert found == [len(ELSEWHERE) + j for j in range(3)]


def test_rotation_without_such_features_is_nan():
    only_pair = Transcoder.from_circuits(pair()[:1])
    assert measures.rotation(only_pair, P).isnan().all()
    some = Transcoder.from_circuits(rotated()[:2])
    assert measures.rotation(some, P).item() == pytest.approx(1 / 3)
    assert measures.off_at_point(some, P).all()


def test_rotation_at_a_point_whose_coordinates_differ():
    """A feature that reads x_1/2 − x_2/4 − x_3/1 is held off at p = (2, 4, 1)·k by half of what
    it reads of p from each of the others."""
    p = torch.tensor([2.0, 4, 1, 0, 0, 0])
    read = torch.tensor([1 / 2, -1 / 8, -1 / 2, 0, 0, 0])
    held = Transcoder.from_circuits([Circuit("", read, torch.eye(6)[0])])
    assert held.encode(p[None]).item() == 0
    assert measures.rotation(held, p).item() == pytest.approx(1 / 2)


def test_the_jacobian_of_what_contributes_leaves_out_what_is_on_its_kink(made):
    shifted = made["datapoint"]
    for point in (P, P / 2):
        on = measures.contribution_sizes(shifted, point[None])[0, 0] > measures.CONTRIBUTES
        expected = (shifted.W_enc[0][:, on] @ shifted.W_dec[0][on]).T
        assert (measures.contributing_jacobian(shifted, point)[0] == expected).all()
    inside = measures.contributing_jacobian(made["generalising"], P)[0][:3, :3]
    assert (inside == torch.eye(3)).all()


def test_singular_values_their_tail_and_what_is_active():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    J = torch.diag_embed(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    singular = measures.singular_values(J)
    assert singular == pytest.approx(np.array([[4, 3], [1, 0]]))
    assert measures.tail_share(singular) == pytest.approx([9 / 25, 0])
    assert measures.tail_share(singular, kept=2) == pytest.approx([0, 0])
    assert measures.active_share(J, x).tolist() == pytest.approx([9 / 25, 1])
