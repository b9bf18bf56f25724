"""What is scored of a module on a task."""

import numpy as np
import pytest
from strangers import Relu, small

from faithnb import InputError, Transcoder
from faithnb.benchmark import TASKS, score
from faithnb.benchmark.columns import CERTIFIED, COLUMNS, JUDGED, WORDS
from faithnb.benchmark.controls import LINEAR, PLANTED, UNTRAINED, controls
from faithnb.benchmark.lenses import MOST_OFF

RELUS_ALONE = {"masking_index", "masking_index_at_p"}
OF_TRAINING = {"seconds", "samples"}


NOT_DEFINED = {"rotated": {"parts_error", "signs_error", CERTIFIED}}
"""A rotated point has more coordinates than can be left out or flipped in every way, or bounded."""

AT_FAULT = {
    "superposed": {"patching_error", "patching_error_at_p"},
    "combinations": {"patching_error", "patching_error_at_p"},
    "rotated": {"patching_error"},
}
"""Where taking a coordinate away turns on circuits that were silent, so that a list of what acted
is not the whole story even for the layer itself."""


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_the_layers_own_mechanism_has_no_error(task):
    found = score(controls(task)["ideal"], task)
    kind = task.name.split("-")[0]
    assert [*found.index] == [*COLUMNS, *WORDS]
    not_defined = NOT_DEFINED.get(kind, set())
    assert {name for name in COLUMNS if np.isnan(found[name])} == OF_TRAINING | not_defined
    own = {c for c in JUDGED if COLUMNS[c].best == "low" and "mask" not in c and "mem" not in c}
    own -= not_defined | AT_FAULT.get(kind, set())
    if kind == "smooth":  # no ReLU computes it
        own = {"mechanism_error", "mechanism_error_at_p"}
        assert found.fvu < 0.01
    assert found[[*own]].max() < 1e-5
    assert (found[[*AT_FAULT.get(kind, ())]] > MOST_OFF).all() or task.has_mechanism
    assert found.circuit_match_with_p == 1
    assert found.jacobian_cosine == pytest.approx(1, abs=0.02 if kind == "smooth" else 1e-6)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_planted_feature_is_right_at_p_by_another_mechanism(task):
    """Where the layer has a mechanism for the point, it is nearly right: a feature that writes
    f(p) in place of |x| is off by 2 of 1 + 3²."""
    ideal, found = (score(controls(task)[name], task) for name in ("ideal", PLANTED))
    assert found.error_at_p < 1e-10
    low, high = (0.2, 0.35) if task.has_mechanism else (0.75, 1.5)
    assert low - 1e-3 < found.mechanism_error_at_p < high
    assert not found.parts_error <= ideal.parts_error + 0.04
    assert found.patching_error_at_p > ideal.patching_error_at_p + 0.05


def test_controls_whose_answer_is_known():
    task = TASKS["abs-v1"]
    found = controls(task)
    assert score(found[PLANTED], task).state == "datapoint"
    assert score(found[PLANTED], task).mechanism_error_at_p == pytest.approx(4 / 3, abs=1e-6)
    assert score(found[PLANTED], task).patching_error_at_p == pytest.approx(2, abs=1e-6)
    assert score(found[LINEAR], task).l0 == 0
    assert score(found[UNTRAINED], task).fvu > 1


def test_the_same_module_as_another_class_scores_the_same():
    module, task = Relu(), TASKS["abs-v1"]
    ours = Transcoder.from_arrays(
        module.e.weight.T, module.e.bias, module.d.weight.T, module.d.bias
    )
    a, b = score(module, task), score(ours, task)
    for name in COLUMNS:
        if name not in RELUS_ALONE | OF_TRAINING | {CERTIFIED}:
            assert a[name] == pytest.approx(b[name], rel=1e-5, abs=1e-6), name
    assert a.state == b.state


def test_several_points_are_averaged():
    points, module = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0, 1.0)), Relu()
    each = [score(module, small(points=(p,))) for p in points]
    both = score(module, small(points=points))
    assert both.parts_error == pytest.approx(np.mean([e.parts_error for e in each]))
    assert both.fvu == each[0].fvu


def test_without_points_what_is_at_one_is_not_defined():
    task = small(points=(), repeat_frac=0.0)
    found = score(controls(task)["ideal"], task)
    assert found.fvu < 1e-12
    assert found.state == ""
    assert np.isnan([found.parts_error, found.memorized, found.mechanism_error_at_p]).all()


@pytest.mark.parametrize(("module", "sentence"), [
    (Transcoder.random([0, 1], 16, 8, 16), "an ensemble of 2 is not allowed"),
    (Transcoder.random([0], 8, 8, 16), "d_in = 8 is not allowed: abs-v1 has d_in = 16"),
    (Transcoder.random([0], 16, 8, 8), "d_out = 8 is not allowed: abs-v1 has d_out = 16"),
    (Relu(8), r"it must map \[B, 16\] to \[B, 16\]"),
    (3, "it cannot be called"),
])  # fmt: skip
def test_what_does_not_fit_gets_a_sentence(module, sentence):
    with pytest.raises(InputError, match=sentence):
        score(module, TASKS["abs-v1"])


def test_weights_that_are_not_finite_get_a_sentence():
    broken = Transcoder.random([0], 16, 8, 16)
    broken = broken.with_weights({k: w / 0 for k, w in broken.weights().items()})
    with pytest.raises(InputError, match="weights are not finite"):
        score(broken, TASKS["abs-v1"])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_on_a_hidden_variant_the_layers_own_mechanism_scores_as_on_the_task(task):
    hidden = task.hidden(7)
    ideal = Transcoder.from_circuits(hidden.layer.circuits())
    found = score(ideal, hidden)
    kind = task.name.split("-")[0]
    assert found.fvu < (0.01 if kind == "smooth" else 1e-9)
    assert found.mechanism_error < 1e-8
    assert found.mechanism_error_at_p < 1e-8
    assert found.circuit_match_with_p == 1
