import numpy as np
import pytest
import torch
from conftest import BASIS, MADE, D, P, datapoint, rotated

from faithnb.data.inputs import subsets
from faithnb.measures import (
    CONTRIBUTES,
    detector_precision,
    dictionary_error,
    inferred_codes,
    relative_error,
)
from faithnb.measures.codes import sparse_code
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue, Identity
from faithnb.model.transcoder import Transcoder

TARGET = AbsoluteValue(D)


def test_a_code_is_not_negative_and_leaves_what_no_atom_has():
    plane = np.eye(2)
    code, rest = sparse_code(np.linalg.cholesky(plane), np.array([0.6, 0.8]))
    assert np.allclose(code, [0.6, 0.8])
    assert rest == pytest.approx(0)
    code, rest = sparse_code(np.linalg.cholesky(plane), np.array([0.6, -0.8]))
    assert np.allclose(code, [0.6, 0])
    assert rest == pytest.approx(0.8)
    assert sparse_code(np.zeros((0, 0)), np.zeros(0))[1] == 1


def test_a_memorizing_dictionary_explains_parts_of_p_that_its_encoder_does_not():
    layer, near = Identity(D), subsets(P)
    made = Transcoder.from_circuits([*layer.circuits()[3:], *rotated(), datapoint()])
    assert relative_error(made, layer, near) > 0.05
    assert dictionary_error(made, layer, near) < 1e-6
    code = inferred_codes(made, near)[0] * made.decoder_norms()
    assert (code >= 0).all()
    assert ((code > CONTRIBUTES).sum(-1) == (near != 0).sum(-1)).all()


def test_what_a_dictionary_of_one_leaves_is_seen_by_eye():
    alone = Transcoder.from_circuits([datapoint()])
    assert inferred_codes(alone, P[None]).item() == pytest.approx(1)
    two = (P - BASIS[2])[None]
    assert inferred_codes(alone, two).item() == pytest.approx(2 / 3)
    assert dictionary_error(alone, TARGET, two).item() == pytest.approx(1 / 3)
    assert dictionary_error(alone, Identity(D), -two).item() == pytest.approx(1)


def test_codes_know_the_bias_and_leave_features_out_that_write_nothing():
    silent = Circuit("", BASIS[0], 0 * BASIS[0])
    made = Transcoder.from_circuits([silent, datapoint()])
    biased = Transcoder.from_arrays(made.W_enc, made.b_enc, made.W_dec, -P[None])
    assert torch.allclose(inferred_codes(biased, P[None])[0, 0], torch.tensor([0.0, 2.0]).double())
    assert dictionary_error(biased, TARGET, P[None]).item() == pytest.approx(0, abs=1e-6)
    assert inferred_codes(biased, -P[None]).abs().max() == 0


def test_codes_are_refused_where_outputs_do_not_decide_them():
    made = Transcoder.from_circuits(MADE["generalising"])
    skip = Transcoder.from_arrays(made.W_enc, made.b_enc, made.W_dec, W_skip=torch.eye(D)[None])
    with pytest.raises(ValueError, match="linear part"):
        inferred_codes(skip, P[None])
    with pytest.raises(ValueError, match="not 0"):
        dictionary_error(made, TARGET, 0 * P[None])


def test_precision_counts_the_data_on_which_the_feature_at_p_is_strong():
    made = Transcoder.from_circuits(MADE["datapoint"])
    x = torch.stack([P, 0.9 * P, BASIS[0], 0 * P])  # it writes 1, 0.8, 0 and 0 times p
    assert detector_precision(made, P, x, 0.5).item() == pytest.approx(2 / 3)
    assert detector_precision(made, P, x[2:], 0.1).item() == 1
    assert detector_precision(made, P, x, 0.0).item() == 0
    nothing = Transcoder.from_circuits([datapoint()])
    assert detector_precision(nothing, -P, x, 0.1).isnan()
