import json

import numpy as np
import pytest
import torch
from conftest import random_transcoder
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from faithnb.transcoder import Transcoder

TWO = Transcoder.from_arrays([[2.0, 0.0], [0.0, -1.0]], [0.0, 1.0], [[1.0, 0.0], [3.0, 1.0]])


def test_forward_by_eye():
    x = torch.tensor([[1.0, 0.5]])
    assert TWO.hidden_pre(x).tolist() == [[[2.0, 0.5]]]
    assert TWO.encode(-x).tolist() == [[[0.0, 1.5]]]
    assert TWO(x).tolist() == [[[3.5, 0.5]]]
    assert TWO.jvp(x, torch.tensor([[1.0, 1.0]])).tolist() == [[[2.0 - 3.0, -1.0]]]
    assert TWO.jacobian(x).tolist() == [[[[2.0, -3.0], [0.0, -1.0]]]]
    assert TWO.jacobian(-x).tolist() == [[[[0.0, -3.0], [0.0, -1.0]]]]


def test_decoder_bias_is_added_and_never_subtracted_from_the_input():
    t = Transcoder.from_arrays(TWO.W_enc[0], TWO.b_enc[0], TWO.W_dec[0], [10.0, 20.0])
    x = torch.tensor([[1.0, 0.5]])
    assert torch.equal(t.encode(x), TWO.encode(x))
    assert t(x).tolist() == [[[13.5, 20.5]]]


def test_closed_forms_equal_autograd():
    t = random_transcoder()
    x, v = torch.randn(2, 5, 4, dtype=torch.float64)
    J = t.jacobian(x)
    for b in range(5):
        by_autograd = torch.autograd.functional.jacobian(lambda at: t(at[None])[:, 0], x[b])
        assert torch.allclose(J[:, b], by_autograd)
    assert torch.allclose(t.jvp(x, v), (J @ v[..., None])[..., 0])
    own = torch.randn(3, 5, 4, dtype=torch.float64)
    assert torch.allclose(t(own)[1], t[1](own[1])[0])


def test_indexing_keeps_the_instance_axis():
    t = random_transcoder()
    assert [len(t[1]), len(t[-1]), len(t[1:]), len(t[[0, 2]])] == [1, 1, 2, 2]
    assert torch.equal(t[-1].W_enc[0], t.W_enc[2])
    assert torch.equal(t[torch.tensor([True, False, True])].b_enc, t.b_enc[[0, 2]])
    assert torch.equal(Transcoder.cat([t[0], t[1:]]).W_dec, t.W_dec)
    for one in (np.int64(1), torch.tensor(1)):
        assert t[one].W_enc.shape == (1, 4, 7)
    with pytest.raises(IndexError, match="instance 3 of an ensemble of 3"):
        t[3]


@given(st.integers(0, 10_000))
def test_permuting_and_rescaling_features_changes_nothing_one_can_see(seed):
    t = random_transcoder(seed=seed)
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(7, generator=g)
    scale = torch.rand(7, generator=g, dtype=torch.float64) * 5 + 0.1
    other = Transcoder.from_arrays(
        (t.W_enc * scale)[..., order],
        (t.b_enc * scale)[..., order],
        (t.W_dec / scale[:, None])[:, order],
    )
    x = torch.randn(6, 4, generator=g, dtype=torch.float64)
    assert torch.allclose(t(x), other(x))
    assert torch.allclose(t.jacobian(x), other.jacobian(x))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"W_enc": np.zeros((2, 3)), "b_enc": np.zeros(4), "W_dec": np.zeros((3, 2))},
            "b_enc has shape",
        ),
        (
            {"W_enc": np.zeros((2, 3)), "b_enc": np.zeros(3), "W_dec": np.zeros((4, 2))},
            "W_dec has shape",
        ),
        (
            {"W_enc": np.zeros((2, 3)), "b_enc": np.full(3, np.nan), "W_dec": np.zeros((3, 2))},
            "not finite",
        ),
        ({"W_enc": np.zeros(3), "b_enc": np.zeros(3), "W_dec": np.zeros((3, 2))}, "do not fit"),
        (
            {"W_enc": np.zeros((2, 3)), "b_enc": np.zeros(3), "W_dec": np.zeros((1, 3, 2))},
            "do not fit|W_dec",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(arrays, message):
    with pytest.raises(ValueError, match=message):
        Transcoder.from_arrays(**arrays)


@pytest.mark.parametrize("n_inst", [1, 3])
def test_save_and_load_round_trip(tmp_path, n_inst):
    t = random_transcoder(n_inst)
    t.save(tmp_path / "weights")
    back = Transcoder.load(tmp_path / "weights")
    assert all(torch.equal(a, b) for a, b in zip(t.parameters(), back.parameters(), strict=True))
    stored = load_file(tmp_path / "weights" / "sae_weights.safetensors")
    assert stored["W_enc"].shape == ((4, 7) if n_inst == 1 else (3, 4, 7))
    assert {f.name for f in (tmp_path / "weights").iterdir()} == {
        "cfg.json",
        "sae_weights.safetensors",
    }


def _edit(folder, **changes):
    cfg = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(cfg | changes))


def _weights(folder, change):
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _truncate(folder):
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda f: (f / "cfg.json").unlink(), "cfg.json is missing"),
        (lambda f: (f / "sae_weights.safetensors").unlink(), "is missing"),
        (lambda f: (f / "cfg.json").write_text("{"), "cannot be read"),
        (lambda f: (f / "cfg.json").write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda f: (f / "cfg.json").write_text("[]"), "architecture = transcoder"),
        (_truncate, "cannot be read"),
        (
            lambda f: (f / "sae_weights.safetensors").write_bytes(b"PK\x03\x04" * 50),
            "cannot be read",
        ),
        (lambda f: _edit(f, architecture="standard"), "architecture = transcoder"),
        (lambda f: _edit(f, activation="topk"), "says activation = 'topk', only 'relu'"),
        (lambda f: _edit(f, apply_b_dec_to_input=True), "apply_b_dec_to_input = True, only False"),
        (
            lambda f: _edit(f, normalize_activations="layer_norm"),
            "normalize_activations = 'layer_norm'",
        ),
        (lambda f: _edit(f, d_sae=8), "cfg.json says d_sae = 8, the weights say 7"),
        (lambda f: _weights(f, lambda t: t.pop("W_dec")), "lacks W_dec"),
        (
            lambda f: _weights(f, lambda t: t.update(scale=torch.ones(2))),
            "more than it should: scale",
        ),
        (lambda f: _weights(f, lambda t: t["b_enc"].fill_(float("inf"))), "b_enc holds values"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused_with_its_reason(tmp_path, damage, reason):
    random_transcoder().save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=reason) as refused:
        Transcoder.load(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_inputs_of_another_type_are_cast_and_of_another_width_refused():
    t = random_transcoder()
    assert t(torch.zeros(2, 4)).dtype == torch.float64
    assert t.jvp(torch.zeros(2, 4), torch.ones(2, 4)).dtype == torch.float64
    with pytest.raises(ValueError, match="x has 5 coordinates, the transcoder reads 4"):
        t(torch.zeros(2, 5))


def test_random_start_is_one_instance_a_seed():
    t = Transcoder.random([3, 5], 8, 500, 8)
    assert torch.equal(t.W_enc[1], Transcoder.random([5], 8, 500, 8).W_enc[0])
    assert torch.allclose(t.decoder_norms(), torch.ones(2, 500))
    assert t.b_enc.abs().sum() == 0
    assert t.W_enc.var().item() == pytest.approx(1 / 8, rel=0.1)
