"""The story itself, at full size, on seeds that were not used to choose anything."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from faithnb import CircuitMap, Experiment, train
from faithnb.data.inputs import in_proportion, subsets, without_one
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.measures import (
    CONTRIBUTES,
    DATAPOINT,
    absorption,
    contribution_sizes,
    coordinate_features,
    datapoint_features,
    fails,
    memorization_share,
)
from faithnb.measures.circuits import mechanism_error
from faithnb.measures.interventions import patching_error
from faithnb.sweeps.conditions import matched
from faithnb.training import theory
from faithnb.training.watch import open_at_zero, slope

SEEDS = range(100, 148)
"""More than a book's comparison has, because the note's 5 % is marginal: with a rate near 0.4, the
count over 16 seeds alone scatters from 2 to 11."""
NONE, LIGHT = Experiment(), Experiment(repeat_frac=0.05)
ARMS = {
    "none": NONE,
    "light": LIGHT,
    "matched": replace(LIGHT, jacobian_matching="plain", jacobian_coefficient=0.03),
    "double": Experiment(repeat_frac=0.1),
    "smoothed": Experiment(repeat_frac=0.1, jacobian_matching="smoothed", jacobian_coefficient=0.1),
    "at p alone": Experiment(
        repeat_frac=0.1,
        jacobian_matching="plain",
        kink="masked",
        jacobian_coefficient=3.0,
        matching_at="points",
    ),
    "ray": Experiment(repeat_frac=0.1, point_variation="ray"),
    "l1": replace(NONE, sparsity_penalty="l1"),
}
SINGLES = ((1.0,), (0.0, 1.0), (0.0, 0.0, 1.0))
BEYOND = {
    "magnitudes": Experiment(repeat_frac=0.1, point_variation="independent"),
    "one at a time": Experiment(repeat_frac=0.3, point_variation="independent", points=SINGLES),
}
SPARSE = Experiment(sparsity_coefficient=0.03)
HAVING = Experiment(repeat_frac=0.1, target="abs_with_point")
SMOOTH = replace(SPARSE, repeat_frac=0.2, target="smooth_abs")
FORMS = {
    "nothing to cure": SPARSE,
    "harmed": matched(SPARSE, "plain", 0.1),
    "with p": HAVING,
    "with p, matched": matched(HAVING, "smoothed", 0.3),
    "smooth layer": SMOOTH,
    "smooth layer, smoothed": matched(SMOOTH, "smoothed", 0.1),
    "smooth layer, finite": matched(SMOOTH, "finite", 0.1),
}
RELATIVE = {
    "kept": (1.5, "memorising"),
    "given up": (0.67, "memorising"),
    "missed": (1.5, "random"),
}
"""Repeat fractions relative to where both solutions cost the same, and starts."""
FEWER = {"double": SEEDS[:16], "l1": SEEDS[:16]}
FEWER |= dict.fromkeys(FORMS, SEEDS[:4])
FEWER |= dict.fromkeys(("smoothed", "at p alone", "ray", *BEYOND, *RELATIVE), SEEDS[:8])
"""Arms whose effect is large."""
TARGET = NONE.make_target()
P = pad_points(NONE.points, NONE.d_in)[0]
X = evaluation_sample(NONE.d_in, NONE.density)


@pytest.fixture(scope="module")
def arms():
    r = theory.equilibrium(NONE.density, NONE.sparsity_coefficient)
    near = {k: replace(NONE, repeat_frac=c * r, init=init) for k, (c, init) in RELATIVE.items()}
    trained = {
        name: train([replace(arm, seed=s) for s in FEWER.get(name, SEEDS)], progress=False)
        for name, arm in (ARMS | BEYOND | FORMS | near).items()
    }
    return {name: (t.transcoder, t.metrics()) for name, t in trained.items()}


def memorised(table):
    return int(np.isin(table.state, ("datapoint", "pair")).sum())


@pytest.mark.story
def test_repeats_make_transcoders_memorise_and_matching_prevents_it(arms):
    counts = {name: memorised(table) for name, (_, table) in arms.items()}
    assert counts["none"] == 0
    assert 0.2 * len(SEEDS) <= counts["light"] <= len(SEEDS)
    assert counts["double"] >= 14
    assert counts["matched"] <= len(SEEDS) / 16
    first = {name: memorised(table.isel(inst=slice(16))) for name, (_, table) in arms.items()}
    assert first["none"] == 0
    assert first["light"] >= 0.2 * 16
    assert first["matched"] <= 1
    assert arms["matched"][1].fvu.mean() < arms["light"][1].fvu.mean()


@pytest.mark.story
def test_the_jacobian_at_p_tells_the_arms_apart(arms):
    off = {name: table.off_diagonal_norm.mean().item() for name, (_, table) in arms.items()}
    assert off["light"] > 3 * max(off["none"], off["matched"])


@pytest.mark.story
def test_without_repeats_the_true_circuits_are_found(arms):
    found = CircuitMap.of(arms["none"][0][:16], TARGET, X, [P])
    assert found.circuit_match().mean() > 0.9
    assert found.median_residual().max() < 0.1
    assert found.neurons_per_circuit().mean() < 1.2
    l1 = CircuitMap.of(arms["l1"][0], TARGET, X, [P])
    assert l1.neurons_per_circuit().mean() > found.neurons_per_circuit().mean()


@pytest.mark.story
def test_datapoint_features_appear_only_with_repeats(arms):
    count = {k: int(datapoint_features(t, TARGET, P, X).any(1).sum()) for k, (t, _) in arms.items()}
    assert count["none"] == 0
    assert count["double"] >= 4


@pytest.mark.story
def test_coordinates_that_come_together_are_enough(arms):
    """Chapter 2: no input comes twice on the ray."""
    assert memorised(arms["ray"][1]) >= 6


@pytest.mark.story
def test_memorising_transcoders_turn_the_single_features_off(arms):
    """Chapter 3."""
    transcoder, table = arms["double"]
    full = (table.state == "datapoint").values
    assert full.sum() >= 5
    which = coordinate_features(transcoder, P)
    size = contribution_sizes(transcoder, P[None])[:, 0].gather(-1, which.clamp(min=0))
    off = ((size <= CONTRIBUTES) | (which < 0)).all(-1).numpy()
    assert off[full].mean() >= 0.8
    assert (which >= 0).float().mean() > 0.8
    assert table.rotation.values[full].mean() > 0.25
    assert abs(arms["none"][1].rotation.mean()) < 0.02


@pytest.mark.story
def test_smoothed_matching_cures_at_no_cost(arms):
    """Chapter 4: at twice the repetition, where all memorise without it."""
    cured, none = arms["smoothed"][1], arms["none"][1][{"inst": slice(8)}]
    assert memorised(cured) == 0
    assert cured.fvu.mean() < 1.15 * none.fvu.mean()
    assert cured.l0.mean() < 1.1 * none.l0.mean()
    assert 0 < cured.rotation.mean() < 0.15


@pytest.mark.story
def test_a_right_jacobian_at_p_is_no_cure(arms):
    """Chapter 5: matched at p alone it is nearly right there, and worse than cured elsewhere."""
    at_p, cured = arms["at p alone"][1], arms["smoothed"][1]
    assert at_p.jacobian_error_at_p.mean() < 0.05
    assert at_p.jacobian_error_at_p.mean() < arms["double"][1].jacobian_error_at_p.mean() / 10
    assert at_p.subset_error.mean() > 3 * cured.subset_error.mean()
    assert memorised(at_p) >= 1


def pattern_features(transcoder):
    return (memorization_share(transcoder, P) >= DATAPOINT).numpy()


@pytest.mark.story
def test_free_magnitudes_are_enough_and_take_the_single_features_over(arms):
    """Chapter 7."""
    together, apart = arms["magnitudes"][0], arms["one at a time"][0]
    has = pattern_features(together)
    assert has.sum() >= 3
    assert pattern_features(apart).sum() == 0
    x = P * (0.5 + 0.5 * torch.rand(512, len(P), generator=torch.Generator().manual_seed(0)))
    assert (absorption(together, P, x).numpy()[has] > 0.5).all()
    assert absorption(apart, P, x).abs().max() < 0.1


@pytest.mark.story
def test_theory_says_where_a_memorising_start_survives(arms):
    """Chapter 9; and that a random start does not find what survives there."""
    assert pattern_features(arms["kept"][0]).all()
    assert not pattern_features(arms["given up"][0]).any()
    assert pattern_features(arms["missed"][0]).sum() <= 6


@pytest.mark.story
def test_plain_matching_harms_where_there_is_nothing_to_cure(arms):
    """Chapter 8."""
    assert (arms["harmed"][1].fvu > 10 * arms["nothing to cure"][1].fvu).all()
    harmed, fine = arms["harmed"][0], arms["nothing to cure"][0]
    assert open_at_zero(harmed).min() > open_at_zero(fine).max() + 4
    assert slope(harmed).max() < 0.8 < 0.95 < slope(fine).min()


@pytest.mark.story
def test_on_a_smooth_layer_finite_differences_cure_and_smoothed_matching_loses_the_task(arms):
    """Chapter 11."""
    none, smoothed, finite = (
        arms[k][1] for k in ("smooth layer", "smooth layer, smoothed", "smooth layer, finite")
    )
    assert pattern_features(arms["smooth layer"][0]).sum() >= 3
    assert (smoothed.fvu > 0.08).all()
    assert not fails(finite).any()
    assert finite.fvu.max() < none.fvu.mean() < 0.02


@pytest.mark.story
def test_matching_restores_the_mechanism_that_is_there_and_patching_tells(arms):
    """Chapter 10."""
    layer = HAVING.make_target()
    everything = torch.cat([X, subsets(P), P[None]])
    seen = without_one(in_proportion(X, P, 0.1))
    of = {"double": TARGET, "smoothed": TARGET, "with p": layer, "with p, matched": layer}
    errors = {k: mechanism_error(arms[k][0], f, P[None], everything) for k, f in of.items()}
    patching = {k: patching_error(arms[k][0], f, *seen) for k, f in of.items()}
    for found, factor in ((errors, 5), (patching, 3)):
        assert found["double"].median() > factor * found["smoothed"].max()
        assert found["with p"].min() > factor * found["with p, matched"].max()
