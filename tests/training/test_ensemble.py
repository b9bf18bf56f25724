from dataclasses import replace

import numpy as np
import pytest
import torch

from faithnb import measures
from faithnb.data import sources
from faithnb.data.inputs import ball
from faithnb.data.sampling import evaluation_sample, pad_points, sample_base
from faithnb.experiment import Experiment
from faithnb.matching import MATCHING as EVERY_FORM
from faithnb.model.transcoder import Transcoder
from faithnb.training import ensemble
from faithnb.training.batches import Batches
from faithnb.training.ensemble import DivergenceWarning, max_instances, train
from faithnb.training.init import start
from faithnb.training.loop import rate
from faithnb.training.objectives import loss_terms
from faithnb.training.store import Store

SMALL = Experiment(d_in=6, d_sae=16, batch_size=64, steps=40, repeat_frac=0.1)
MATCHED = replace(SMALL, jacobian_matching="smoothed", jacobian_coefficient=0.1)
CPU = torch.device("cpu")


def weights(transcoder):
    return [w.detach() for w in transcoder.parameters()]


def largest_difference(a, b):
    return max((x - y).abs().max().item() for x, y in zip(weights(a), weights(b), strict=True))


@pytest.mark.parametrize("matching", ["none", *EVERY_FORM])
@pytest.mark.parametrize("sampling", ["exact", "bernoulli"])
def test_an_instance_does_not_depend_on_its_company(matching, sampling):
    base = Experiment(steps=500, sampling=sampling, jacobian_matching=matching)
    mu = 0.03 if matching != "none" else 0.0
    company = [
        replace(base, seed=s % 5, repeat_frac=0.05 * (s % 3), sparsity_coefficient=0.02 * (s + 1),
                density=0.1 + 0.1 * (s % 2), jacobian_coefficient=mu * (s % 2))
        for s in range(19)
    ]  # fmt: skip
    together = train(company, progress=False)
    for i in (0, 7, 18):
        assert largest_difference(train(company[i], progress=False)[0], together[i]) < 1e-6
    backwards = train(company[::-1], progress=False)
    assert largest_difference(backwards[0], together[18]) < 1e-6


def by_autograd(form):
    """The same training in the most ordinary way: autograd on the named terms, torch's Adam."""
    at = start([form], form.make_target()).requires_grad_()
    adam = torch.optim.Adam([at.W_enc, at.b_enc, at.W_dec])
    batches = Batches([form], CPU)
    scalars = {
        k: torch.tensor([getattr(form, k)], dtype=form.torch_dtype) for k in ensemble.SCALARS
    }
    for step in range(form.steps):
        batches.draw()
        batch = batches.inputs(slice(None))
        terms = loss_terms(form, at, form.make_target(), **batch, **scalars)
        if step < round(form.jacobian_start * form.steps):
            del terms["jacobian"]
        adam.zero_grad()
        sum(terms.values()).sum().backward()
        adam.param_groups[0]["lr"] = form.learning_rate * rate(form, step)
        adam.step()
    return at


@pytest.mark.parametrize("changes", [
    {}, {"sampling": "bernoulli", "sparsity_penalty": "l1"}, {"contribution_coefficient": 0.01},
    {"jacobian_matching": "plain"}, {"jacobian_matching": "plain", "kink": "masked"},
    {"jacobian_matching": "plain", "jacobian_estimator": "exact"},
    {"jacobian_matching": "smoothed"}, {"jacobian_matching": "finite"},
    {"jacobian_matching": "sigmoid_gate"}, {"jacobian_matching": "straight_through"},
    {"jacobian_matching": "noise"}, {"init": "memorising"},
    {"init": "generalising", "jacobian_matching": "smoothed", "jacobian_start": 0.5},
], ids=str)  # fmt: skip
def test_the_fast_loop_equals_plain_autograd_and_adam(changes):
    mu = 0.1 if "jacobian_matching" in changes else 0.0
    form = replace(SMALL, dtype="float64", steps=200, jacobian_coefficient=mu, **changes)
    assert largest_difference(train(form, progress=False).transcoder, by_autograd(form)) < 1e-9


@pytest.mark.parametrize("matching", ["none", "plain"])
def test_the_fast_loop_equals_autograd_at_the_headline_setting_in_single_precision(matching):
    mu = 0.03 if matching != "none" else 0.0
    form = Experiment(
        repeat_frac=0.05, steps=200, jacobian_matching=matching, jacobian_coefficient=mu
    )
    slow = by_autograd(form)
    scale = max(w.abs().max().item() for w in weights(slow))
    assert largest_difference(train(form, progress=False).transcoder, slow) < 1e-4 * scale


def test_mixed_structures_come_back_in_order():
    experiments = [
        replace(SMALL, seed=3), replace(SMALL, d_sae=8), replace(MATCHED, seed=1), SMALL,
        replace(SMALL, d_sae=8, steps=20, seed=9),
    ]  # fmt: skip
    trained = train(experiments, progress=False)
    assert trained.experiments == tuple(experiments)
    assert [trained[i].d_sae for i in range(5)] == [16, 8, 16, 16, 8]
    for i, e in enumerate(experiments):
        assert largest_difference(trained[i], train(e, progress=False)[0]) < 1e-6
    with pytest.raises(ValueError, match="different shapes"):
        trained.transcoder  # noqa: B018
    assert trained.history.inst.values.tolist() == list(range(5))
    assert trained.history.loss.sel(inst=4).dropna("step").step.max() == 19
    assert trained.metrics().sizes["inst"] == 5
    same = train([experiments[0], experiments[2], experiments[3]], progress=False)
    assert largest_difference(same.transcoder[1], trained[2]) < 1e-6


def test_more_instances_than_an_ensemble_holds(monkeypatch):
    monkeypatch.setattr(ensemble, "MAX_INSTANCES", 3)
    experiments = [replace(SMALL, seed=s % 4, repeat_frac=0.02 * s) for s in range(8)]
    trained = train(experiments, device="cpu", progress=False)
    assert [len(i) for i, _ in trained.ensembles] == [3, 3, 2]
    for i in range(8):
        assert (
            largest_difference(trained.transcoder[i], train(experiments[i], progress=False)[0])
            < 1e-6
        )


def test_a_gpu_takes_as_many_instances_as_its_memory_holds(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2 * free))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2)
    cuda = torch.device("cuda")
    free = 140 * 2**30
    assert max_instances(Experiment(), cuda) > 100_000
    wide = Experiment(d_in=64, d_sae=256, batch_size=4096)
    assert 1_000 < max_instances(wide, cuda) < max_instances(Experiment(), cuda)
    free = 2 * 2**30
    assert max_instances(wide, cuda) == ensemble.MAX_INSTANCES
    assert max_instances(wide, CPU) == ensemble.MAX_INSTANCES


def test_history_holds_the_named_terms_and_their_sum():
    history = train([SMALL, replace(MATCHED, seed=2)], progress=False).history
    total = history.reconstruction + history.sparsity + history.jacobian + history.contribution
    assert np.allclose(history.loss, total, rtol=1e-5)
    assert (history.jacobian.sel(inst=0) == 0).all()
    assert (history.jacobian.sel(inst=1) > 0).all()
    assert history.step.values[0] == 0
    assert history.step.values[-1] == SMALL.steps - 1
    assert (history.loss.isel(step=-1) < history.loss.isel(step=0)).all()


def test_matching_leaves_data_and_start_as_they_were():
    plain, matched = Batches([SMALL], CPU), Batches([MATCHED], CPU)
    for _ in range(3):
        plain.draw()
        matched.draw()
        B = SMALL.batch_size
        assert torch.equal(plain.now["x"][:, :B], matched.now["x"][:, :B])
    still = replace(MATCHED, jacobian_coefficient=0.0, steps=20)
    plain = replace(SMALL, steps=20)
    assert (
        largest_difference(train(still, progress=False)[0], train(plain, progress=False)[0]) < 1e-5
    )


def test_zero_repeat_frac_is_training_without_points():
    none = replace(SMALL, repeat_frac=0.0)
    assert (
        largest_difference(
            train(none, progress=False)[0], train(replace(none, points=()), progress=False)[0]
        )
        < 1e-5
    )


def test_divergence_is_named_and_the_others_are_kept(monkeypatch):
    good = [replace(SMALL, seed=s) for s in range(3)]
    alone = train(good, progress=False)

    def poisoned(u, density):
        return torch.where(density > 0.8, torch.nan, sample_base(u, density))

    monkeypatch.setattr(sources, "sample_base", poisoned)
    with pytest.warns(DivergenceWarning, match=r"1 of 4 experiments diverged \(2: .*density=0.9"):
        trained = train([*good[:2], replace(SMALL, density=0.9), good[2]], progress=False)
    assert trained.diverged == (2,)
    for i, k in ((0, 0), (1, 1), (3, 2)):
        assert largest_difference(trained[i], alone[k]) < 1e-6
    fvu = trained.metrics().fvu.values
    assert np.isnan(fvu).tolist() == [False, False, True, False]


def test_a_learning_rate_far_too_high_is_divergence():
    with pytest.warns(DivergenceWarning, match="learning_rate=1000"):
        trained = train([SMALL, replace(SMALL, learning_rate=1000, steps=3)], progress=False)
    assert trained.diverged == (1,)


def test_interruption_leaves_a_clear_message(monkeypatch):
    draws = []

    def interrupted(self):
        draws.append(1)
        if len(draws) == 11:
            raise KeyboardInterrupt
        return original(self)

    original = Batches.draw
    monkeypatch.setattr(Batches, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 10 of 40 steps"):
        train(SMALL, progress=False)
    monkeypatch.setattr(Batches, "draw", original)
    assert train(SMALL, progress=False).transcoder.n_inst == 1


def test_progress_shows_steps_and_loss(capsys):
    train(SMALL, progress=True)
    shown = capsys.readouterr().err
    assert "40/40" in shown
    assert "loss=" in shown
    train(SMALL, progress=False)
    assert capsys.readouterr().err == ""


def test_nothing_to_train():
    with pytest.raises(ValueError, match="experiments is empty"):
        train([])
    with pytest.raises(ValueError, match="'a', which is not an Experiment"):
        train(["a"])
    with pytest.raises(ValueError, match="device = 'gpu' cannot be used here"):
        train(SMALL, device="gpu")


def test_trained_weights_are_plain_and_safe_to_keep(tmp_path):
    t = train(SMALL, progress=False).transcoder
    assert not any(w.requires_grad for w in t.parameters())
    t.save(tmp_path)
    assert largest_difference(Transcoder.load(tmp_path), t) == 0


def apart(a, b):
    """The largest difference of an instance's weights, relative to the largest weight of all."""
    pairs = list(zip(weights(a), weights(b), strict=True))
    scale = max(x.abs().max() for x, _ in pairs)
    return torch.cat([(x - y).abs().flatten(1) for x, y in pairs], dim=1).amax(1) / scale


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("matching", ["none", *EVERY_FORM])
def test_gpu_and_cpu_agree(matching):
    """In double precision every instance for 200 steps. In single precision most of them for 20:
    later they part, as single and double precision on a CPU do."""
    mu = 0.03 if matching != "none" else 0.0
    form = Experiment(repeat_frac=0.05, jacobian_matching=matching, jacobian_coefficient=mu)
    for dtype, steps, share, bound in (("float64", 200, 1.0, 1e-9), ("float32", 20, 0.5, 1e-5)):
        experiments = [replace(form, seed=s, steps=steps, dtype=dtype) for s in range(8)]
        on_cpu, on_gpu = (
            train(experiments, device=d, progress=False).transcoder for d in ("cpu", "cuda")
        )
        assert apart(on_cpu, on_gpu).quantile(share) < bound


def test_what_is_kept_is_not_trained_again(tmp_path, monkeypatch):
    store = Store(tmp_path)
    experiments = [replace(SMALL, seed=s, steps=20 + 10 * (s > 2)) for s in range(4)]
    first = train(experiments, progress=False, store=store)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(ensemble, "_train_ensemble", None)
    again = train(experiments, progress=False, store=store)
    assert torch.equal(again.transcoder.W_enc, first.transcoder.W_enc)
    assert again.history.identical(first.history)
    assert again.metrics().identical(first.metrics())
    with pytest.raises(TypeError):
        train([replace(e, seed=9) for e in experiments], progress=False, store=store)


def test_matching_on_a_part_of_the_data_follows_that_part_alone():
    form = replace(SMALL, repeat_frac=0.2, jacobian_matching="plain", jacobian_coefficient=1.0)
    trained = train([replace(form, matching_at=at) for at in ("all", "points", "base")],
                    progress=False)  # fmt: skip
    p = pad_points(form.points, form.d_in)[0]
    target = replace(form, kink="masked").make_target()
    t = trained.transcoder
    at_p = measures.jacobian_error(t, target, ball(p))
    assert at_p[1] < at_p[2]
    x = evaluation_sample(form.d_in, form.density)
    on_base = measures.jacobian_error(t, target, x)
    assert on_base[2] < on_base[1]


@pytest.mark.parametrize("rate", [1e6, 1e4])
def test_divergence_is_judged_by_the_result_too(rate):
    """The loss of the last step was recorded before its update, and may look well."""
    e = Experiment(d_in=6, d_sae=16, batch_size=32, steps=50, learning_rate=rate)
    with pytest.warns(DivergenceWarning, match="3 of 3 experiments diverged"):
        trained = train([replace(e, seed=s) for s in range(3)], progress=False, device="cpu")
    assert trained.diverged == (0, 1, 2)
    assert trained.history.loss.values[:, -1].max() < 1
    assert trained.metrics().fvu.isnull().all()


@pytest.mark.parametrize(("given", "sentence"), [
    ({"device": None}, "device = None cannot be used here"),
    ({"device": "meta"}, "device = 'meta' cannot be used here"),
    ({"device": "nowhere"}, "device = 'nowhere' cannot be used here"),
    ({"store": "/tmp/x"}, "store = '/tmp/x' is not allowed"),
    ({"experiments": 5}, "experiments = 5 is not allowed"),
])  # fmt: skip
def test_bad_arguments_are_refused_before_any_work(given, sentence):
    with pytest.raises(ValueError, match=sentence) as said:
        train(**{"experiments": Experiment(), "progress": False} | given)
    assert len(str(said.value).splitlines()) == 1
