"""Mixtures of linear transforms by hand."""

from dataclasses import replace

import pytest
import torch

from faithnb import Experiment, ParameterError, Store, Transcoder, measures, sweep
from faithnb.measures.jacobian import contributing_jacobian
from faithnb.model.architectures import Molt
from faithnb.training.loop import Loop

EYE, ZERO = torch.eye(2), torch.zeros(2)
X = torch.tensor([[3.0, 0.5], [-1.0, 2.0], [2.0, 4.0]])


def swapped_where_x1_is_above_1():
    """One transform of rank two, U V = (0 1; 1 0), with the gate ReLU(x1 − 1)."""
    return Molt.from_arrays(EYE, ZERO, EYE.flip(0), W_gate=[[1.0], [0.0]], b_gate=[-1.0], rank=2)


def test_a_gate_times_a_matrix():
    t = swapped_where_x1_is_above_1()
    assert t(X)[0].tolist() == [[1, 6], [0, 0], [4, 2]]
    assert t.encode(X)[0].tolist() == [[6, 1], [0, 0], [2, 4]]
    assert torch.equal(t.decode(t.encode(X)), t(X))
    assert t.gate(X)[0].int().tolist() == [[1, 1], [0, 0], [1, 1]]


def test_its_jacobian_has_a_second_term():
    """At (3, ½) it is 2 · (0 1; 1 0) of the transform, and the swapped (½, 3) times (1 0) of the
    gate."""
    t = swapped_where_x1_is_above_1()
    assert t.jacobian(X)[0].tolist() == [[[0.5, 2], [5, 0]], [[0, 0], [0, 0]], [[4, 1], [3, 0]]]
    assert t.jvp(X[:1], torch.tensor([[1.0, 1.0]]))[0].tolist() == [[2.5, 5]]
    assert contributing_jacobian(t, X[0])[0].tolist() == [[0.5, 2], [5, 0]]


def test_a_component_may_act_below_0_and_counts_as_one():
    t = swapped_where_x1_is_above_1()
    x = torch.tensor([[3.0, -0.5]])
    assert t.encode(x)[0].tolist() == [[6, -1]]
    assert measures.n_on(t, x).item() == 2
    assert measures.l0(t, x).item() == 2


def test_a_penalty_sees_transforms():
    """Of norms √(1 + 1) and 5 = ‖(3, 4)‖ · ‖(1, 0)‖ + 0."""
    t = Molt.from_arrays(
        torch.tensor([[1.0, 0, 3, 0], [0, 1, 4, 0]]), torch.zeros(4),
        torch.tensor([[0.0, 1], [1, 0], [1, 0], [7, 7]]),
        W_gate=EYE, b_gate=[-1.0, 1.0], rank=2,
    )  # fmt: skip
    assert t.write_norms()[0].tolist() == pytest.approx([2**0.5, 5])
    z = t.hidden_pre(X)
    assert t.penalised(z, t.activate(z))[0].tolist() == [[2, 1.5], [0, 3], [1, 5]]


@pytest.mark.parametrize(("rank", "n"), [(0, 2), (3, 1), (2, 3), (1.0, 4), (True, 4), (None, 4)])
def test_ranks_that_do_not_fit(rank, n):
    with pytest.raises(ParameterError, match="rank = .* d_sae = 4 must be the rank times the numb"):
        Molt.from_arrays(torch.ones(2, 4), torch.zeros(4), torch.ones(4, 2),
                         W_gate=torch.ones(2, n), b_gate=torch.zeros(n), rank=rank)  # fmt: skip


def test_gates_that_do_not_fit():
    given = torch.ones(2, 4), torch.zeros(4), torch.ones(4, 2)
    with pytest.raises(ValueError, match=r"b_gate has shape \[1, 3\] where \[1, 2\] is needed"):
        Molt.from_arrays(*given, W_gate=torch.ones(2, 2), b_gate=torch.zeros(3), rank=2)
    with pytest.raises(ParameterError, match="molt transcoders need rank"):
        Molt.from_arrays(*given, W_gate=torch.ones(2, 2), b_gate=torch.zeros(2))
    with pytest.raises(ValueError, match="W_gate is missing"):
        Molt.from_arrays(*given, b_gate=torch.zeros(2), rank=2)


BASE = Experiment(d_in=6, d_sae=8, batch_size=16, steps=10, architecture="molt", rank=2)


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"rank": 3}, "rank = 3 is not allowed with architecture = 'molt' and d_sae = 8: it must div"),
    ({"init": "generalising", "d_sae": 12}, "init = 'generalising' is not allowed with arch"),
    ({"aux_coefficient": 0.1}, "aux_coefficient = 0.1 is not allowed with architecture = 'molt'"),
    ({"jacobian_matching": "sigmoid_gate"}, "it softens the gates of a ReLU"),
    ({"sparsity_penalty": "l0"}, "no surrogate gradient"),
    ({"k": 2}, "k = 2.0 is not allowed with architecture = 'molt'"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(fields, sentence):
    with pytest.raises(ParameterError, match=sentence):
        replace(BASE, **fields)


def test_transforms_begin_at_random_and_biases_at_0():
    t = Loop([BASE, replace(BASE, seed=1)], torch.device("cpu")).transcoder
    assert (t.W_gate != 0).all()
    assert not torch.equal(t.W_gate[0], t.W_gate[1])
    assert not torch.equal(t.W_gate, t.W_enc[..., :4])
    assert not t.b_gate.any()
    assert not t.b_enc.any()


def test_a_sweep_over_ranks_is_kept_and_goes_on(tmp_path):
    given = {"store": Store(tmp_path), "device": "cpu", "progress": False}
    first = sweep(BASE, **given, rank=[1, 2], seed=range(2))
    more = sweep(BASE, **given, rank=[1, 2, 8], seed=range(2))
    assert more.sel(rank=[1, 2]).fvu.equals(first.fvu)
    assert more.fvu.notnull().all()
    assert more.masking_index.isnull().all()
    assert (more.n_on <= 8).all()


def test_other_architectures_begin_where_they_did():
    """Weights that only some have are drawn after those of all."""
    plain = Transcoder.random([3], 6, 8, 6)
    mixed = Molt.random([3], 6, 8, 6, rank=4)
    assert mixed.W_gate.shape == (1, 6, 2)
    assert torch.equal(plain.W_enc, mixed.W_enc)
    assert torch.equal(plain.W_dec, mixed.W_dec)
