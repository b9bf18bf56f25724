"""Every term and its closed-form gradient against the note's equations by autograd, in float64."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from conftest import random_transcoder

from faithnb.data.rng import Stream
from faithnb.data.sampling import pad_points
from faithnb.experiment import Experiment, ParameterError
from faithnb.matching import MATCHING as EVERY_FORM
from faithnb.matching import plain
from faithnb.model.layers import AbsoluteValue
from faithnb.training import reference
from faithnb.training.gradients import ClosedForm
from faithnb.training.objectives import loss_terms

D, ROWS, N_BASE, N_INST = 4, 8, 6, 2
SCALARS = {
    "sparsity_coefficient": [0.3, 0.7],
    "tanh_scale": [1.0, 4.0],
    "jacobian_coefficient": [0.2, 0.5],
    "perturbation_scale": [0.1, 0.3],
    "contribution_coefficient": [0.1, 0.4],
}


REFERENCED = ("reconstruction", "sparsity", "jacobian", "contribution")
OTHER_LAYERS = (
    "superposed", "gelu_network", "smooth_abs", "abs_with_point", "two_layers",
    "rotated_with_point", "identity",
)  # fmt: skip
"""One of each class of layers; the others have other weights."""

REACH_GATES = ("finite", "sigmoid_gate", "straight_through", "noise")


def all_forms():
    """Every combination of terms that makes sense."""
    for penalty, matching, estimator, kink, contribution in product(
        ("tanh", "l1", "none"),
        ("none", *EVERY_FORM),
        ("sampled", "exact"),
        ("zero", "masked", "one"),
        (0.0, 0.1),
    ):
        if matching == "none" and (estimator, kink) != ("sampled", "zero"):
            continue
        try:
            yield Experiment(
                d_in=D, d_sae=7, batch_size=N_BASE, sparsity_penalty=penalty,
                jacobian_matching=matching,
                jacobian_estimator=estimator, kink=kink, contribution_coefficient=contribution,
                dtype="float64",
            )  # fmt: skip
        except ParameterError:
            continue


def other_forms():
    """Other layers to explain, and matching on a part of the data, with every form of matching."""
    own = [{"target": name} for name in OTHER_LAYERS]
    part = [{"matching_at": "points"}, {"matching_at": "base"}]
    for changes, matching, estimator, kink in product(
        own + part, EVERY_FORM, ("sampled", "exact"), ("zero", "masked", "one")
    ):
        try:
            yield Experiment(
                d_in=D, d_sae=7, batch_size=N_BASE, jacobian_matching=matching,
                jacobian_estimator=estimator, kink=kink, dtype="float64", **changes,
            )  # fmt: skip
        except ParameterError:
            continue


FORMS = [*all_forms(), *other_forms()]
IDS = [e.unusual() for e in FORMS]


def batch():
    """Sparse inputs with exact zeros and a repeated point, weights, probes and noise."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(N_INST, ROWS, D, generator=g, dtype=torch.float64) * 2 - 1
    x = torch.where(torch.rand(x.shape, generator=g) < 0.5, x, 0.0)
    x[:, N_BASE:] = pad_points([[1, 1, 1]], D, torch.float64)
    weight = torch.tensor([0.8 / N_BASE] * N_BASE + [0.1] * 2, dtype=torch.float64)
    v = torch.randint(0, 2, x.shape, generator=g).double() * 2 - 1
    noise = torch.randn(x.shape, generator=g, dtype=torch.float64)
    return {"x": x, "weight": weight.repeat(N_INST, 1), "v": v, "noise": noise}


def scalars():
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in SCALARS.items()}


def by_reference(form, transcoder, only=REFERENCED):
    """Terms and gradients of each instance by the reference, one instance at a time."""
    terms, gradients = [], []
    given = batch()
    for n in range(N_INST):
        weights = tuple(
            w[n].detach().clone().requires_grad_()
            for w in (transcoder.W_enc, transcoder.b_enc, transcoder.W_dec)
        )
        own = {k: v[n] for k, v in SCALARS.items()}
        if not form.contribution_coefficient:
            own["contribution_coefficient"] = 0.0
        if form.jacobian_matching == "none":
            own["jacobian_coefficient"] = 0.0
        e = Experiment(**{**vars(form), **own})
        found = reference.loss_terms(
            e, weights, *(given[k][n] for k in ("x", "weight", "v", "noise"))
        )
        loss = sum(found[name] for name in only)
        gradients.append(
            torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        )
        terms.append(found)
    stacked = {name: torch.stack([t[name] for t in terms]).detach() for name in terms[0]}
    return stacked, [torch.stack(g) for g in zip(*gradients, strict=True)]


class GivenBatches:
    """The batch above in the place of :class:`faithnb.training.batches.Batches`, a stream an
    instance."""

    def __init__(self, target, seen=slice(0, N_INST)):
        given = batch()
        self.weight, self.seen = given["weight"], seen
        self.lightest = self.weight.min().item()
        ends = {"x": 1.0, "v": 0.0, "noise": 0.0}
        self.now = {
            name: torch.nn.functional.pad(given[name], (0, 1), value=end)
            for name, end in ends.items()
        } | {"y": target(given["x"])}

    def seen_by(self, chunk):
        return self.seen


def fast_gradient(transcoder, form, seen=slice(0, N_INST)):
    """The closed-form gradients of encoder (bias last) and decoder."""
    E = torch.cat([transcoder.W_enc, transcoder.b_enc[:, None]], dim=1)
    weights = E, transcoder.W_dec.detach()
    gradients = torch.empty_like(weights[0]), torch.empty_like(weights[1])
    everyone = [slice(0, N_INST)]
    target = form.make_target()
    gradient = ClosedForm(
        form,
        target,
        scalars(),
        GivenBatches(target, seen),
        everyone,
        transcoder,
        weights,
        gradients,
    )
    for _ in range(2):  # buffers are used again: a second call must not see the first
        gradient()
    return gradients


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_terms_equal_the_reference(form):
    t = random_transcoder(N_INST, D, 7)
    expected, _ = by_reference(form, t)
    with torch.no_grad():
        terms = loss_terms(form, t, form.make_target(), **batch(), **scalars())
    for name in REFERENCED:
        found = terms.get(name, torch.zeros(N_INST, dtype=torch.float64))
        assert torch.allclose(found, expected[name], rtol=0, atol=1e-10), name
    assert sum(terms.values()).shape == (N_INST,)


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_closed_form_gradient_equals_the_reference(form):
    t = random_transcoder(N_INST, D, 7)
    _, (W_enc, b_enc, W_dec) = by_reference(form, t)
    grad_E, grad_D = fast_gradient(t, form)
    for found, expected in ((grad_E[:, :-1], W_enc), (grad_E[:, -1], b_enc), (grad_D, W_dec)):
        assert (found - expected).abs().max() < 1e-8
        if (form.sparsity_penalty, form.jacobian_matching) != ("none", "none"):
            assert expected.abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS, ids=IDS)
def test_instances_that_see_the_same_may_share_it_or_have_copies(form):
    """A stream for all (no copy), and streams picked by index, against each other."""
    t = random_transcoder(N_INST, D, 7)
    shared = fast_gradient(t, form, slice(0, 1))
    copied = fast_gradient(t, form, torch.zeros(N_INST, dtype=torch.long))
    for a, b in zip(shared, copied, strict=True):
        assert (a - b).abs().max() < 1e-12
    apart = fast_gradient(t, form, torch.tensor([1, 0]))
    assert (apart[0] - shared[0]).abs().max() > 1e-3


MATCHING = [f for f in FORMS if f.jacobian_matching != "none" and f.sparsity_penalty == "none"
            and not f.contribution_coefficient]  # fmt: skip


@pytest.mark.parametrize("form", MATCHING, ids=[e.unusual() for e in MATCHING])
def test_matching_adds_exactly_nothing_to_the_fast_gradient_of_the_biases(form):
    t = random_transcoder(N_INST, D, 7)
    with_matching, without = (
        fast_gradient(t, f)[0][:, -1]
        for f in (form, replace(form, jacobian_matching="none", kink="zero",
                                jacobian_estimator="sampled"))
    )  # fmt: skip
    assert torch.equal(with_matching, without) == (form.jacobian_matching not in REACH_GATES)


@pytest.mark.parametrize("form", MATCHING, ids=[e.unusual() for e in MATCHING])
def test_which_forms_reach_the_biases(form):
    _, (W_enc, b_enc, W_dec) = by_reference(form, random_transcoder(N_INST, D, 7), ["jacobian"])
    assert W_enc.abs().max() > 1e-3
    assert W_dec.abs().max() > 1e-3
    if form.jacobian_matching in REACH_GATES:
        assert b_enc.abs().max() > 1e-3
    else:
        assert b_enc.abs().max() == 0


@pytest.mark.parametrize("term", ["reconstruction", "sparsity", "contribution"])
def test_each_other_term_alone_has_the_gradient_it_should(term):
    form = Experiment(d_in=D, d_sae=7, contribution_coefficient=0.1, dtype="float64")
    _, (W_enc, b_enc, W_dec) = by_reference(form, random_transcoder(N_INST, D, 7), [term])
    assert W_enc.abs().max() > 1e-3
    assert W_dec.abs().max() > 1e-3
    assert (b_enc.abs().max() > 1e-3) == (term != "contribution")


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
@pytest.mark.parametrize("kink", ["zero", "masked"])
def test_the_sampled_form_estimates_the_exact_one(probe, kink):
    t, target = random_transcoder(1, D, 7), AbsoluteValue(D, kink)
    x = batch()["x"][:1, :3]
    n = 20_000
    many = x.repeat(1, n, 1)
    weight = torch.full((1, 3 * n), 1 / (3 * n), dtype=torch.float64)
    stream = Stream([0], "probe")
    draw = stream.signs if probe == "rademacher" else stream.normal
    v = draw(0, many.shape[1:], torch.float64)
    ignored = target.ignored(x) if kink == "masked" else None
    gate = t.gate(x).double()
    exact = plain.exact(gate, t, target, target.slope(x), torch.full((1, 3), 1 / 3), ignored)
    sampled = plain.sampled(
        t.gate(many).double(), t, target.jvp(many, v), v, weight,
        None if ignored is None else target.ignored(many), target.slope(many),
    )  # fmt: skip
    singles = torch.stack([
        plain.sampled(gate, t, target.jvp(x, v[:, k * 3 : k * 3 + 3]), v[:, k * 3 : k * 3 + 3],
                         torch.full((1, 3), 1 / 3), ignored, target.slope(x))
        for k in range(500)
    ])  # fmt: skip
    assert abs(sampled - exact) < 4 * singles.std() / n**0.5
    difference = t.jacobian(x) - target.jacobian(x)
    if kink == "masked":
        difference = difference.masked_fill(torch.diag_embed(target.ignored(x)), 0)
    assert torch.allclose(exact, difference.square().sum((-1, -2)).mean(-1))


def test_rademacher_probes_are_exact_on_a_diagonal_error():
    from conftest import MADE

    from faithnb.model.transcoder import Transcoder

    t, target = Transcoder.from_circuits(MADE["generalising"]), AbsoluteValue(6, "one")
    x = torch.zeros(1, 5, 6)
    v = torch.randint(0, 2, (1, 5, 6)) * 2.0 - 1
    gate, weight = t.gate(x).float(), torch.full((1, 5), 0.2)
    found = plain.sampled(gate, t, target.jvp(x, v), v, weight)
    assert found == plain.exact(gate, t, target, target.slope(x), weight) == 6


def test_the_literal_memorization_is_the_fast_one(made, p):
    from faithnb.measures import memorization

    for t in made.values():
        weights = (t.W_enc[0], t.b_enc[0], t.W_dec[0])
        assert reference.memorization(weights, p).item() == pytest.approx(
            memorization(t, p).item(), abs=1e-6
        )
