import pytest
import torch

from faithnb.targets import AbsoluteValue

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
