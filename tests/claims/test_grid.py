"""Whether claims hold at a setting: three-valued judgements, and parts on tables made by hand."""

from dataclasses import dataclass, replace
from unittest.mock import ANY

import numpy as np
import pytest
import xarray as xr
from conftest import MADE

from faithnb import Experiment, Store, Transcoder
from faithnb.claims import of_note, of_ours
from faithnb.claims.grid import (
    NO_PART,
    ahead,
    all_of,
    area,
    at_least,
    explained,
    fallen,
    for_ledger,
    in_words,
    induced,
    judge,
    most,
    table,
)
from faithnb.claims.of_note import between, of_law, of_masking, removed
from faithnb.claims.of_ours import of_cures, of_harm, of_mechanism, of_spread, of_theory
from faithnb.claims.statements import CLAIMS

NAN = float("nan")
BASE = Experiment(d_in=6, d_sae=15, batch_size=32, steps=4, repeat_frac=0.1)
CURE = replace(BASE, jacobian_matching="plain", jacobian_coefficient=0.1)


def told(value):
    """True, False or None, where there is nothing to judge."""
    return None if np.isnan(value) else bool(value)


def rates(k, n=10):
    return np.arange(n) < k


def test_a_part_that_fails_decides_and_one_that_is_missing_leaves_open():
    assert told(all_of(True, True)) is True
    assert told(all_of(True, NAN)) is None
    assert told(all_of(NAN, False)) is told(all_of(False, True)) is False
    assert told(all_of(np.bool_(False), NAN)) is False


def test_frequencies():
    assert [told(most(rates(k))) for k in (8, 9, 10)] == [False, True, True]
    assert told(most([])) is None
    assert told(induced(rates(3), rates(0))) is True
    assert told(induced(rates(2), rates(0))) is told(induced(rates(10), rates(1))) is False
    assert told(fallen(rates(2), rates(0))) is None
    assert told(fallen(rates(6), rates(3))) is told(fallen(rates(3), rates(0))) is True
    assert told(fallen(rates(8), rates(5))) is told(fallen(rates(10), rates(8))) is False


def test_orders_need_three_seeds_on_each_side():
    high, low, seeds = np.array([3.0, 4, 5]), np.array([0.0, 1, 2]), np.arange(3)
    assert told(ahead(high, low, seeds, seeds)) is True
    assert told(ahead(low, high, seeds, seeds)) is False
    assert told(ahead(high, low, seeds, np.zeros(3))) is None
    diverged = np.array([0.0, 1, NAN])
    assert told(ahead(high, diverged, seeds, seeds)) is None
    more = np.append(low, NAN)
    assert told(ahead(high, more, seeds, np.arange(4))) is True


def test_areas_need_three_on_each_side_and_every_score():
    labels = rates(3, 6)[::-1]
    assert area(np.arange(6.0), labels) == 1
    assert np.isnan(area(np.arange(6.0), rates(2, 6)))
    assert np.isnan(area(np.append(np.arange(5.0), NAN), labels))
    assert [told(at_least(v, 0.9)) for v in (0.9, 0.8, NAN)] == [True, False, None]


def arm(state="generalising", seeds=5, **columns):
    """Metrics of an arm: the same for every seed unless a list is given."""
    every = {"state": state, "memorization_share": 0.0, "fvu": 0.01, "l0": 1.6, **columns}
    return xr.Dataset(
        {k: ("inst", np.broadcast_to(np.asarray(v), seeds).copy()) for k, v in every.items()},
        coords={"seed": ("inst", np.arange(seeds))},
    )


def test_nothing_is_removed_where_nothing_memorises():
    good, bad = arm(rotation=0.0), arm("datapoint", rotation=0.4)
    assert told(removed(good, bad, arm(fvu=0.0105))) is True
    assert told(removed(good, bad, arm(fvu=0.02))) is told(removed(good, bad, bad)) is False
    assert told(removed(good, good, good)) is None
    assert told(between(good, bad, arm(rotation=0.1))) is True
    assert told(between(good, bad, arm(rotation=0.3))) is False
    some = arm(["datapoint", *4 * ["generalising"]], rotation=[0.4, 0, 0, 0, 0])
    assert told(between(good, some, arm(rotation=0.1))) is True  # half of the memorising one's 0.4
    assert told(between(good, good, arm(rotation=0.1))) is None


@pytest.mark.parametrize(
    ("memorises", "C10", "C11"),
    [
        (lambda r, lam: r * lam >= 0.0099, True, True),
        (lambda r, lam: lam >= 0.1 and r > 0, True, False),
        (lambda r, lam: r >= 0.1, False, False),
        (lambda r, lam: r >= 0.1 and lam > 0, ANY, False),
        (lambda r, lam: r * lam >= 0.039, True, None),
        (lambda r, lam: False, None, None),
    ],
)
def test_the_law_of_the_product(memorises, C10, C11):
    arms, verdict = of_law(BASE, CURE)
    assert len(arms) == 16
    assert {(e.repeat_frac, e.sparsity_coefficient) for e in arms.values()} == set(arms)
    tables = {k: arm("datapoint" if memorises(*k) else "generalising") for k in arms}
    found = verdict({}, tables)
    # ANY: a slope that may as well be 0, which may come out a little to either side
    assert told(found["C10"]) == C10
    assert told(found["C11"]) is C11


def test_a_cheat_is_judged_under_l1_whatever_the_scale_of_tanh():
    arms, verdict = of_masking(replace(BASE, tanh_scale=4.0), CURE)
    assert {e.tanh_scale for e in arms.values() if e.sparsity_penalty == "l1"} == {1.0}
    index = {"l1": 0.1, "l1 matched": 0.3, "tanh matched": 0.2}
    tables = {k: arm(masking_index=index[k[0]]) for k in arms}
    assert verdict({}, tables) == {"C22": True, "C23": True}
    apart = {k: m.assign(fvu=m.fvu + (k[0] == "l1 matched")) for k, m in tables.items()}
    found = verdict({}, apart)  # those fail the task
    assert told(found["C22"]) is told(found["C23"]) is None
    equal = {k: arm(masking_index=0.1 + 0.01 * np.arange(5)) for k in arms}
    assert verdict({}, equal) == {"C22": False, "C23": False}


def test_spread_and_cures():
    arms, verdict = of_spread(BASE, CURE)
    rarer = {k: arm(memorization_share=float(k[0] < 0.4 * k[1])) for k in arms}
    assert verdict({}, rarer) == {"B3": True}
    oftener = {k: arm(memorization_share=float(k[0] > 0.4 * k[1])) for k in arms}
    assert verdict({}, oftener) == {"B3": False}
    assert told(verdict({}, {k: arm() for k in arms})["B3"]) is None

    arms, verdict = of_cures(BASE, CURE)
    stays = {"none", "long", "long finite", "long sigmoid gate", "S", "noise 0.1", "noise 0.3"}
    lost = {"S plain", "S smoothed"}
    tables = {k: arm(memorization_share=float(k in stays), fvu=0.2 if k in lost else 0.01)
              for k in arms}  # fmt: skip
    assert verdict({}, tables) == {"B8": True, "B19": True, "B20": True}
    found = verdict({}, tables | {k: arm() for k in ("noise 0.3", "long finite", "S plain")})
    assert found == {"B8": False, "B19": False, "B20": False}
    found = verdict({}, {k: arm() for k in arms})
    assert [told(found[k]) for k in ("B8", "B19", "B20")] == [None, None, False]


def test_where_theory_has_nothing_to_say_nothing_is_judged():
    assert len(of_theory(BASE, CURE)[0]) == 5
    for other in ({"d_sae": 12}, {"points": ((1.0, 1.0),)}, {"sparsity_coefficient": 1e-3}):
        assert of_theory(replace(BASE, **other), CURE) is NO_PART


def test_harm_and_mechanism_of_transcoders_made_by_hand():
    G, M = (Transcoder.from_circuits(MADE[k]) for k in ("generalising", "datapoint"))
    three = {name: Transcoder.cat(3 * [t]) for name, t in (("G", G), ("M", M))}
    arms, verdict = of_mechanism(BASE, CURE)
    tables = {k: arm(seeds=3, jacobian_error_at_p=0.0) for k in arms}
    weights = {"none": three["M"], "smoothed": three["G"], "points": three["M"], "base": three["G"]}
    found = verdict(weights, tables)
    assert {k: told(v) for k, v in found.items()} == dict(B7=True, B13=True, B14=True, B17=False)
    found = verdict(dict.fromkeys(arms, three["G"]), tables)
    assert {k: told(v) for k, v in found.items()} == dict(B7=False, B13=False, B14=None, B17=None)

    arms, verdict = of_harm(*(replace(e, d_sae=12) for e in (BASE, CURE)))
    harmed = ("plain", "smooth, plain", "smooth, smoothed", "smooth, straight-through")
    tables = {k: arm(seeds=3, fvu=0.5 if k in harmed else 0.01) for k in arms}
    worse = Transcoder(G.W_enc, G.b_enc + 0.1, 0.5 * G.W_dec, G.b_dec)
    weights = dict.fromkeys(arms, three["G"]) | {"plain": Transcoder.cat(3 * [worse])}
    assert verdict(weights, tables) == {"B5": True, "B6": True, "B9": True, "B18": True}
    tables["smooth, finite"] = arm(seeds=3, fvu=NAN)
    assert verdict(weights, tables)["B9"] is False


def test_every_part_is_judged_on_what_it_asked_for(tmp_path):
    """Tiny trainings, one of which is too narrow for solutions laid out by hand."""
    settings = [(BASE, CURE), tuple(replace(e, d_sae=12, density=0.3) for e in (BASE, CURE))]
    rows = judge(of_note.PARTS + of_ours.PARTS, settings, (0, 1, 2), Store(tmp_path), False)
    wide, narrow = rows
    assert set(wide) == set(of_note.WHAT) | set(of_ours.WHAT)
    assert set(wide) - set(narrow) == {"B10", "B11", "B12", "B16"}
    assert all(v in (0, 1) or np.isnan(v) for row in rows for v in row.values())
    empirical = {c.id for c in CLAIMS.values() if c.kind == "empirical"}
    assert empirical - set(wide) == {"C28"}
    assert judge([lambda base, cure: NO_PART], settings, (0,)) == [{}, {}]


@dataclass
class Made:
    """As much of a :class:`faithnb.Trained` as is looked at."""

    transcoder: float

    def metrics(self):
        return arm(seeds=2)


def test_arms_of_all_settings_are_trained_once_and_judged_each_by_its_own(monkeypatch):
    trained = []

    def compare(conditions, seeds, **_):
        trained.append(list(conditions.values()))
        return {k: Made(e.density) for k, e in conditions.items()}

    def part(base, cure):
        arms = {"a": base, "b": cure, "c": base}
        return arms, lambda t, m: {"C1": t["a"], "C3": t["b"]}

    def again(base, cure):
        return {"x": cure}, lambda t, m: {"C4": m["x"].seed.values.tolist()}

    monkeypatch.setattr("faithnb.claims.grid.compare", compare)
    other = [replace(e, density=0.2) for e in (BASE, CURE)]
    rows = judge([part, again], [(BASE, CURE), tuple(other)], [5, 6])
    assert rows == [{"C1": q, "C3": q, "C4": [5, 6]} for q in (BASE.density, 0.2)]
    assert trained == [[BASE, CURE, *other]]


def test_tables_and_the_ledger():
    settings = [{"d_in": d, "density": q, "tanh_scale": 1.0} for d in (8, 16) for q in (0.1, 0.3)]
    rows = [{"C3": True, "B1": NAN}, {"C3": False, "C1": True}, {"C3": True}, {"C3": True}]
    found = table(rows, settings)
    assert list(found) == ["C1", "C3", "B1"]
    kept = for_ledger(found)
    assert kept["C3"] == {
        "share": 0.75,
        "n": 4,
        "fails": ["d_in = 8, density = 0.3, tanh_scale = 1"],
    }
    assert (kept["C1"]["n"], kept["B1"]["n"]) == (1, 0)
    shown = in_words(found, {"d_in": "coordinates", "density": "density", "tanh_scale": "s"})
    assert shown.columns.names == ["coordinates", "density"]
    assert shown.loc["C3"].tolist() == ["✓", "–", "✓", "✓", "3 of 4"]
    assert shown.loc["B1"].tolist() == ["·", "·", "·", "·", "0 of 0"]
    one = in_words(table([{"C3": True}], settings[:1]), {"d_in": "coordinates"})
    assert one.loc["C3"].tolist() == ["✓", "1 of 1"]
    assert list(one) == [8, "holds in"]
    assert "<td>C3</td><td>a &lt; b</td>" in explained({"C3": "a < b"})
