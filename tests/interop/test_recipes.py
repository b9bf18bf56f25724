"""SAELens' own training loop on a task of the benchmark."""

from dataclasses import replace

import pytest
import torch

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
