"""What features predict of an intervention, on transcoders whose answer one works out by eye."""

from dataclasses import replace

import pytest
import torch
from conftest import BASIS, MADE, D, P, datapoint

from faithnb import AbsoluteValue, Transcoder
from faithnb.data.inputs import subsets, without_one
from faithnb.data.sampling import evaluation_sample
from faithnb.measures.circuits import mechanism_error
from faithnb.measures.interventions import ablation_error, change_error, patching_error
from faithnb.model.with_point import WithPoint

PAIRS, SINGLES = subsets(P)[3:], subsets(P)[:3]


def towards(x):
    """p as often as there are other inputs, and these."""
    return P.expand(len(x), -1), x


@pytest.mark.parametrize(
    ("name", "pairs", "singles"),
    [
        ("generalising", 0.0, 0.0),
        # e_j goes, ⅔ p is predicted to: 1/9 + 4/9 + 4/9; then e_j + e_k, and all of p: 1 of 2
        ("datapoint", 1.0, 0.5),
        ("split", 1.0, 0.5),
        # without one of the pair both are predicted to go, where one does, or two
        ("pair", (1 + 1 + 0) / 3, (1 + 1 + 0) / 6),
    ],
)
def test_patching_tells_what_the_list_of_active_features_misses(made, target, name, pairs, singles):
    t = made[name]
    assert patching_error(t, target, *towards(PAIRS)).item() == pytest.approx(pairs, abs=1e-6)
    assert patching_error(t, target, *towards(SINGLES)).item() == pytest.approx(singles, abs=1e-6)


def test_a_layer_that_has_a_mechanism_for_p_is_not_called_unfaithful_for_it():
    layer = WithPoint(D, P)
    own = Transcoder.from_circuits(layer.circuits())
    assert patching_error(own, layer, *towards(subsets(P))).item() == pytest.approx(0, abs=1e-6)
    x = torch.cat([subsets(P), P[None]])
    assert mechanism_error(own, layer, P[None], x).item() == pytest.approx(0, abs=1e-6)
    without = Transcoder.from_circuits(AbsoluteValue(D).circuits())
    assert patching_error(without, layer, *towards(PAIRS)).item() == pytest.approx(3 / 6, abs=1e-6)


def test_a_transcoder_that_expects_no_change_is_off_by_one(target):
    silent = Transcoder.from_arrays(torch.zeros(1, D, 2), torch.zeros(1, 2), torch.zeros(1, 2, D))
    assert patching_error(silent, target, *without_one(evaluation_sample(D, 0.3))).item() == 1
    assert torch.isnan(ablation_error(silent, target, P[None])).all()


def test_the_change_of_the_whole_output_knows_what_takes_over(made, target):
    """At a pair the made one writes 1.5/3 + 1/3 of each coordinate, and 1/3 of the missing one."""
    assert change_error(made["generalising"], target, *towards(PAIRS)).item() == 0
    wrong = 2 * (1.5 / 3 + 1 / 3 - 1) ** 2 + (1 / 3) ** 2
    found = change_error(made["datapoint"], target, *towards(PAIRS)).item()
    assert found == pytest.approx(wrong, abs=1e-6)
    assert change_error(made["datapoint"], target, *towards(SINGLES)).item() < 1e-6


def test_ablation_at_p_cannot_tell(made, target):
    """Taking out of p what the datapoint feature reads leaves nothing, and nothing is predicted."""
    for name in ("generalising", "datapoint"):
        assert ablation_error(made[name], target, P[None]).item() == pytest.approx(0, abs=1e-6)
    half = Transcoder.from_circuits([datapoint(0.5)])
    assert ablation_error(half, target, P[None]).item() == pytest.approx(0.25, abs=1e-6)


def test_inputs_of_two_shapes_are_refused(made, target):
    with pytest.raises(ValueError, match=r"changed = a tensor of shape \[6, 6\]"):
        patching_error(made["pair"], target, P[None], subsets(P))


def test_mechanism_error_of_hand_made_transcoders(made, target):
    x = torch.cat([evaluation_sample(D, 0.1), subsets(P), P[None]])
    errors = {k: mechanism_error(t, target, P[None], x).item() for k, t in made.items()}
    assert errors["generalising"] == pytest.approx(0, abs=1e-9)
    # p instead of one circuit and nothing instead of two: (2 + 1 + 1) / 3
    assert errors["datapoint"] == errors["split"] == pytest.approx(4 / 3, abs=1e-6)
    assert errors["pair"] == pytest.approx(2 / 3, abs=1e-6)
    assert mechanism_error(made["datapoint"], target, BASIS[3:4], x).item() == pytest.approx(0)


def test_a_split_circuit_is_the_same_mechanism(target):
    halves = [replace(c, write=c.write / 2) for c in MADE["generalising"] for _ in range(2)]
    split = Transcoder.from_circuits(halves)
    x = evaluation_sample(D, 0.1)
    assert mechanism_error(split, target, x).item() == pytest.approx(0, abs=1e-9)
    assert mechanism_error(split[[0, 0]], target, x).shape == (2,)


def test_order_and_scale_of_features_do_not_matter(made, target):
    t, order = made["datapoint"], torch.randperm(made["datapoint"].d_sae)
    scale = 0.5 + torch.rand(t.d_sae)
    other = Transcoder.from_arrays(
        (t.W_enc * scale)[..., order], (t.b_enc * scale)[:, order],
        (t.W_dec / scale[:, None])[:, order],
    )  # fmt: skip
    x = evaluation_sample(D, 0.3)
    for error in (
        lambda t: patching_error(t, target, *without_one(x)),
        lambda t: ablation_error(t, target, x),
        lambda t: mechanism_error(t, target, P[None], x),
    ):
        assert error(other).item() == pytest.approx(error(t).item(), abs=1e-5)
