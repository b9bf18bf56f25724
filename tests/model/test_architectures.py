"""Sparse layers of every kind: what they give, their derivatives, and that they stay."""

from dataclasses import replace

import pytest
import torch
from conftest import MADE, TRAINED_KINDS, D, P
from torch.func import jacrev

from faithnb import Experiment, ParameterError, Store, Transcoder, measures, sweep, train
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.circuits import mechanism_error
from faithnb.measures.interventions import patched_change
from faithnb.model.architectures import (
    BatchTopK,
    Crosscoder,
    CrossLayer,
    Gated,
    JumpReLU,
    Matryoshka,
    Molt,
    TopK,
)
from faithnb.model.fitting import Fitting
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import ARCHITECTURES
from faithnb.penalties import L1, Tanh
from faithnb.training.loop import Loop
from faithnb.training.objectives import loss_terms

CPU = torch.device("cpu")
SMALL = Experiment(d_in=D, d_sae=16, batch_size=32, steps=20, repeat_frac=0.1)


class Unsloped(Transcoder):
    """A stranger's: it says what is on, and nothing of slopes."""

    def activate(self, z):
        return torch.zeros_like(z).scatter(-1, z.topk(1, dim=-1).indices, 1.0) * torch.relu(z)


def made(kind, n_inst=3, d_out=D + 1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape):
        return torch.randn(n_inst, *shape, generator=generator, dtype=dtype)

    if "cross" in kind:
        d_out = D  # a part for each of two layers
    m = 8 if "cross" in kind or "molt" in kind else 9
    given = {"W_enc": drawn(D, m), "b_enc": drawn(m), "W_dec": drawn(m, d_out),
             "b_dec": drawn(d_out)}  # fmt: skip
    if "skip" in kind:
        given["W_skip"] = drawn(D, d_out)
    if "jumprelu" in kind:
        return JumpReLU(**given, threshold=drawn(9).abs())
    if "gated" in kind:
        return Gated(**given, r_mag=drawn(9), b_mag=drawn(9))
    if "batch_topk" in kind or "matryoshka" in kind:
        of = BatchTopK if "batch_topk" in kind else Matryoshka
        return of(**given, threshold=drawn(1).abs().expand(-1, 9).clone(), k=2.5)
    if "molt" in kind:
        return Molt(**given, W_gate=drawn(D, m // 2), b_gate=drawn(m // 2), rank=2)
    if "cross" in kind:
        t = (Crosscoder if "crosscoder" in kind else CrossLayer)(**given, n_layers=2)
        t.settle()
        return t
    if "unsloped" in kind:
        return Unsloped(**given)
    return TopK(**given, k=3) if "topk" in kind else Transcoder(**given)


EVERY = [f"{kind}{skip}" for kind in (*ARCHITECTURES, "unsloped") for skip in ("", " skip")]
X = torch.randn(5, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_top_k_keeps_the_largest_that_are_above_0():
    layer = TopK.from_arrays(torch.eye(4), torch.zeros(4), torch.eye(4), k=2)
    x = torch.tensor([[3.0, 1.0, 2.0, -4.0], [-1.0, -2.0, 5.0, -3.0], [-1.0, -1.0, -1.0, -1.0]])
    assert layer(x)[0].tolist() == [[3, 0, 2, 0], [0, 0, 5, 0], [0, 0, 0, 0]]
    assert layer.gate(x)[0].int().tolist() == [[1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_jump_relu_gives_all_of_z_above_its_threshold():
    layer = JumpReLU.from_arrays(
        torch.eye(2), torch.zeros(2), torch.eye(2), threshold=torch.tensor([0.5, 2.0])
    )
    x = torch.tensor([[0.6, 1.9], [0.5, 2.1]])
    assert layer(x)[0].tolist() == [[pytest.approx(0.6), 0], [0, pytest.approx(2.1)]]


@pytest.mark.parametrize("kind", EVERY)
def test_derivatives_are_those_of_autograd(kind):
    t = made(kind)
    J = t.jacobian(X)
    for b, x in enumerate(X):
        expected = jacrev(lambda x: t(x[None])[:, 0])(x)
        torch.testing.assert_close(J[:, b], expected)
    v = torch.randn_like(X)
    torch.testing.assert_close(t.jvp(X, v), torch.einsum("nboi,bi->nbo", J, v))
    assert J.abs().sum() > 0


@pytest.mark.parametrize("kind", EVERY)
def test_products_of_jacobians_are_those_of_the_matrices(kind):
    t, layer = made(kind, d_out=D), AbsoluteValue(D, "masked")
    x = torch.where(X.abs() < 0.3, 0.0, X)
    J, M = t.jacobian(x), layer.jacobian(x)
    kept = 1 - torch.diag_embed(layer.ignored(x).double())
    error = ((J - M).square() * kept).sum((-1, -2)).sum(-1) / (M.square() * kept).sum()
    torch.testing.assert_close(measures.jacobian_error(t, layer, x), error)


@pytest.mark.parametrize("kind", EVERY)
def test_a_class_stays_what_it_is(kind, tmp_path):
    t = made(kind)
    others = [t[1], t[[0, 2]], t.in_float64(), t.with_weights(t.weights()), t.float()]
    others += [type(t).cat([t[0], t[1:]]), Transcoder.cat([t[0], t[1:]])]
    for other in others:
        assert type(other) is type(t)
        assert other.own_settings() == t.own_settings()
        assert list(other.axes) == list(t.axes)
    t = made(kind)
    torch.testing.assert_close(Transcoder.cat([t[0], t[1:]])(X), t(X))
    if kind.startswith("unsloped"):
        with pytest.raises(ValueError, match="Unsloped cannot be saved: give the class an archit"):
            t.save(tmp_path)
        return
    for some in (t, t[1]):
        some.save(tmp_path)
        again = Transcoder.load(tmp_path)
        assert type(again) is type(t)
        assert torch.equal(again(X), some(X))


def test_different_kinds_make_no_ensemble():
    with pytest.raises(ValueError, match="one architecture .*relu.*topk"):
        Transcoder.cat([made("relu"), made("topk")])
    with pytest.raises(ValueError, match="one architecture"):
        Transcoder.cat([made("relu"), made("relu skip")])


@pytest.mark.parametrize("k", [0, 10, 1.5, True, None])
def test_a_number_of_features_that_cannot_be(k):
    t = made("relu")
    with pytest.raises(ParameterError, match="k = .* whole number in .1, 9."):
        TopK(**t.weights(), k=k)


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"architecture": "topk"}, "k = 0 is not allowed with architecture = 'topk'"),
    ({"architecture": "topk", "k": 17}, "k = 17 is not allowed with architecture = 'topk'"),
    ({"architecture": "topk", "k": 1.5}, "k = 1.5 is not allowed .* a whole number from 1"),
    ({"architecture": "batch_topk"}, "k = 0 is not allowed with architecture = 'batch_topk'"),
    ({"architecture": "matryoshka", "k": 17}, "k = 17 is not allowed .* at most d_sae"),
    ({"k": 3}, "k = 3.0 is not allowed with architecture = 'relu'"),
    ({"bandwidth": 0.1}, "bandwidth = 0.1 is not allowed with architecture = 'relu', which has"),
    ({"gate_gradient": "input", "architecture": "gated"}, "gate_gradient = 'input' is not allowed"),
    ({"threshold_init": 0.1, "architecture": "gated"}, "threshold_init = 0.1 is not allowed with"),
    ({"rank": 2}, "rank = 2 is not allowed with architecture = 'relu'"),
    ({"sparsity_penalty": "l0"}, "sparsity_penalty = 'l0' is not allowed .*no surrogate gradient"),
    ({"architecture": "jumprelu", "sparsity_penalty": "l0_target"}, "target_l0 = 0 is not allowed"),
    ({"target_l0": 2}, "target_l0 = 2 is not allowed with sparsity_penalty = 'tanh'"),
    ({"target_l0": 2, "sparsity_penalty": "none"}, "target_l0 = 2 is not allowed .* leave it at 0"),
    ({"architecture": "topk", "k": 2, "jacobian_matching": "sigmoid_gate"}, "gates of a ReLU"),
])  # fmt: skip
def test_what_an_architecture_refuses(fields, sentence):
    with pytest.raises(ParameterError, match=sentence):
        replace(SMALL, **fields)


@pytest.mark.parametrize("kind", [k for k in TRAINED_KINDS if "gated" not in k])  # has constants
@pytest.mark.parametrize("matching", ["none", "plain", "smoothed", "finite", "noise", "exact"])
def test_the_gradient_is_that_of_the_loss(kind, matching):
    """By differences of the loss itself, in float64, where no window gives a gate a gradient."""
    form = replace(SMALL, dtype="float64", d_sae=8, batch_size=16, **TRAINED_KINDS[kind])
    if form.architecture == "jumprelu":
        form = replace(form, bandwidth=1e-9)
    if matching == "exact":
        form = replace(form, jacobian_matching="plain", jacobian_estimator="exact")
    elif matching != "none":
        form = replace(form, jacobian_matching=matching)
    form = replace(form, jacobian_coefficient=0.1 * (matching != "none"))
    loop = Loop([form, replace(form, seed=1)], CPU)
    for weight in loop.weights:  # biases of 0 would stand on the kink
        weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    loop.transcoder.settle()
    loop.draw()
    loop.gradient()

    def loss():
        given = loop.batches.inputs(slice(0, 2)), loop.scalars
        lightest = loop.batches.lightest
        loop.transcoder.fitting = Fitting(form, given[0]["weight"], loop.quiet, lightest)
        terms = loss_terms(form, loop.transcoder, loop.target, **given[0], **given[1])
        return sum(terms.values())[1].item()

    with torch.no_grad():
        by_hand = ["encoder", *loop.transcoder.learned[2:]]
        names = by_hand if loop.by_hand else loop.transcoder.learned
        learned = zip(names, loop.weights, loop.gradients, strict=True)
        for name, weight, gradient in learned:
            if name == "threshold":
                continue
            at = torch.unravel_index(gradient[1].abs().argmax(), gradient[1].shape)
            place, step = (1, *at), 1e-6
            assert gradient[place] != 0
            weight[place] += step
            above = loss()
            weight[place] -= 2 * step
            below = loss()
            weight[place] += step
            assert (above - below) / (2 * step) == pytest.approx(gradient[place].item(), rel=1e-5)


@pytest.mark.parametrize("kind", TRAINED_KINDS)
def test_trained_alone_in_company_and_from_the_store(kind, tmp_path):
    cells = [replace(SMALL, seed=s, **TRAINED_KINDS[kind]) for s in range(3)]
    store = Store(tmp_path)
    together = train([*cells, SMALL], store=store, device="cpu", progress=False)
    alone = train(cells[1], device="cpu", progress=False)
    again = train(cells, store=store, device="cpu", progress=False)
    for name, weight in alone[0].weights().items():
        torch.testing.assert_close(weight, together[1].weights()[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(again[1].weights()[name], together[1].weights()[name])
    assert type(again[1]) is ARCHITECTURES[cells[0].architecture]
    first = Loop(cells[1:2], CPU).transcoder.weights()
    for name, weight in alone[0].weights().items():
        held = name in alone[0].held and name != "threshold"
        unmoved = held or (name == "threshold" and "jumprelu" in kind)
        assert unmoved or not torch.equal(weight, first[name])
        assert not held or torch.equal(weight, first[name])


def test_every_trainable_architecture_is_tried_here():
    assert {
        SMALL.architecture,
        *(k.get("architecture", "relu") for k in TRAINED_KINDS.values()),
    } == set(name for name, of in ARCHITECTURES.items() if of.trainable)


def test_a_sweep_over_architectures(tmp_path):
    grid = sweep(
        replace(SMALL, architecture="topk", k=2), store=Store(tmp_path), device="cpu",
        progress=False, k=[1, 2], skip=[False, True], seed=range(2), weights=True,
    )  # fmt: skip
    assert dict(grid.sizes) == {"k": 2, "skip": 2, "seed": 2}
    assert (grid.n_on.sel(k=1) <= 1).all()
    assert (grid.n_on.sel(k=2) <= 2).all()
    assert grid.fvu.notnull().all()


def test_the_table_measures_a_subclass_as_it_is():
    """The true circuits, of which only the largest may act."""
    true, layer = MADE["generalising"], AbsoluteValue(D, "masked")
    x = evaluation_sample(D, 0.1)
    for t in (TopK.from_circuits(true, k=1), Unsloped.from_circuits(true)):
        own = t(x)[0]
        expected = (own - x.abs()).square().sum() / (x.abs() - x.abs().mean(0)).square().sum()
        assert measures.fvu(t, layer, x).item() == pytest.approx(expected.item(), rel=1e-6)
        assert measures.n_on(t, x).item() <= 1
        assert measures.l0(t, x).item() == pytest.approx(
            ((t.encode(x) * t.decoder_norms()[:, None]) > 0.01).sum(-1).double().mean().item()
        )


def test_a_linear_part_counts_as_a_mechanism():
    """x + 2 ReLU(−x) is |x|, and not made of its circuits."""
    eye, layer = torch.eye(D), AbsoluteValue(D)
    t = Transcoder.from_arrays(-eye, torch.zeros(D), 2 * eye, W_skip=eye)
    x = evaluation_sample(D, 0.3)
    assert measures.fvu(t, layer, x).item() < 1e-12
    assert measures.jacobian_error(t, AbsoluteValue(D, "masked"), x).item() < 1e-12
    # of 1/2 E x² each way: the linear part misses the negative side, the features double it
    assert mechanism_error(t, layer, x).item() == pytest.approx(1.0, abs=0.05)
    changed = torch.zeros_like(x)
    at_0 = t(changed) - t(x)
    torch.testing.assert_close(patched_change(t, x, changed), at_0.double(), atol=0.02, rtol=0)
    assert measures.memorization(t, P).item() == 0


class Absolute:
    def activate(self, z):
        return z.abs()


def test_slopes_follow_the_activation_wherever_it_comes_from():
    class Mixed(Absolute, Transcoder):
        pass

    class Steps(Transcoder):
        def activate(self, z):
            return (z > 0).to(z)

    t = Mixed(**made("relu").weights())
    expected = jacrev(lambda x: t(x[None])[:, 0])(X[0])
    torch.testing.assert_close(t.jacobian(X)[:, 0], expected)
    assert not t.is_relu
    assert Steps(**made("relu").weights()).jacobian(X).abs().sum() == 0


@pytest.mark.parametrize(("members", "sentence"), [
    ({"encode": lambda self, x: x}, "Odd has a encode of its own: an architecture says its activ"),
    ({"architecture": "relu"}, "there is another architecture of that name"),
    ({"architecture": "skip_relu"}, "it must be a word that neither begins nor ends with skip"),
    ({"architecture": "batch-abs"}, "it must be a word that"),
    ({"architecture": "warm", "settings": ("temperature",)}, "an experiment has only k"),
])  # fmt: skip
def test_a_class_that_could_not_be_what_it_says(members, sentence):
    before = dict(ARCHITECTURES)
    with pytest.raises(TypeError, match=sentence):
        type("Odd", (Transcoder,), {"__module__": __name__, **members})
    assert before == ARCHITECTURES


def test_what_an_architecture_needs_is_asked_for():
    w = made("relu").weights()
    with pytest.raises(ParameterError, match="topk transcoders need k"):
        TopK.from_arrays(**w)
    with pytest.raises(ParameterError, match="jumprelu transcoders need threshold"):
        JumpReLU(**w)


def test_features_that_act_below_0_count_as_much():
    """One that reads and writes the other way round, and acts with the sign that makes it right."""

    class Signed(Transcoder):
        def activate(self, z):
            return z

    p, layer = P.double(), AbsoluteValue(D)
    found = []
    for sign in (1.0, -1.0):
        t = Signed.from_arrays(
            sign * p[:, None] / 3, torch.zeros(1), sign * p[None], torch.zeros(D)
        )
        found.append([measures.state(t, layer, p), measures.alignment(t, layer, p).item(),
                      measures.l0(t, p[None]).item()])  # fmt: skip
        assert measures.memorization_share(t, p).item() == pytest.approx(1)
    assert found[0] == found[1] == [["datapoint"], pytest.approx(1), 1]
    given = -torch.ones(1, 2, 3), torch.ones(1, 3), torch.ones(1, 2), torch.ones(1)
    assert Tanh().of(*given) > 0
    assert L1().of(*given) == 6
    with pytest.raises(ValueError, match="for ReLUs alone, not for Signed"):
        measures.masking_index(t, p[None])
