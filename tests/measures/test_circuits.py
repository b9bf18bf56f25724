import numpy as np
import pytest
import torch
from conftest import BASIS, MADE, P, datapoint
from hypothesis import given, settings
from hypothesis import strategies as st

from faithnb.data.sampling import evaluation_sample
from faithnb.measures.circuits import THRESHOLDS, CircuitMap, circuit_match, datapoint_circuit
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

TARGET = AbsoluteValue(6)
X = evaluation_sample(6, 0.3)


def map_of(circuits, points=(P,)):
    return CircuitMap.of(Transcoder.from_circuits(circuits), TARGET, X, list(points))


def test_the_generalising_solution_is_the_identity():
    found = map_of(MADE["generalising"])
    assert np.allclose(found.loading[0, :12], np.eye(12), atol=1e-6)
    assert np.allclose(found.gain[0, :12], np.eye(12), atol=1e-6)
    assert np.allclose(found.residual, 0, atol=1e-6)
    assert np.allclose(found.loading[0, 12], 0)
    assert found.circuit_match() == [1.0]
    assert found.neurons_per_circuit() == [1.0]
    assert found.names[0] == "ReLU(+x1)"
    assert found.names[-1] == "datapoint p"
    assert found.order().tolist() == list(range(12))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_datapoint_circuit_is_recognised_at_every_threshold(threshold):
    circuit = datapoint_circuit(TARGET, P, threshold)
    assert torch.allclose(circuit.contribution(P[None])[0], P, atol=1e-5)
    assert circuit.activation(P * (threshold - 1e-3)).abs() < 1e-5
    found = map_of([circuit])
    assert found.loading[0, -1, 0] == pytest.approx(1, abs=1e-5)
    assert found.gain[0, -1, 0] == pytest.approx(1, abs=1e-5)
    assert found.residual[0, 0] < 1e-2


def test_the_memorising_solution():
    found = map_of(MADE["datapoint"])
    assert found.loading[0, -1, -1] > 0.9
    rotated = found.loading[0, :3, 9:12]
    assert (rotated.diagonal() > 0.8).all()
    assert (rotated.diagonal() < 0.95).all()
    assert (rotated - np.diag(rotated.diagonal()) == 0).all()
    assert (found.residual[0, 9:12] > 0.2).all()
    assert (found.residual[0, :9] < 1e-3).all()
    assert 9 / 12 <= found.circuit_match()[0] < 1


def test_gain_and_loading_tell_scale_from_direction():
    half = Circuit("", 0.5 * BASIS[0], BASIS[0])
    mixed = Circuit("", BASIS[0], BASIS[0] + BASIS[1])
    one_at_a_time = torch.cat([torch.eye(6), -torch.eye(6), torch.eye(6) / 2])
    found = CircuitMap.of(Transcoder.from_circuits([half, mixed]), TARGET, one_at_a_time)
    assert found.gain[0, 0, 0] == pytest.approx(0.5, abs=1e-6)
    assert found.loading[0, 0] == pytest.approx([1, 2**-0.5], abs=1e-6)
    assert found.residual[0] == pytest.approx([0, 2**-0.5], abs=1e-6)
    assert not found.matches().any()


def test_two_features_that_share_a_circuit_count_once():
    halves = [Circuit("", 0.5 * BASIS[0], BASIS[0])] * 2
    found = map_of([*MADE["generalising"][1:], *halves], points=())
    assert found.circuit_match()[0] == pytest.approx(11 / 12)
    assert found.neurons_per_circuit()[0] == pytest.approx(13 / 12)
    twice = map_of([*MADE["generalising"], MADE["generalising"][0]], points=())
    assert twice.circuit_match()[0] == 1
    assert twice.neurons_per_circuit()[0] == pytest.approx(13 / 12)


def test_dead_and_negligible_features():
    dead = Circuit("", BASIS[0], BASIS[0], 5.0)
    faint = Circuit("", BASIS[1], BASIS[1], 0.97)
    found = map_of([dead, faint, *MADE["generalising"]])
    assert found.alive[0, :3].tolist() == [False, True, True]
    assert found.notable[0, :3].tolist() == [False, False, True]
    assert np.isnan(found.residual[0, 0])
    assert found.order()[-2:].tolist() == [1, 0]
    assert found.median_residual()[0] < 1e-6
    nothing = map_of([dead])
    assert nothing.circuit_match() == [0.0]
    assert np.isnan(nothing.median_residual()[0])


def test_points_that_coincide_with_a_circuit_or_each_other_are_no_obstacle():
    found = map_of(MADE["generalising"], points=(BASIS[0], P, 2 * P))
    assert np.allclose(found.loading[0, :12], np.eye(12), atol=1e-6)
    assert found.loading.shape == (1, 15, 12)
    silent = CircuitMap.of(Transcoder.from_circuits(MADE["generalising"]), TARGET, X[:1] * 0, [P])
    assert np.isfinite(silent.loading).all()


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_the_map_follows_permutation_and_ignores_rescaling(seed):
    rng = np.random.default_rng(seed)
    order, scale = rng.permutation(13), rng.uniform(0.5, 2, 13)
    circuits = [*MADE["datapoint"], datapoint(0.1)]
    shuffled = [
        Circuit("", circuits[i].read * s, circuits[i].write / s, circuits[i].threshold * s)
        for i, s in zip(order, scale, strict=True)
    ]
    a, b = map_of(circuits), map_of(shuffled)
    assert np.allclose(a.loading[..., order], b.loading, atol=1e-4)
    assert np.allclose(a.gain[..., order], b.gain, atol=1e-4)
    assert a.circuit_match() == b.circuit_match()


def test_instances_are_mapped_one_by_one():
    twelve = [c for c in MADE.values() if len(c) == 12]
    both = Transcoder.cat([Transcoder.from_circuits(c) for c in [*twelve, twelve[0]]])
    found = CircuitMap.of(both, TARGET, X, [P])
    assert np.allclose(found.loading[0], map_of(MADE["generalising"]).loading[0])
    assert circuit_match(both[0], TARGET, X).tolist() == [1.0]
    assert circuit_match(both[0], TARGET).tolist() == [1.0]
