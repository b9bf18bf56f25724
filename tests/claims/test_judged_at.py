"""At which settings claims were judged."""

import re
from dataclasses import replace

import numpy as np

from faithnb import Experiment
from faithnb.claims.evidence import Evidence
from faithnb.claims.judged_at import as_table, described, in_words
from faithnb.claims.ledger import as_rows

BASE = Experiment(repeat_frac=0.1, seed=1000)


def test_a_setting_is_what_differs_from_the_headline_setting():
    assert described(Experiment(seed=7)) == {}
    assert described(BASE) == {"repeat_frac": 0.1}
    assert described(()) is None
    matched = replace(BASE, jacobian_matching="plain", jacobian_coefficient=0.03, repeat_frac=0.0)
    both = {
        "repeat_frac": [0.0, 0.1],
        "jacobian_matching": ["none", "plain"],
        "jacobian_coefficient": [0.0, 0.03],
    }
    assert described([BASE, {"matched": matched}]) == both


def test_what_a_sweep_goes_over_stands_in_place_of_the_experiments_value():
    over = {"sparsity_coefficient": np.array([3 * 0.1, 0.1, 0.3]), "seed": range(3)}
    assert described(BASE, over) == {"repeat_frac": 0.1, "sparsity_coefficient": [0.1, 0.3]}
    assert described(BASE, {"repeat_frac": [0.0]}) == {}


def test_a_setting_in_words():
    assert in_words({}) == "nothing"
    assert in_words(None) == "no transcoder is trained for it"
    found = {"repeat_frac": [0.0, 0.1], "density": [0.01, 0.02, 0.03, 0.04, 0.3], "batch_size": 128}
    assert in_words(found) == "r = 0, 0.1; density = 0.01 to 0.3; batch_size = 128"


def test_claims_with_one_setting_share_a_row():
    def judged(kind, setting, n, **more):
        part = Evidence("x", 0.5, (0.1, 0.9), n, "holds", **more)
        beside = Evidence("y", 0.5, None, 99, "reported")
        evidence = [vars(part), vars(beside)]
        return {"kind": kind, "statement": "", "evidence": evidence, "setting": setting}

    recorded = {
        "C1": judged("empirical", {"repeat_frac": 0.1}, 16),
        "C2": judged("identity", {"repeat_frac": 0.1}, 16),
        "C3": judged("empirical", {}, 16),
        "C4": judged("empirical", {"repeat_frac": 0.1}, 5),
        "L11": judged("empirical", None, 1, unit="prompts"),
    }
    rows = as_rows(recorded)
    cells = re.findall(r"<td>(.*?)</td>", as_table(rows))
    assert [cells[k : k + 3] for k in range(0, len(cells), 3)] == [
        ["C1, C4", "r = 0.1", "5 to 16 seeds"],
        ["C3", "nothing", "16 seeds"],
        ["L11", "no transcoder is trained for it", "1 prompt"],
    ]
