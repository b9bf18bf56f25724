"""A gated layer at inference: a gate, and a magnitude that shares its direction."""

import math

import torch
from torch.func import jacrev

from faithnb.model.architectures import Gated

D, M, D_OUT = 4, 7, 3


def made(n=3):
    generator = torch.Generator().manual_seed(2)
    sizes = [(n, D, M), (n, M), (n, M, D_OUT), (n, D_OUT), (n, D, D_OUT), (n, M), (n, M)]
    W_enc, b_enc, W_dec, b_dec, W_skip, r_mag, b_mag = (
        torch.randn(size, dtype=torch.float64, generator=generator) for size in sizes
    )
    return Gated.from_arrays(W_enc, b_enc, W_dec, b_dec, W_skip, r_mag=r_mag, b_mag=b_mag)


def test_by_hand():
    """The gate opens above 1 and above −2; the magnitudes are 2 x − 1 and x + 1/2."""
    t = Gated.from_arrays(
        torch.eye(2), torch.tensor([-1.0, 2.0]), torch.eye(2),
        r_mag=torch.tensor([math.log(2), 0.0]), b_mag=torch.tensor([-1.0, 0.5]),
    )  # fmt: skip
    x = torch.tensor([[0.9, 3.0], [1.5, -1.0], [3.0, -3.0], [-2.0, -0.25]])
    wanted = torch.tensor([[0.0, 3.5], [2.0, 0.0], [5.0, 0.0], [0.0, 0.25]])
    torch.testing.assert_close(t(x)[0], wanted)
    torch.testing.assert_close(
        t.slopes(x)[0], torch.tensor([[0.0, 1.0], [2.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    )


def test_derivatives_are_those_of_autograd():
    t, generator = made(), torch.Generator().manual_seed(3)
    x = torch.randn(20, D, dtype=torch.float64, generator=generator)
    v = torch.randn(20, D, dtype=torch.float64, generator=generator)
    J = t.jacobian(x)
    wanted = torch.stack([jacrev(lambda x: t(x[None])[:, 0])(row) for row in x], dim=1)
    torch.testing.assert_close(J, wanted)
    torch.testing.assert_close(t.jvp(x, v), torch.einsum("nboi,bi->nbo", J, v))
    assert 0.05 < t.gate(x).double().mean() < 0.95


def test_outputs_are_those_of_its_features():
    t = made()
    x = torch.randn(20, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(t(x), t.decode(t.encode(x)) + x @ t.W_skip)
