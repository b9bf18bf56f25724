"""Whether claims hold at a setting: three-valued judgements, and conditions made by hand."""

from dataclasses import dataclass, replace
from unittest.mock import ANY

import numpy as np
import pytest
import xarray as xr
from conftest import MADE

from faithnb import Experiment, Store, Transcoder
from faithnb.claims import CLAIMS
from faithnb.claims.grid import explained, for_ledger, in_words, judge, judged, table
from faithnb.claims.registry import Claim
from faithnb.claims.rules import Above, Below
from faithnb.claims.setting import Setting, area

NAN = float("nan")
BASE = Experiment(d_in=6, d_sae=15, batch_size=32, steps=4, repeat_frac=0.1)
MATCHED = replace(BASE, jacobian_matching="plain", jacobian_coefficient=0.1)


def told(value):
    """True, False or None, where there is nothing to judge."""
    return None if np.isnan(value) else bool(value)


def conditions(claim, base=BASE, matched=MATCHED):
    return CLAIMS[claim].conditions(base, matched)


def held(claim, tables=None, transcoders=None, base=BASE, matched=MATCHED):
    """What a claim makes of conditions made by hand: one table for all, or one for each."""
    names = conditions(claim, base, matched)
    one = CLAIMS[claim]
    return told(one.holds(one.measured(
        Setting(base, matched, names, transcoders or {}, tables or {})
    )))  # fmt: skip


def rates(k, n=10):
    return np.arange(n) < k


def test_areas_need_three_on_each_side_and_every_score():
    labels = rates(3, 6)[::-1]
    assert area(np.arange(6.0), labels) == 1
    assert np.isnan(area(np.arange(6.0), rates(2, 6)))
    assert np.isnan(area(np.append(np.arange(5.0), NAN), labels))


def measured(state="generalising", seeds=5, **columns):
    """Measures of a condition: the same for every seed unless a list is given."""
    every = {"state": state, "memorization_share": 0.0, "fvu": 0.01, "l0": 1.6, **columns}
    return xr.Dataset(
        {k: ("inst", np.broadcast_to(np.asarray(v), seeds).copy()) for k, v in every.items()},
        coords={"seed": ("inst", np.arange(seeds))},
    )


def test_nothing_is_removed_where_nothing_memorizes():
    good, bad = measured(rotation=0.0), measured("datapoint", rotation=0.4)

    def C20(none, repeats, matched):
        return held("C20", {"none": none, "repeats": repeats, "matched": matched})

    def C21(none, repeats, matched):
        return held("C21", {"none": none, "repeats": repeats, "matched": matched})

    assert C20(good, bad, measured(fvu=0.0105)) is True
    assert C20(good, bad, measured(fvu=0.02)) is C20(good, bad, bad) is False
    assert C20(good, good, good) is None
    assert C21(good, bad, measured(rotation=0.1)) is True
    assert C21(good, bad, measured(rotation=0.3)) is False
    assert C21(good, bad, measured(rotation=NAN)) is False  # no feature is left
    some = measured(["datapoint", *4 * ["generalising"]], rotation=[0.4, 0, 0, 0, 0])
    assert C21(good, some, measured(rotation=0.1)) is True  # half of the memorizing one's 0.4
    assert C21(good, good, measured(rotation=0.1)) is None


def test_a_jacobian_of_zero_is_not_diagonal():
    shares = {"repeats": np.linspace(0.5, 1, 5), "none": np.full(5, 0.01)}

    def C16():
        return held("C16", {k: measured(off_diagonal_share=v) for k, v in shares.items()})

    assert C16() is True
    shares["none"][0] = NAN
    assert C16() is False


@pytest.mark.parametrize(
    ("memorizes", "C10", "C11"),
    [
        (lambda r, lam: r * lam >= 0.0099, True, True),
        (lambda r, lam: lam >= 0.1 and r > 0, True, False),
        (lambda r, lam: r >= 0.1, False, False),
        (lambda r, lam: r >= 0.1 and lam > 0, ANY, False),
        (lambda r, lam: r * lam >= 0.039, True, None),
        (lambda r, lam: False, None, None),
    ],
)
def test_the_law_of_the_product(memorizes, C10, C11):
    scan = conditions("C10")
    assert len(scan) == 16
    assert {(e.repeat_frac, e.sparsity_coefficient) for e in scan.values()} == set(scan)
    tables = {k: measured("datapoint" if memorizes(*k) else "generalising") for k in scan}
    # ANY: a slope that may as well be 0, which may come out a little to either side
    assert held("C10", tables) == C10
    assert held("C11", tables) is C11


def test_a_cheat_is_judged_under_l1_whatever_the_scale_of_tanh():
    base = replace(BASE, tanh_scale=4.0)
    masking = conditions("C22", base)
    assert {e.tanh_scale for e in masking.values() if e.sparsity_penalty == "l1"} == {1.0}
    index = {"l1": 0.1, "l1 matched": 0.3, "tanh matched": 0.2}
    tables = {k: measured(masking_index=index[k[0]]) for k in masking}
    assert [held(k, tables, base=base) for k in ("C22", "C23")] == [True, True]
    apart = {k: m.assign(fvu=m.fvu + (k[0] == "l1 matched")) for k, m in tables.items()}
    assert [held(k, apart, base=base) for k in ("C22", "C23")] == [None, None]  # those fail
    equal = {k: measured(masking_index=0.1 + 0.01 * np.arange(5)) for k in masking}
    assert [held(k, equal, base=base) for k in ("C22", "C23")] == [False, False]


def test_spread_and_remedies():
    cells = conditions("B3")
    rarer = {k: measured(memorization_share=float(k[0] < 0.4 * k[1])) for k in cells}
    assert held("B3", rarer) is True
    oftener = {k: measured(memorization_share=float(k[0] > 0.4 * k[1])) for k in cells}
    assert held("B3", oftener) is False
    assert held("B3", {k: measured() for k in cells}) is None

    def remedies(tables):
        return [held(k, tables) for k in ("B8", "B19", "B20")]

    stays = {"none", "long", "long finite", "long sigmoid_gate", "S", "noise 0.1", "noise 0.3"}
    lost = {"S plain", "S smoothed"}
    tables = {
        k: measured(memorization_share=float(k in stays), fvu=0.2 if k in lost else 0.01)
        for k in conditions("B8")
    }
    assert remedies(tables) == [True, True, True]
    undone = {k: measured() for k in ("noise 0.3", "long finite", "S plain")}
    assert remedies(tables | undone) == [False, False, False]
    assert remedies({k: measured() for k in tables}) == [None, None, False]


def test_where_theory_has_nothing_to_say_a_claim_does_not_apply():
    assert len(conditions("B10")) == 5
    for other in ({"d_sae": 12}, {"points": ((1.0, 1.0),)}, {"sparsity_coefficient": 1e-3}):
        assert conditions("B10", replace(BASE, **other)) is None


def test_mechanism_and_cost_of_transcoders_made_by_hand():
    G, M = (Transcoder.from_circuits(MADE[k]) for k in ("generalising", "datapoint"))
    three = {name: Transcoder.cat(3 * [t]) for name, t in (("G", G), ("M", M))}

    def mechanism(of):
        tables = {k: measured(seeds=3, jacobian_error_at_p=0.0) for k in conditions("B7")}
        return {k: held(k, tables, of) for k in ("B7", "B13", "B14", "B17")}

    of = {"none": three["M"], "smoothed": three["G"], "points": three["M"], "base": three["G"]}
    assert mechanism(of) == {"B7": True, "B13": True, "B14": True, "B17": False}
    alike = mechanism(dict.fromkeys(of, three["G"]))
    assert alike == {"B7": False, "B13": False, "B14": None, "B17": None}

    wide = {"base": replace(BASE, d_sae=12), "matched": replace(MATCHED, d_sae=12)}
    worse = ("plain", "smooth, plain", "smooth, smoothed", "smooth, straight_through")
    names = conditions("B5", **wide)
    tables = {k: measured(seeds=3, fvu=0.5 if k in worse else 0.01) for k in names}
    shrunk = Transcoder.cat(3 * [Transcoder(G.W_enc, G.b_enc + 0.1, 0.5 * G.W_dec, G.b_dec)])
    of = dict.fromkeys(names, three["G"]) | {"plain": shrunk}
    assert [held(k, tables, of, **wide) for k in ("B5", "B6", "B9", "B18")] == 4 * [True]
    tables["smooth, finite"] = measured(seeds=3, fvu=NAN)
    assert held("B9", tables, of, **wide) is False


def test_every_claim_is_judged_on_what_it_asked_for(tmp_path):
    """Tiny trainings, one of which is too narrow for solutions laid out by hand."""
    settings = [(BASE, MATCHED), tuple(replace(e, d_sae=12, density=0.3) for e in (BASE, MATCHED))]
    rows = judge([*judged("C"), *judged("B")], settings, (0, 1, 2), Store(tmp_path), False)
    wide, narrow = rows
    assert set(wide) - set(narrow) == {"B10", "B11", "B12", "B16"}
    assert all(v in (0, 1) or np.isnan(v) for row in rows for v in row.values())
    on_relus = [c for c in CLAIMS.values() if c.id[0] in "CB"]  # the grid has no other layers
    empirical = {c.id for c in on_relus if c.kind == "empirical"}
    assert empirical - set(wide) == {"C28"}
    assert all(CLAIMS[k].measured.__doc__ for k in wide)  # what the page says beside its rules
    nowhere = Claim("X1", "empirical", "", {"x": Above(0)})
    with pytest.raises(ValueError, match="X1: not judged on a grid"):
        judge([nowhere], settings, (0,))
    nowhere.on_grid(lambda base, matched: None)(lambda setting: {})
    assert judge([nowhere], settings, (0,)) == [{}, {}]


@dataclass
class Made:
    """As much of a :class:`faithnb.Trained` as is looked at."""

    transcoder: float

    def metrics(self):
        return measured(seeds=2)


def test_conditions_of_all_settings_are_trained_once_and_judged_each_by_its_own(monkeypatch):
    trained, shared = [], []

    def compare(conditions, seeds, **_):
        trained.append(list(conditions.values()))
        return {k: Made(e.density) for k, e in conditions.items()}

    def both(base, matched):
        return {"a": base, "b": matched, "c": base}

    def work(setting):
        shared.append(setting)
        return setting.transcoders["a"]

    some = [Claim(f"X{k}", "empirical", "", {"density": Below(0.15)}) for k in (1, 2)]
    other = Claim("X3", "empirical", "", {"last seed": Above(5)})
    for one in some:
        one.on_grid(both)(lambda s: {"density": s.once(work)})
    other.on_grid(lambda base, matched: {"x": matched})(
        lambda s: {"last seed": s.tables["x"].seed.values[-1]}
    )
    monkeypatch.setattr("faithnb.claims.grid.compare", compare)
    denser = tuple(replace(e, density=0.2) for e in (BASE, MATCHED))
    rows = judge([*some, other], [(BASE, MATCHED), denser], [5, 6])
    assert rows == [{"X1": q, "X2": q, "X3": True} for q in (True, False)]
    assert trained == [[BASE, MATCHED, *denser]]
    assert len(shared) == 2  # once a setting


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


def test_a_page_says_how_claims_are_judged_on_the_grid(monkeypatch):
    rule = {"FVU": Below(0.1)}
    odd = Claim("X1", "empirical", "", rule, {"L0": Above(1)}, {"a < b": Above(0)})

    @odd.on_grid(lambda base, matched: {"none": base})
    def _(setting):
        """Without repeats."""

    monkeypatch.setitem(CLAIMS, "X1", odd)
    text = "Without repeats. FVU: below 0.1. A &lt; b: above 0."
    assert f"<td>X1</td><td>{text}</td>" in explained(["X1"])
