"""SAELens' and sparsify's own training loops on a task of the benchmark."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from sparsify import SparseCoder

import faithnb as fb
from faithnb.benchmark import TASKS, evaluate, score
from faithnb.benchmark.recipes import recipes_named
from faithnb.book.contents import ROOT

TASK = replace(TASKS["abs-v1"], samples=300 * 512)


@pytest.mark.parametrize("name", ["Standard", "JumpReLU", "TopK"])
def test_its_recipes_go_through(name):
    made = recipes_named(f"{ROOT}/results/saelens.py:{name}")[:1]
    rows = evaluate(made, TASK, seeds=[1], progress=False).rows
    assert rows.failed.tolist() == [""]
    assert rows.samples.tolist() == [TASK.samples]
    assert rows.fvu[0] < 0.9  # of |x|; an autoencoder, which gives x, has more than 1
    assert rows.mechanism_error.notnull().all()
    assert made[0].configuration["architecture"] == name.lower()


def test_what_it_trained_is_measured_as_what_it_wrote(tmp_path):
    (made,) = recipes_named(f"{ROOT}/results/saelens.py:Standard", [0.1])
    trained = made.fit(replace(TASK, samples=20 * 512), 1)
    trained.save_model(tmp_path)
    x = TASK.held_out(200)
    torch.testing.assert_close(fb.load(tmp_path)(x)[0], trained(x).detach())
    a, b = (score(m, TASK) for m in (trained, fb.load(tmp_path)))
    assert a.mechanism_error == pytest.approx(b.mechanism_error, rel=1e-4)
    assert a.jacobian_error == pytest.approx(b.jacobian_error, rel=1e-4)


@pytest.mark.parametrize(("name", "skips"), [("Transcoder", False), ("Skip", True)])
def test_sparsifys_recipes_go_through(name, skips):
    made = recipes_named(f"{ROOT}/results/sparsify.py:{name}", [3])
    rows = evaluate(made, TASK, seeds=[1], progress=False).rows
    assert rows.failed.tolist() == [""]
    assert rows.samples.tolist() == [TASK.samples]
    assert rows.fvu[0] < 0.5  # the mean alone has 1
    assert rows.l0[0] <= 3
    assert rows[["mechanism_error", "circuit_match", "memorized"]].notnull().all(axis=None)
    assert made[0].configuration["skip_connection"] is skips


@pytest.mark.parametrize("name", ["Transcoder", "Skip"])
def test_what_sparsify_trained_is_measured(name, monkeypatch):
    kept, save = [], SparseCoder.save_to_disk

    def keep(coder, path):
        kept.append(deepcopy(coder))
        save(coder, path)

    monkeypatch.setattr(SparseCoder, "save_to_disk", keep)
    (made,) = recipes_named(f"{ROOT}/results/sparsify.py:{name}", [3])
    few = replace(TASK, samples=20 * 1024)
    trained = made.fit(few, 1)
    (coder,) = kept  # at the end alone
    assert torch.get_float32_matmul_precision() == "highest"  # as in a fresh process
    x = TASK.held_out(200)
    torch.testing.assert_close(trained(x)[0], coder(x).sae_out.detach())
    assert all(torch.equal(w, made.fit(few, 1).weights()[n]) for n, w in trained.weights().items())
    assert not torch.equal(trained.W_enc, made.fit(few, 2).W_enc)
