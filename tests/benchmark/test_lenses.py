"""A measure earns its column, or it is said why not."""

import numpy as np
import pandas as pd
import pytest
from strangers import small

from faithnb.benchmark.columns import COLUMNS, JUDGED
from faithnb.benchmark.controls import IDEAL, LINEAR, PLANTED, SHUFFLED, UNTRAINED
from faithnb.benchmark.lenses import MOST_NOISE, audit, judged

GOOD = {IDEAL: 0.0, PLANTED: 0.5, SHUFFLED: 2.0, UNTRAINED: 3.0, LINEAR: 1.0}
QUIET = np.full((2, 8), 0.5)
EVERY = pd.DataFrame(
    {"mechanism_error": np.arange(9.0), "mechanism_error_at_p": np.arange(9.0)}
    | {name: np.arange(9.0) for name in ("patching_error", "fvu", "memorized", "masking_index")}
    | {"circuit_match": -np.arange(9.0)}
)


def verdict(name="patching_error", of=GOOD, noisy=QUIET, every=EVERY, trend=1.0):
    return judged(COLUMNS[name], pd.Series(of), noisy, every, trend)


def test_a_good_measure_earns_its_column():
    found = verdict()
    assert found.earned
    assert found.correlation == pytest.approx(1)
    assert verdict("circuit_match", of={k: 1 - v for k, v in GOOD.items()}).earned


@pytest.mark.parametrize(("given", "reason"), [
    ({"noisy": QUIET * (1 + 3 * MOST_NOISE * np.tile([-1, 1], (2, 4)))}, "noise: it varies by"),
    ({"of": GOOD | {PLANTED: 0.0}}, "order: planted is as good as ideal"),
    ({"of": GOOD | {UNTRAINED: -1.0}}, "order: untrained is as good as ideal"),
    ({"name": "fvu", "of": GOOD | {LINEAR: 0.4}}, "order: linear is as good as planted"),
    ({"every": EVERY.assign(patching_error=[1, -1] * 4 + [0])}, "order: its correlation with the"),
    ({"trend": 0.1}, "training: its correlation with the step is 0.10"),
    ({"trend": float("nan")}, "training: its correlation with the step is nan"),
    ({"of": GOOD | {IDEAL: 0.1}}, "order: the layer's own mechanism has 0.1"),
    ({"of": GOOD | {IDEAL: np.nan}}, "it is not defined here"),
])  # fmt: skip
def test_why_a_measure_has_not(given, reason):
    found = verdict(**given)
    assert not found.earned
    assert any(why.startswith(reason) for why in found.reasons), found.reasons


def test_an_error_may_be_0_where_the_mechanism_is_another():
    assert verdict("fvu", of=GOOD | {PLANTED: 0.0}).earned


def test_a_layer_that_its_circuits_are_only_near_to_sets_its_own_floor():
    of = pd.Series(GOOD | {IDEAL: 0.1})
    assert judged(COLUMNS["patching_error"], of, QUIET, EVERY, 1.0, exact=False).earned


def test_a_control_for_which_it_is_not_defined_is_left_out():
    assert verdict(of=GOOD | {LINEAR: np.nan}).earned


def test_what_the_lenses_say_of_every_column():
    """Known without training: a broken decoder memorizes nothing, so that the note's measure ranks
    it beside the layer itself; what asks for the mechanism does not."""
    found, controls = audit(small(steps=100), seeds=[1, 2])
    assert [*found.index] == JUDGED
    assert {"noise", "decidable", "trend", "earned"} <= set(found)
    assert {IDEAL, PLANTED, LINEAR} <= set(controls.index)
    assert controls.state[PLANTED] == "datapoint"
    for name in ("memorized", "memorization_share", "masking_index"):
        assert not found.earned[name]
        assert any(why.startswith("order") for why in found.reasons[name])
    assert found.order[["fvu", "mechanism_error_at_p", "parts_error", "jacobian_cosine"]].all()
    assert (found.noise[["fvu", "mechanism_error", "patching_error"]] > 0).all()
    assert found.noise["parts_error"] == 0
