"""Measures that need no mechanism, on layers whose answers are known; and the subject."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from faithnb import Experiment, measures, train
from faithnb.common.errors import InputError
from faithnb.data.selection import Selection
from faithnb.lm import responses as of
from faithnb.lm.study import Answering, Study
from faithnb.lm.subject import Subject
from faithnb.lm.tiny_model import tiny
from faithnb.lm.windows import windows_of
from faithnb.model.layer import LAYERS
from faithnb.model.layers import AbsoluteValue
from faithnb.model.mlp import GeluMLP
from faithnb.model.transcoder import Transcoder

F = AbsoluteValue(4)
TRUE = Transcoder.from_circuits(F.circuits())
RANDOM = Transcoder.random([0, 1], 4, 12, 4)
X = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
CHANGED = X * (torch.arange(4) != 1)


def test_the_layers_own_circuits_have_no_error():
    found = [
        of.error(TRUE, F, X, X), of.response_error(TRUE, F, X, CHANGED),
        of.patching_error(TRUE, F, X, CHANGED), of.jacobian_error(TRUE, F, X),
    ]  # fmt: skip
    assert torch.cat(found).abs().max() < 1e-6


def test_they_agree_with_the_measures_in_float64():
    pairs = [
        (of.error(RANDOM, F, X, X), measures.fvu(RANDOM, F, X)),
        (of.response_error(RANDOM, F, X, CHANGED), measures.change_error(RANDOM, F, X, CHANGED)),
        (of.patching_error(RANDOM, F, X, CHANGED), measures.patching_error(RANDOM, F, X, CHANGED)),
        (of.active(RANDOM, X), measures.l0(RANDOM, X)),
    ]
    for found, expected in pairs:
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_probes_estimate_the_distance_of_the_jacobians():
    wrong = (RANDOM.jacobian(X) - F.jacobian(X)).square().sum((1, 2, 3))
    exact = wrong / F.jacobian(X).square().sum()
    torch.testing.assert_close(of.jacobian_error(RANDOM, F, X, 400), exact, rtol=0.05, atol=0)


def test_a_feature_for_one_input_is_its_own():
    p = torch.tensor([5.0, 5, 0, 0])
    read = torch.cat([TRUE.W_enc[0], p[:, None]], dim=1)
    bias = torch.cat([TRUE.b_enc[0], torch.tensor([-45.0])])
    write = torch.cat([TRUE.W_dec[0], p[None] / 5])
    t = Transcoder.from_arrays(W_enc=read, b_enc=bias, W_dec=write)
    assert of.own_features(t, p[None], X)[0].nonzero().flatten().tolist() == [8]
    written = of.contributions(t, p[None])[0, 0]
    assert of.own_share(t, p[None], X).item() == pytest.approx((written[8] / written.sum()).item())
    assert of.own_share(TRUE, X[:5], X).item() == 0
    neurons = of.contributions(t, p[None])[0], of.contributions(t, X)[0]
    assert of.own_share_of_neurons(*neurons) == pytest.approx(of.own_share(t, p[None], X).item())


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    ids = torch.randint(1, 101, (24 * 15,), generator=torch.Generator().manual_seed(0)).tolist()
    windows = windows_of(ids, 16, begin=0)
    return Subject(tiny(), 1, windows, folder=tmp_path_factory.mktemp("lm"), progress=False)


def test_inputs_and_outputs_have_size_1(subject):
    x = subject.at([r for w in range(24) for r in subject.kept.at(w, 1)])
    assert x.square().sum(-1).mean().item() == pytest.approx(1, rel=0.05)
    assert subject.layer(x).square().sum(-1).mean().item() == pytest.approx(1, rel=0.05)
    expected = subject.model.run(subject.windows[:1], keep=("mlp_out.1",))["mlp_out.1"][0, 1:]
    found = subject.output_scale * subject.layer(subject.at(subject.kept.at(0, 1)))
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


def test_position_0_is_one_row_and_left_out_unless_it_is_asked_for(subject):
    first = np.unique(subject.kept.rows[::16], axis=0)
    assert len(first) == 1
    kept, whole = Selection(subject.data()), Selection(subject.data(first_kept=0, far=True))
    assert {int(r) % 16 for r in torch.cat([kept.kept, kept.held_out])} == set(range(1, 16))
    assert len(whole.kept) + len(whole.held_out) == 24 * 16


def test_transcoders_of_it_are_trained_by_name(subject):
    repeated = subject.kept.at(2, 1, 8)
    e = Experiment(d_sae=16, steps=20, batch_size=32,
                   **subject.described(repeated=repeated, frac=0.5))  # fmt: skip
    trained = train(e, progress=False)
    assert trained.diverged == ()
    here, others = subject.at(repeated), subject.others
    found = of.error(trained.transcoder, LAYERS[subject.target].read(), here, others)
    assert 0 < found.item() < 2


def test_pairs_with_a_replaced_token_differ_from_it_on(subject):
    x, changed = subject.replaced(3, 2, 9, n=5)
    assert x.shape == changed.shape
    assert ((x - changed).abs().sum(-1) > 0).all()
    own = subject.at(subject.kept.at(3, 2, 9))
    assert torch.cdist(x, own).min(1).values.max() < 1e-2
    again = subject.replaced(3, 2, 9, n=5)
    assert torch.equal(again[1], changed)


def test_a_model_of_other_mlps_is_refused(subject, monkeypatch):
    mlp = GeluMLP(torch.zeros(3, 32), torch.zeros(3), torch.zeros(32, 3), torch.zeros(32))
    monkeypatch.setattr(type(subject.model), "layer", lambda m, k: mlp)
    with pytest.raises(InputError, match="its MLPs must be gated"):
        Subject(subject.model, 1, subject.windows, progress=False)


def test_a_study_trains_a_window_a_seed(subject):
    study = Study(subject, [7, 8], last=9, training={"progress": False})
    e = Experiment(d_sae=16, steps=150, batch_size=32, repeat_frac=0.1, sparsity_coefficient=1e-3)
    found = study.tables({"without": (e, 0.0), "with": (e, 0.5)})
    assert list(found["with"].index) == [7, 8]
    assert (found["with"].window < found["without"].window).all()
    assert study.rows(0) != study.rows(1)
    assert study.replaced(0)[0] is study.replaced(0)[0]
    shared = replace(study, shared=True)
    assert shared.rows(0) == shared.rows(1) == study.rows(0)
    data = Selection(subject.described(repeated=study.rows(0))["data"])
    assert not set(study.rows(0)) & set(torch.cat([data.kept, data.held_out]).tolist())


def test_a_layer_is_asked_once_about_each_array(subject):
    asked = []

    class Counting(AbsoluteValue):
        def __call__(self, x):
            asked.append(x)
            return super().__call__(x)

    f = Answering(Counting(4))
    first, again, equal = f(X), f(X), f(X.clone())
    assert first is again
    assert len(asked) == 2
    assert torch.equal(first, equal)
    assert torch.equal(f.jvp(X, CHANGED), F.jvp(X, CHANGED))
    study = Study(subject, [7], last=9)
    assert study.inputs(0) is study.inputs(0)
    assert study.layer is study.layer


def test_other_first_tokens_differ_at_position_0(subject):
    found = subject.first_tokens(5)
    here = subject.at([0])
    assert (torch.cdist(found, here) > 0.01).all()
    alone = subject.model.run(torch.tensor([[0]]), keep=("mlp_in.1",))["mlp_in.1"][0]
    torch.testing.assert_close(here, alone / subject.scale, rtol=0.01, atol=0.01)


def test_of_a_family_of_windows_all_but_a_seeds_own_repeat(subject):
    study = Study(subject, [7, 8], 0, last=9, family=3, training={"progress": False})
    data = [Selection(study._described(place, study.share)["data"]) for place in (0, 1)]
    length = subject.windows.shape[1]
    for place, drawn in enumerate(data):
        seen = {int(row) // length for row in drawn.repeated}
        assert seen == {0, 1, 2} - {place}
        every = torch.cat([drawn.kept, drawn.repeated, drawn.held_out])
        assert not set(study.rows(place)) & set(every.tolist())
    assert study.share == 3 / len(subject.windows)
