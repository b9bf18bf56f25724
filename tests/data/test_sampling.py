import pytest
import torch

from faithnb.data.rng import Stream
from faithnb.data.sampling import (
    evaluation_sample,
    mixture,
    pad_points,
    replace_at_random,
    sample_base,
)
from faithnb.data.variations import vary


def uniform(n, d=None, seed=0):
    return Stream([seed], "data").uniform(0, (n,) if d is None else (n, d), torch.float64)[0]


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_base_distribution_has_the_note_s_moments(density):
    n = 200_000
    x = sample_base(uniform(n, 4), density)
    nonzero = x[x != 0]
    share = len(nonzero) / x.numel()
    assert abs(share - density) <= 4 * (density * (1 - density) / x.numel()) ** 0.5
    assert abs(nonzero.mean()) < 4 / (3 * len(nonzero)) ** 0.5
    assert abs(nonzero.var() - 1 / 3) < 4 * (4 / 45 / len(nonzero)) ** 0.5
    assert x.abs().max() < 1
    if density < 1:
        together = torch.corrcoef((x != 0).double().T).fill_diagonal_(0)
        assert together.abs().max() < 5 / n**0.5


def test_each_instance_may_have_its_own_density():
    u = uniform(100, 4).expand(2, 100, 4)
    both = sample_base(u, torch.tensor([0.1, 0.5], dtype=torch.float64)[:, None, None])
    assert torch.equal(both[0], sample_base(u[0], 0.1))
    assert torch.equal(both[1], sample_base(u[1], 0.5))


def test_points_are_padded_with_zeros():
    assert pad_points([[1, 1, 1], [2]], 4).tolist() == [[1, 1, 1, 0], [2, 0, 0, 0]]
    with pytest.raises(ValueError, match="more coordinates than d_in = 2"):
        pad_points([[1, 1, 1]], 2)


@pytest.mark.parametrize("copies", [1, 16])
def test_mixture_integrates_the_points_exactly(copies):
    base = sample_base(uniform(50, 3), 0.5)
    points = pad_points([[1, 1, 1], [0, 2]], 3, torch.float64)
    x, weight = mixture(base, points, 0.2, copies)
    assert weight.sum().item() == pytest.approx(1)
    expected = 0.8 * base.mean(0) + 0.2 * points.mean(0)
    assert torch.allclose(weight @ x, expected)
    without, weight = mixture(base, points, 0.0, copies)
    assert torch.equal(without[:50], base)
    assert weight[50:].sum() == 0


def test_literal_sampling_agrees_with_the_exact_mixture():
    n, r = 100_000, 0.2
    base = sample_base(uniform(n, 3, seed=3), 0.5)
    points = pad_points([[1, 1, 1], [0, 2]], 3, torch.float64)
    u = uniform(n, seed=4)
    drawn = replace_at_random(base, points, r, u)
    for point in points:
        share = (drawn == point).all(-1).double().mean()
        assert abs(share - r / 2) < 4 * (0.1 * 0.9 / n) ** 0.5
    x, weight = mixture(base, points, r)
    statistic = (x.abs() ** 2).sum(-1)
    literal = (drawn.abs() ** 2).sum(-1)
    assert abs(weight @ statistic - literal.mean()) < 4 * literal.std() / n**0.5
    assert torch.equal(replace_at_random(base, points, 0.0, u), base)
    assert torch.equal(replace_at_random(base, points[:1], 1.0, u), points[:1].expand(n, 3))


@pytest.mark.parametrize("kind", ["ray", "independent", "jitter", "signs"])
def test_varied_points_keep_their_coordinates_and_vary_as_said(kind):
    p = pad_points([[1, 2]] * 4000, 3, torch.float64)
    x = vary(p, kind, 0.25, Stream([0, 1], "variation"), range(2))
    assert x.shape == (2, 2, 4000, 3)
    assert (x[..., 2] == 0).all()
    assert not torch.equal(x[0], x[1])
    assert not torch.equal(x[:, 0], x[:, 1])
    first, second = x[..., 0].flatten(), x[..., 1].flatten() / 2
    together = torch.corrcoef(torch.stack([first, second]))[0, 1]
    assert (together > 0.999) == (kind == "ray")
    if kind in ("ray", "independent"):
        assert first.min() > 0.75
        assert first.max() < 1
        assert abs(first.mean() - 0.875) < 0.005
    elif kind == "jitter":
        assert abs(first.mean() - 1) < 0.01
        assert abs(first.std() - 0.25) < 0.01
    else:
        assert set(first.tolist()) == {-1, 1}
        assert abs((first < 0).double().mean() - 0.25) < 0.02
    if kind != "ray":
        assert abs(together) < 0.05


def test_evaluation_sample_is_fixed():
    assert torch.equal(evaluation_sample(5, 0.1), evaluation_sample(5, 0.1))
    assert evaluation_sample(5, 0.1).shape == (8192, 5)
