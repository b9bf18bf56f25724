"""The widgets' side in Python: what they tell a page, and what they do for it."""

import base64
import zlib
from dataclasses import replace

import numpy as np
import papermill
import pytest

from faithnb import Experiment, Store, explore, sweep, train
from faithnb.book.contents import ROOT
from faithnb.data.sampling import pad_points
from faithnb.experiment import ParameterError
from faithnb.widgets.explorer import Atlas, Explorer, Mechanism, PhaseDiagram
from faithnb.widgets.knobs import KNOBS, PAGE_TRAINS, STORIES

SMALL = Experiment(d_in=4, d_sae=8, steps=100, batch_size=16, repeat_frac=0.1)
NAMES = [knob["name"] for group in KNOBS for knob in group["knobs"]]


@pytest.fixture
def explorer(monkeypatch):
    widget = explore(SMALL)
    widget.sent = []
    monkeypatch.setattr(widget, "send", widget.sent.append)
    return widget


def test_knobs_are_fields_and_the_explorers_notebook_takes_them_all():
    assert set(NAMES) <= set(Experiment.__dataclass_fields__)
    known = papermill.inspect_notebook(str(ROOT / "notebooks" / "explorer.ipynb"))
    assert set(NAMES) <= set(known)


@pytest.mark.parametrize("story", STORIES, ids=lambda s: s["name"])
def test_stories_are_experiments(story):
    unmatched = {"jacobian_coefficient": 0.0, "kink": "zero"}
    e = replace(Experiment(), **(unmatched | story["fields"]))
    assert replace(e, **PAGE_TRAINS) == e


def test_what_a_page_does_not_know_is_refused_and_explored_without():
    strange = replace(SMALL, jacobian_matching="noise", jacobian_coefficient=0.1, init="memorising",
                      d_sae=40)  # fmt: skip
    with pytest.raises(ParameterError, match="a page trains"):
        Explorer(strange)
    with pytest.raises(ParameterError, match="a page trains one of none, plain"):
        Explorer(replace(strange, init="random"))
    assert explore(strange).experiment == replace(SMALL, d_sae=40)


def test_architectures_that_a_page_trains_are_explored_and_others_as_relus():
    topk = replace(SMALL, architecture="topk", k=2)
    assert explore(topk).experiment == topk
    jumprelu = replace(SMALL, architecture="jumprelu", gate_gradient="input", bandwidth=0.1)
    assert explore(jumprelu).experiment == replace(jumprelu, gate_gradient="threshold")
    assert explore(replace(SMALL, architecture="batch_topk", k=1.5)).experiment == SMALL
    with pytest.raises(ParameterError, match="a page trains one of relu, topk, jumprelu"):
        Explorer(replace(SMALL, architecture="gated"))


def test_there_is_always_room_for_the_points():
    def fewest(explorer):
        knobs = [knob for group in explorer.knobs for knob in group["knobs"]]
        return next(knob["min"] for knob in knobs if knob["name"] == "d_in")

    assert fewest(Explorer(Experiment())) == 4
    assert fewest(Explorer(Experiment(points=((1.0,) * 6,)))) == 6
    assert fewest(Explorer(Experiment(points=()))) == 4


def test_what_the_knobs_say_is_the_experiment(explorer):
    assert explorer.experiment == SMALL
    explorer.fields = explorer.fields | {"repeat_frac": 0.2}
    assert explorer.experiment == replace(SMALL, repeat_frac=0.2)


def test_a_kernel_answers_and_trains_with_torch(explorer):
    explorer._answer({"asks": "whether a kernel is there"})
    explorer._answer({"train": True})
    expected = train(SMALL, progress=False)
    assert explorer.trained.experiments == (SMALL,)
    assert (explorer.trained.transcoder.W_enc == expected.transcoder.W_enc).all()
    kernel, result = explorer.sent
    assert kernel == {"kernel": True}
    W_enc, b_enc, W_dec = result["trained"]["weights"]
    assert np.allclose(W_enc, expected.transcoder.W_enc[0].flatten())
    assert (len(b_enc), len(W_dec)) == (8, 32)
    first = result["trained"]["history"][0]
    assert first["step"] == 0
    assert first["loss"] == pytest.approx(float(expected.history.loss[0, 0]))


def test_choices_without_sense_are_said_and_the_last_result_stays(explorer):
    before = explorer.run()
    explorer.fields = explorer.fields | {"jacobian_coefficient": 0.5}
    explorer._answer({"train": True})
    assert "jacobian_matching = 'none'" in explorer.sent[-1]["refused"]
    assert explorer.trained is before


def test_a_page_refuses_what_it_cannot_train():
    exact = replace(SMALL, jacobian_matching="plain", jacobian_estimator="exact")
    with pytest.raises(ParameterError, match="jacobian_estimator = 'exact' is not allowed: a page"):
        Explorer(exact)
    with pytest.raises(ParameterError, match="contribution_coefficient = 0.1 is not allowed"):
        PhaseDiagram(SMALL, {"guarded": {"contribution_coefficient": 0.1}})
    assert explore(exact).experiment == replace(exact, jacobian_estimator="sampled")


def test_a_mechanism_has_the_weights():
    trained = train([SMALL, replace(SMALL, repeat_frac=0.0)], progress=False).transcoder
    p = pad_points(SMALL.points, 4)[0]
    widget = Mechanism({"a": trained, "b": trained[1]}, p)
    assert [t["name"] for t in widget.transcoders] == ["a", "b"]
    assert np.allclose(widget.transcoders[1]["W_dec"], trained.W_dec[1].flatten(), atol=1e-5)
    assert widget.p == [1, 1, 1, 0]


def test_an_atlas_packs_the_first_seed_of_each_cell_and_the_states_of_all(tmp_path):
    axes = {"repeat_frac": [0.0, 0.2], "sparsity_coefficient": [0.03, 0.1, 0.3], "seed": [5, 6]}
    options = {"store": Store(tmp_path), "progress": False, "weights": True}
    scans = {
        "none": sweep(replace(SMALL, seed=0), **axes, **options),
        "few": sweep(replace(SMALL, density=0.3), **(axes | {"seed": [9]}), **options),
    }
    widget = Atlas(scans, Store(tmp_path), progress=False)
    packed = np.frombuffer(zlib.decompress(base64.b64decode(widget.weights)), "<i2")
    packed = packed.reshape(12, 2 * 4 * 8 + 8)
    for scan, seed in zip(widget.scans, (5, 9), strict=True):
        for i, c in enumerate(axes["sparsity_coefficient"]):
            for j, r in enumerate(axes["repeat_frac"]):
                e = replace(
                    SMALL, repeat_frac=r, sparsity_coefficient=c, seed=seed,
                    density=scan["density"],
                )  # fmt: skip
                t = train(e, progress=False).transcoder
                weights = np.concatenate([w.flatten() for w in (t.W_enc, t.b_enc, t.W_dec)])
                found = packed[scan["first"] + 2 * i + j] * scan["scales"][i][j] / 32767
                assert np.abs(found - weights).max() < 1e-4
        assert np.shape(scan["states"]) == (3, 2, len(scan["seeds"]))
        assert np.shape(scan["measures"][0]["values"]) == np.shape(scan["states"])
    assert widget.scans[0]["states"][2][1][1] == scans["none"].state.sel(
        repeat_frac=0.2, sparsity_coefficient=0.3, seed=6
    )
