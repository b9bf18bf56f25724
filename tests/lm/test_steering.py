"""Directions are found where they were put, and steer as far as they should."""

import pytest
import torch

from faithnb.lm import tiny
from faithnb.lm.patching import together
from faithnb.lm.prompts import Contrast
from faithnb.lm.steering import (
    accuracy,
    along,
    at_last,
    best_feature,
    directions,
    mean_difference,
    probe,
    steer,
)
from faithnb.lm.subject import Subject
from faithnb.model.transcoder import Transcoder

TRUE = torch.nn.functional.normalize(torch.tensor([3.0, -1.0, 0.0, 2.0]), dim=0)


def sides(seed, n=200):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, n, 4, generator=generator)
    return noise[0] + 2 * TRUE, noise[1] - 2 * TRUE


@pytest.mark.parametrize("find", [mean_difference, probe])
def test_a_direction_is_found_and_tells_apart_what_is_held_out(find):
    found = find(sides(0))
    assert torch.cosine_similarity(found, TRUE, dim=0) > 0.95
    assert accuracy(found, sides(0), sides(1)) > 0.95
    assert accuracy(-found, sides(0), sides(1)) > 0.95  # a direction has no sign here
    across = torch.tensor([1.0, 3.0, 0.0, 0.0])
    assert accuracy(across, sides(0), sides(1)) < 0.65


def test_the_best_feature_is_the_one_that_differs():
    a, b = torch.rand(50, 6), torch.rand(50, 6)
    a[:, 4] += 2
    assert best_feature((a, b)) == 4
    a[:, 4], a[0, 2] = b[:, 4], 5.0  # one outlier is no difference
    a[:, 1] += 2
    assert best_feature((a, b)) == 1


def test_a_step_has_its_length_and_leaves_the_first_position():
    x = torch.zeros(2, 3, 4)
    moved = along(3 * TRUE, 5.0)(x)
    assert (moved[:, 0] == 0).all()
    torch.testing.assert_close(moved[:, 1:], (5 * TRUE).expand(2, 2, 4))
    assert (x == 0).all()


def test_steering_towards_good_words_makes_them_likelier():
    m = tiny()
    ids = torch.arange(10).reshape(2, 5)
    words = torch.tensor([3, 4]), torch.tensor([7])
    contrast = Contrast(ids, ids, (ids, ids), ids, *words)
    last = f"resid.{m.n_layers}"
    towards = (m.embedding[words[0]].mean(0) - m.embedding[7]) * m.final_norm.weight
    found = steer(m, contrast, last, {"to": towards, "from": -towards}, [0.0, 5.0, 20.0])
    assert found["to"][0] == 0
    assert found["to"][0] < found["to"][1] < found["to"][2]
    assert found["from"][2] < 0


def test_activations_are_read_at_the_last_token():
    m = tiny()
    ids = torch.arange(10).reshape(2, 5)
    found = at_last(m, ids, "mid.1", "mlp_in.2")
    run = m.run(ids, keep=("mid.1", "mlp_in.2"))
    for of, site in zip(found, ("mid.1", "mlp_in.2"), strict=True):
        torch.testing.assert_close(of, run[site][:, 4])


def test_what_is_known_is_not_run_again(monkeypatch):
    m, known = tiny(), {}
    ids = torch.arange(10).reshape(2, 5)
    first = at_last(m, ids, "mid.1", "mlp_in.2", known=known)
    monkeypatch.setattr(type(m), "run", lambda *a, **k: pytest.fail("it was run"))
    again = at_last(m, ids.flip(0), "mid.1", "mlp_in.2", known=known)
    for of, one in zip(first, again, strict=True):
        assert torch.equal(of.flip(0), one)
    assert len(known) == 2


@pytest.mark.parametrize("site", ["resid.1", "mlp_out.1", "resid.3"])
def test_steps_together_are_runs_with_one_step(site):
    m = tiny().to(dtype=torch.float64)
    ids = torch.arange(10).reshape(2, 5)
    words = torch.tensor([3, 4]), torch.tensor([7])
    contrast = Contrast(ids, ids, (ids, ids), ids, *words)
    generator = torch.Generator().manual_seed(0)
    of = {k: torch.randn(m.d_model, generator=generator).double() for k in ("a", "b")}
    edit = {f"mlp_out.{k}": lambda x: 2 * x for k in range(3)}
    found = steer(m, contrast, site, of, [1.0, 3.0], edit)
    for name, values in found.items():
        for length, value in zip([1.0, 3.0], values, strict=True):
            last = f"resid.{m.n_layers}"
            leaning = []
            for step in ({}, {site: along(of[name], length)}):
                run = m.run(ids, keep=(last,), edit=together(edit, step))
                leaning.append(contrast.leaning(run.logits).mean())
            torch.testing.assert_close(value, float(leaning[1] - leaning[0]))


def test_directions_of_a_subject_have_the_models_width_and_a_share_that_they_get_right(tmp_path):
    m = tiny()
    windows = torch.arange(100).reshape(10, 10)
    subject = Subject(m, 1, windows, folder=tmp_path, progress=False)
    good, bad = windows[:5, :6], windows[5:, :6]
    contrast = Contrast(good, bad, (good, bad), good, good[0], bad[0])
    weights = [torch.randn(1, *shape) for shape in ((32, 5), (5,), (5, 32), (32,))]
    found, right = directions(subject, contrast, Transcoder(*weights))
    assert found.keys() == right.keys() == {"difference in means", "probe", "feature"}
    assert all(of.shape == (32,) for of in found.values())
    assert all(0 <= share <= 1 for share in right.values())
    seen = at_last(m, good, "resid.2")[0], at_last(m, bad, "resid.2")[0]
    torch.testing.assert_close(found["difference in means"], mean_difference(seen))
    along = torch.nn.functional.cosine_similarity(found["feature"], weights[2][0], dim=-1).abs()
    assert along.max() > 0.999
