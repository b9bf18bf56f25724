"""What instances see: streams shared by seed, weights of their own."""

from dataclasses import replace

import pytest
import torch

from faithnb.experiment import Experiment
from faithnb.training.batches import COPIES, Batches

SMALL = Experiment(d_in=6, d_sae=16, batch_size=64, repeat_frac=0.1)
MATCHED = replace(SMALL, jacobian_matching="smoothed", jacobian_coefficient=0.1)
CPU = torch.device("cpu")


def drawn(*experiments):
    batches = Batches(experiments, CPU)
    batches.draw()
    return batches


def test_cells_that_share_a_seed_share_their_data():
    a, b, c, d = (
        replace(MATCHED, repeat_frac=r, seed=s, density=q)
        for r, s, q in ((0.0, 1, 0.1), (0.3, 1, 0.1), (0.0, 2, 0.1), (0.0, 1, 0.2))
    )
    batches = drawn(a, b, c, d)
    assert batches.stream == [0, 0, 1, 2]
    assert len(batches.now["x"]) == len(batches.now["v"]) == len(batches.now["noise"]) == 3
    assert not torch.equal(batches.now["x"][0], batches.now["x"][1])
    assert (batches.now["x"][2] != 0).sum() > (batches.now["x"][0] != 0).sum()
    assert torch.equal(batches.now["noise"][0], batches.now["noise"][2])
    assert torch.equal(batches.now["v"][0], batches.now["v"][2])


def test_what_a_chunk_sees_is_a_view_where_it_can_be():
    batches = drawn(*(replace(SMALL, seed=s) for s in (0, 0, 0, 1, 2, 3, 1, 0)))
    assert batches.seen_by(slice(0, 3)) == slice(0, 1)
    assert batches.seen_by(slice(2, 6)) == slice(0, 4)
    assert batches.seen_by(slice(0, 4)).tolist() == [0, 0, 0, 1]
    assert batches.seen_by(slice(4, 8)).tolist() == [2, 3, 1, 0]
    for chunk in (slice(0, 3), slice(2, 6), slice(4, 8)):
        seen = batches.inputs(chunk)["x"].expand(chunk.stop - chunk.start, -1, -1)
        for i, x in zip(range(chunk.start, chunk.stop), seen, strict=True):
            assert torch.equal(x, batches.now["x"][batches.stream[i], :, :-1])


def test_points_end_in_one_and_directions_in_zero():
    batches = drawn(MATCHED)
    assert torch.equal(batches.now["y"], batches.now["x"][..., :-1].abs())
    assert (batches.now["x"][..., -1] == 1).all()
    assert (batches.now["v"][..., -1] == 0).all()
    assert (batches.now["noise"][..., -1] == 0).all()
    assert set(batches.now["v"][..., :-1].unique().tolist()) == {-1, 1}
    assert abs(batches.now["noise"][..., :-1].std() - 1) < 0.1


@pytest.mark.parametrize("experiment", [SMALL, MATCHED])
def test_weights_are_those_of_the_mixture(experiment):
    others = [replace(experiment, repeat_frac=r) for r in (0.0, 1.0)]
    batches = drawn(experiment, *others)
    copies = COPIES if experiment is MATCHED else 1
    assert batches.now["x"].shape == (1, 64 + copies, 7)
    assert torch.allclose(batches.weight.sum(1), torch.ones(3))
    assert torch.allclose(batches.weight[:, 64:].sum(1), torch.tensor([0.1, 0.0, 1.0]))
    assert (batches.now["x"][:, 64:, :3] == 1).all()
    assert (batches.now["x"][:, 64:, 3:-1] == 0).all()


def test_bernoulli_draws_the_points_into_the_batch():
    base = replace(SMALL, sampling="bernoulli", batch_size=4096)
    batches = drawn(base, replace(base, repeat_frac=0.5), replace(base, repeat_frac=0.0))
    assert batches.stream == [0, 1, 2]
    share = (batches.now["x"][..., :3] == 1).all(-1).float().mean(1)
    assert torch.allclose(share, torch.tensor([0.1, 0.5, 0.0]), atol=0.03)
    kept = ~(batches.now["x"][1, :, :3] == 1).all(-1)
    assert torch.equal(batches.now["x"][1][kept], batches.now["x"][2][kept])
    assert (batches.weight == 1 / 4096).all()


def test_a_new_draw_is_new_and_the_same_for_everyone_who_draws_it():
    a, b = drawn(MATCHED), drawn(MATCHED)
    first = a.now["x"].clone()
    a.draw()
    assert not torch.equal(a.now["x"], first)
    b.draw()
    for name in ("x", "v", "noise"):
        assert torch.equal(a.now[name], b.now[name])


@pytest.mark.parametrize("kind", ["ray", "independent", "jitter", "signs"])
def test_a_varied_point_is_drawn_anew_and_its_target_with_it(kind):
    base = replace(SMALL, points=((1, 1, 1), (0, 2, 0, 2)), point_variation=kind)
    batches = drawn(base, replace(base, seed=1), replace(base, repeat_frac=0.0))
    x, y = (batches.now[name].clone() for name in ("x", "y"))
    assert x.shape == (2, 64 + 2 * COPIES, 7)
    assert torch.equal(y, x[..., :-1].abs())
    support = (x[:, 64:, :-1] != 0).float().mean((0, 1))
    assert torch.equal(support, torch.tensor([0.5, 1.0, 0.5, 0.5, 0, 0]))
    assert torch.allclose(batches.weight[0, 64:].sum(), torch.tensor(0.1))
    batches.draw()
    assert not torch.equal(batches.now["x"][:, 64:], x[:, 64:])
    assert torch.equal(drawn(SMALL).now["x"][:, :64], x[:1, :64])


def test_probes_like_the_data_have_its_second_moments():
    """E v vᵀ = (1 − r) q/3 I + r p pᵀ, for each instance its own r."""
    form = replace(MATCHED, jacobian_matching="plain", probe="covariance", batch_size=20_000)
    rare, often = (replace(form, repeat_frac=r) for r in (0.0, 0.4))
    batches = drawn(rare, often)
    assert batches.stream == [0, 1]
    p = torch.tensor([1.0, 1, 1, 0, 0, 0])
    for v, r in zip(batches.now["v"][..., :-1], (0.0, 0.4), strict=True):
        expected = (1 - r) * 0.1 / 3 * torch.eye(6) + r * torch.outer(p, p)
        assert torch.allclose(v.T @ v / len(v), expected, atol=0.02)
    assert torch.equal(batches.now["x"][0], batches.now["x"][1])


def test_active_probes_stay_on_the_coordinates_that_act():
    form = replace(MATCHED, jacobian_matching="plain", probe="active")
    batches, whole = drawn(form), drawn(replace(form, probe="rademacher"))
    x, v = batches.now["x"][..., :-1], batches.now["v"][..., :-1]
    assert torch.equal(v, whole.now["v"][..., :-1] * (x != 0))
    assert (v[0, -1, :3].abs() == 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_draws_probes_along_singular_vectors_of_many_jacobians():
    form = Experiment(target="superposed", jacobian_matching="plain", jacobian_coefficient=1.0,
                      probe="top_k")  # fmt: skip
    batches = Batches([replace(form, seed=s) for s in range(4)], torch.device("cuda"))
    batches.draw()
    assert batches.now["v"].isfinite().all()


def test_blur_moves_the_base_data_and_nothing_else():
    sharp, blurred = drawn(MATCHED), drawn(replace(MATCHED, blur=0.1))
    moved = blurred.now["x"] - sharp.now["x"]
    base = moved[:, : MATCHED.batch_size, :-1]
    assert (base != 0).all()
    assert abs(base.std() - 0.1) < 0.02
    assert moved[:, MATCHED.batch_size :].abs().max() == 0
    assert torch.equal(blurred.now["y"], blurred.now["x"][..., :-1].abs())
    for name in ("v", "noise"):
        assert torch.equal(blurred.now[name], sharp.now[name])
