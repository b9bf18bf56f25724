"""The losses of every architecture and their gradients, against the literal ones in float64, and
surrogate gradients against numbers worked by hand."""

from dataclasses import replace

import pytest
import torch
from conftest import TRAINED_KINDS
from torch.autograd import grad

from faithnb import Experiment
from faithnb.model.architectures import BatchTopK, Gated, JumpReLU
from faithnb.model.fitting import Fitting
from faithnb.training import reference_architectures as reference
from faithnb.training.gradients import ClosedForm
from faithnb.training.loop import Loop
from faithnb.training.objectives import DEAD_AFTER

CPU = torch.device("cpu")
BASE = Experiment(d_in=5, d_sae=9, batch_size=12, steps=20, repeat_frac=0.2, dtype="float64",
                  points=((1.0, 1.0, 1.0), (-1.0, 0.5)))  # fmt: skip
KINDS = {
    name: kind for name, kind in TRAINED_KINDS.items() if kind.get("architecture", "relu") != "relu"
}
EVEN = {"d_in": 6, "d_sae": 8}
"""What two layers, and transforms of rank two, divide."""
KINDS = {
    name: kind | (EVEN if "cross" in name or "molt" in name else {}) for name, kind in KINDS.items()
}
FORMS = {
    **KINDS,
    **{f"{name} with AuxK": {**kind, "aux_coefficient": 0.3} for name, kind in KINDS.items()
       if "molt" not in name},
    **{f"{name}, l1": {**kind, "sparsity_penalty": "l1"} for name, kind in KINDS.items()},
    **{
        f"jumprelu, {penalty}, {mode}": {
            "architecture": "jumprelu", "sparsity_penalty": penalty, "gate_gradient": mode,
            "bandwidth": 0.6, "threshold_init": 0.3,
            "target_l0": 1.5 * (penalty == "l0_target"),
        }
        for penalty in ("tanh", "l1", "l0", "l0_target", "none")
        for mode in ("threshold", "input", "one_sided")
    },
}  # fmt: skip


def shaken(form):
    """A loop of two instances away from symmetric weights, with a batch drawn and a feature
    dead."""
    loop = Loop([form, replace(form, seed=1)], CPU)
    generator = torch.Generator().manual_seed(0)
    for weight in loop.weights:
        weight += 0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    if form.architecture == "jumprelu":
        loop.transcoder.threshold.data.abs_()
    loop.transcoder.settle()
    loop.quiet[:, ::3] = DEAD_AFTER - 1
    loop.draw()
    return loop


def literally(loop, form, n):
    """Terms of instance n by the reference, and its weights."""
    given = loop.batches.inputs(slice(n, n + 1))
    weights = {k: w[n].clone().requires_grad_() for k, w in loop.transcoder.weights().items()}
    x, weight = given["x"][0], given["weight"][0]
    dead = loop.quiet[n] + 1 >= DEAD_AFTER
    if form.aux_coefficient > 0:
        dead &= ~(reference.features(form, weights, x, weight) != 0).any(0)
    return reference.loss_terms(form, weights, x, weight, dead), weights


def by_name(loop):
    """The gradients of a loop, however its weights stand."""
    if not loop.by_hand:
        return dict(zip(loop.transcoder.learned, loop.gradients, strict=True))
    encoder, *others = loop.gradients
    names = loop.transcoder.learned[2:]
    return {"W_enc": encoder[:, :-1], "b_enc": encoder[:, -1]} | dict(
        zip(names, others, strict=True)
    )


@pytest.mark.parametrize("way", ["autograd", "by hand"])
@pytest.mark.parametrize("kind", FORMS)
def test_terms_and_gradients_are_the_literal_ones(kind, way, monkeypatch):
    form = replace(BASE, **FORMS[kind])
    if way == "by hand" and not ClosedForm.holds_for(form):
        return
    if way == "autograd":
        monkeypatch.setattr(ClosedForm, "holds_for", lambda template: False)
    loop = shaken(form)
    assert loop.by_hand == (way == "by hand")
    expected = [literally(loop, form, n) for n in range(2)]
    found, _ = loop.terms()
    for _ in range(2):  # buffers are used again: a second call must not see the first
        loop.quiet[:, ::3] = DEAD_AFTER - 1
        loop.gradient()
    for n, (terms, weights) in enumerate(expected):
        for name, value in zip(
            ("reconstruction", "sparsity", "auxiliary"), found[[0, 1, 4], n], strict=True
        ):
            wanted = torch.as_tensor(terms.get(name, 0.0)).item()
            assert value.item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)
        learned = loop.transcoder.learned
        masks = loop.transcoder.masks() if form.architecture == "cross_layer" else {}
        wanted = grad(sum(terms.values()), [weights[name] for name in learned],
                      allow_unused=True, materialize_grads=True)  # fmt: skip
        found_gradients = by_name(loop)
        for name, of_reference in zip(learned, wanted, strict=True):
            of_loop = found_gradients[name][n] * masks.get(name, 1)  # what settles at 0 is not it
            torch.testing.assert_close(of_loop, of_reference, rtol=1e-9, atol=1e-10, msg=name)
            assert name == "threshold" or of_reference.abs().max() > 1e-4


@pytest.mark.parametrize("kind", [k for k in FORMS if "jumprelu" in k and k[-1] != "K"])
def test_thresholds_do_learn(kind):
    form = replace(BASE, **FORMS[kind])
    loop = shaken(form)
    loop.gradient()
    if form.bandwidth > 0.5:
        assert by_name(loop)["threshold"].abs().max() > 1e-3
    before = loop.transcoder.threshold.clone()
    for _ in range(15):
        loop.update()
        loop.draw()
    assert not torch.equal(before, loop.transcoder.threshold)
    assert loop.transcoder.threshold.min() >= 0


BY_HAND = {
    # z, θ = 1, ε = ½ (so θ/ε = 2): below the window, in it below θ, in it above θ, above it
    "threshold": ([0, 0, 1, 1], [0, -2, -2, 0]),
    "input": ([0, 2, 3, 1], [0, -2, -2, 0]),
    "one_sided": ([1, 1, 1, 1], [0, -2, -2, 0]),
}


@pytest.mark.parametrize("mode", BY_HAND)
def test_surrogate_gradients_on_each_side_of_the_window(mode):
    e = Experiment(architecture="jumprelu", bandwidth=0.5, gate_gradient=mode)
    layer = JumpReLU.from_arrays(
        torch.eye(4), torch.zeros(4), torch.eye(4), threshold=torch.ones(4)
    )
    layer.fitting = Fitting(e, torch.ones(1, 1), torch.zeros(1, 4))
    layer.threshold.requires_grad_()
    z = torch.tensor([[[0.7, 0.8, 1.2, 1.3]]], requires_grad=True)
    h = layer.activate(z)
    assert torch.equal(h, torch.tensor([[[0, 0, 1.2, 1.3]]]))
    of_z, of_threshold = grad(h.sum(), [z, layer.threshold])
    assert [of_z[0, 0].tolist(), of_threshold[0].tolist()] == list(BY_HAND[mode])
    gates = layer.gates(z)
    assert gates.tolist() == [[[0, 0, 1, 1]]]
    of_z, of_threshold = grad(gates.sum(), [z, layer.threshold], materialize_grads=True)
    assert of_threshold[0].tolist() == [0, -2, -2, 0]
    assert of_z[0, 0].tolist() == ([0, 2, 2, 0] if mode == "input" else [0, 0, 0, 0])


def test_a_batch_keeps_its_largest_by_the_weights_of_its_rows():
    """Two rows, one of them three times as heavy: with k = 1 four light entries fit, or one heavy
    and one light."""
    layer = BatchTopK.from_arrays(
        torch.eye(3), torch.zeros(3), torch.eye(3), threshold=torch.zeros(3), k=1
    )
    x = torch.tensor([[3.0, 1.0, 0.5], [2.0, -1.0, 0.0]])
    fitting = layer.fitting = Fitting(None, torch.tensor([[0.25, 0.75]]), torch.zeros(1, 3), 0.25)
    assert layer(x)[0].tolist() == [[3, 0, 0], [2, 0, 0]]
    assert fitting.least.tolist() == [2]
    layer.settle()
    assert layer.threshold.tolist() == [[2, 2, 2]]
    layer.fitting = None
    assert layer(x)[0].tolist() == [[3, 0, 0], [0, 0, 0]]


def test_a_threshold_of_a_batch_is_a_running_mean():
    layer = BatchTopK.from_arrays(torch.eye(1), torch.zeros(1), torch.eye(1), threshold=[2.0], k=1)
    layer.fitting = Fitting(None, torch.ones(1, 1), torch.zeros(1, 1), 1.0, torch.tensor([3.0]))
    layer.settle()
    assert layer.threshold.item() == pytest.approx(2.001)


def test_a_gate_and_how_much_it_lets_through():
    """x W = 1 and −1: gates 1 + b and −1 + b, magnitudes 2x + ½."""
    layer = Gated.from_arrays(
        [[1.0]], [2.0], [[1.0]], r_mag=[torch.log(torch.tensor(2.0))], b_mag=[0.5]
    )
    x = torch.tensor([[1.0], [-1.0], [-0.1], [-3.0]])
    assert layer(x)[0, :, 0].tolist() == pytest.approx([2.5, 0, 0.3, 0])
    assert layer.slopes(x)[0, :, 0].tolist() == pytest.approx([2, 0, 2, 0])


def test_dead_features_are_those_that_were_off_for_long():
    form = replace(BASE, architecture="topk", k=1, sparsity_penalty="none", aux_coefficient=1.0)
    loop = Loop([form], CPU)
    loop.draw()
    loop.gradient()
    on = loop.transcoder.gate(loop.batches.inputs(slice(0, 1))["x"]).any(1)
    assert torch.equal(loop.quiet == 0, on)
    assert loop.quiet.max() == 1
    assert loop.terms()[0][4].item() == 0
    loop.quiet += DEAD_AFTER
    assert loop.terms()[0][4].item() > 0
    assert loop.quiet.max() == DEAD_AFTER + 1


BY_HAND_KINDS = {
    "topk, 1": {"architecture": "topk", "k": 1},
    "topk, 3, l1": {"architecture": "topk", "k": 3, "sparsity_penalty": "l1"},
    "topk, 6": {"architecture": "topk", "k": 6},
    "batch_topk": {"architecture": "batch_topk", "k": 1.7},
    "relu, skip": {"skip": True},
    "topk, skip": {"architecture": "topk", "k": 2, "skip": True},
    "jumprelu, skip": {
        "architecture": "jumprelu", "bandwidth": 0.6, "threshold_init": 0.3, "skip": True,
        "sparsity_penalty": "l0",
    },
    "batch_topk alone": {"architecture": "batch_topk", "k": 1.7, "sparsity_penalty": "none"},
    "jumprelu": {"architecture": "jumprelu", "bandwidth": 0.6, "threshold_init": 0.3},
    "matryoshka": {"architecture": "matryoshka", "k": 1.7},
    "matryoshka, skip": {
        "architecture": "matryoshka", "k": 1.7, "sparsity_penalty": "none", "skip": True,
    },
    "jumprelu, l0": {
        "architecture": "jumprelu", "bandwidth": 0.6, "threshold_init": 0.3,
        "sparsity_penalty": "l0",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", ["none", "plain", "exact", "smoothed", "finite", "noise"])
@pytest.mark.parametrize("kind", BY_HAND_KINDS)
def test_gradients_by_hand_are_those_of_autograd_with_matching(kind, form, monkeypatch):
    e = replace(BASE, **BY_HAND_KINDS[kind])
    if form != "none":
        named = {"jacobian_matching": "plain", "jacobian_estimator": "exact"}
        named = named if form == "exact" else {"jacobian_matching": form}
        e = replace(e, jacobian_coefficient=0.3, contribution_coefficient=0.1, **named)
    assert ClosedForm.holds_for(e) == (form != "exact" or not e.skip)
    if not ClosedForm.holds_for(e):
        return
    fast = shaken(e)
    monkeypatch.setattr(ClosedForm, "holds_for", lambda template: False)
    slow = Loop([e, replace(e, seed=1)], CPU)
    for name, weight in slow.transcoder.weights().items():
        weight.copy_(fast.transcoder.weights()[name])
    slow.draw()
    for loop in (fast, slow):
        loop.gradient()
    for name, gradient in by_name(slow).items():
        torch.testing.assert_close(by_name(fast)[name], gradient, rtol=1e-9, atol=1e-10, msg=name)
    for loop in (fast, slow):
        loop.update()
    for name, weight in slow.transcoder.weights().items():
        torch.testing.assert_close(fast.transcoder.weights()[name], weight, rtol=1e-6, atol=1e-9)
