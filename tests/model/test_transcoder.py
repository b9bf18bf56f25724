import json
import random

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import random_transcoder
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from faithnb.model.transcoder import Transcoder

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
    with pytest.raises(IndexError, match="of an ensemble of 3: index 3"):
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


def _weights(folder, change, keep_digest=False):
    """Other weights in a folder, without the hash that would tell."""
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    if not keep_digest:
        _edit(folder, metadata={})


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
        (lambda f: (f / "cfg.json").write_text("[]"), "cfg.json does not say architecture"),
        (lambda f: (f / "cfg.json").write_text("{}"), "cfg.json does not say architecture"),
        (_truncate, "cannot be read"),
        (
            lambda f: (f / "sae_weights.safetensors").write_bytes(b"PK\x03\x04" * 50),
            "cannot be read",
        ),
        (
            lambda f: _edit(f, architecture="crosscoder"),
            "says architecture = 'crosscoder', only standard, topk, jumprelu, gated and what end",
        ),
        (
            lambda f: _edit(f, architecture="odd_transcoder"),
            "is 'odd', known are relu",
        ),
        (lambda f: _edit(f, activation="topk"), "says activation = 'topk', only 'relu'"),
        (lambda f: _edit(f, apply_b_dec_to_input="x"), "apply_b_dec_to_input = 'x', only False or"),
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


LOADED = {
    "unknown key": (lambda f: _edit(f, k=4), "says k = 4, and what that means is not known"),
    "SAELens's name": (lambda f: _edit(f, activation_fn="topk"), "activation_fn = 'topk', only"),
    "hook": (lambda f: _edit(f, hook_z_reshaping=True), "cfg.json says hook_z_reshaping = True"),
    "another type": (lambda f: _edit(f, dtype="float16"), "says dtype = 'float16', W_dec is of"),
    "true for a size": (lambda f: _edit(f, n_inst=True), "cfg.json says n_inst = True"),
    "twice": (
        lambda f: (f / "cfg.json").write_text(
            '{"architecture": "transcoder", "apply_b_dec_to_input": true, '
            '"apply_b_dec_to_input": false}'
        ),
        "apply_b_dec_to_input stands there twice",
    ),
    "deep": (lambda f: (f / "cfg.json").write_text("[" * 200_000), "cannot be read"),
    "other weights": (
        lambda f: _weights(f, lambda t: t["b_enc"].mul_(2), keep_digest=True),
        "is not the file that cfg.json was written with",
    ),
    "a folder": (
        lambda f: ((f / "cfg.json").unlink(), (f / "cfg.json").mkdir()), "cfg.json is missing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", LOADED)
def test_what_is_not_understood_is_refused(tmp_path, damage):
    random_transcoder(1).save(tmp_path)
    spoil, reason = LOADED[damage]
    spoil(tmp_path)
    with pytest.raises(ValueError, match=reason) as said:
        Transcoder.load(tmp_path)
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize(
    "kind", [torch.float8_e4m3fn, torch.complex64, torch.int64, torch.int8, torch.bool]
)
@pytest.mark.parametrize("names", [("W_dec",), ("W_enc", "b_enc", "W_dec", "b_dec")])
def test_weights_of_a_type_that_nobody_trains_in_are_refused(tmp_path, kind, names):
    random_transcoder(1).save(tmp_path)
    _weights(tmp_path, lambda t: t.update({name: t[name].to(kind) for name in names}))
    with pytest.raises(ValueError, match="which no transcoder is trained in"):
        Transcoder.load(tmp_path)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_type_of_training_comes_back(tmp_path, kind):
    t = Transcoder.from_arrays(*(w.to(kind) for w in random_transcoder().parameters()))
    t.save(tmp_path)
    back = Transcoder.load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(t.parameters(), back.parameters(), strict=True))
    assert back.W_enc.dtype == kind


@pytest.mark.parametrize("axis", ["n_inst", "d_in", "d_sae", "d_out"])
def test_axes_of_size_0_are_refused(axis):
    sizes = {"n_inst": 2, "d_in": 3, "d_sae": 4, "d_out": 5} | {axis: 0}
    n, i, h, o = sizes.values()
    with pytest.raises(ValueError, match="is empty: every axis must have a size of at least 1"):
        Transcoder.from_arrays(torch.zeros(n, i, h), torch.zeros(n, h), torch.zeros(n, h, o))


def test_arrays_that_are_none_are_refused():
    W, b = torch.eye(3), torch.zeros(3)
    with pytest.raises(ValueError, match="b_enc is no array of numbers"):
        Transcoder.from_arrays(W, None, W)
    with pytest.raises(ValueError, match="W_enc is no array of numbers"):
        Transcoder.from_arrays([[1, 2], [3]], b, W)
    for complex_one in ((W + 0j, b, W), (W, b, W + 0j)):
        with pytest.raises(ValueError, match="is complex"):
            Transcoder.from_arrays(*complex_one)
    with pytest.raises(ValueError, match="W_dec holds values that are not finite in float16"):
        Transcoder.from_arrays(W.half(), b, W * 1e5)
    linear = torch.nn.Linear(3, 7)
    with pytest.raises(ValueError, match=r"give W_enc = linear.weight.T"):
        Transcoder.from_arrays(linear.weight, linear.bias, torch.zeros(7, 3))
    t = Transcoder.from_arrays(linear.weight.T, linear.bias, torch.zeros(7, 3))
    assert t.W_enc.shape == (1, 3, 7)
    assert Transcoder.from_arrays([[1, 0], [0, 1]], [0, 0], [[1, 0], [0, 1]]).W_enc.dtype == (
        torch.float32
    )


def test_a_table_of_measures_picks_instances():
    t = random_transcoder(3)
    low = xr.DataArray([True, False, True], dims="inst", coords={"inst": [0, 1, 2]})
    for index in (low, low.values, [0, 2], torch.tensor([True, False, True])):
        assert torch.equal(t[index].W_enc, t.W_enc[[0, 2]])
    none = t[low & ~low]
    assert len(none) == 0
    assert none(torch.zeros(5, 4)).shape == (0, 5, 4)


def test_no_flipped_bit_gives_another_transcoder(tmp_path):
    """Of 1,000 in either file: the same numbers, or a reason."""
    t, x = random_transcoder(2), torch.eye(4)
    t.save(tmp_path)
    whole = {
        name: (tmp_path / name).read_bytes() for name in ("cfg.json", "sae_weights.safetensors")
    }
    wanted, refused, lot = t(x), 0, random.Random(0)
    for name in sorted(whole) * 1000:
        content = bytearray(whole[name])
        content[lot.randrange(len(content))] ^= 1 << lot.randrange(8)
        (tmp_path / name).write_bytes(content)
        try:
            assert torch.equal(Transcoder.load(tmp_path)(x), wanted)
        except ValueError:
            refused += 1
        (tmp_path / name).write_bytes(whole[name])
    assert refused > 1200  # all of the weights, and most of what is said of them


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda t: t(torch.ones(4, 2, dtype=torch.complex64)), "x is of type torch.complex64"),
    (lambda t: t(np.ones((4, 2))), "x is a ndarray; it must be a floating-point tensor"),
    (lambda t: t.jvp(torch.ones(4, 2), torch.ones(5, 2)), "does not fit x"),
    (lambda t: t.decode(torch.ones(1, 2)), r"feature_acts of shape \[1, 2\] is not allowed"),
    (lambda t: Transcoder.random([], 2, 3, 2), "seeds = .*: whole numbers of at least 0"),
    (lambda t: Transcoder.random([1.5], 2, 3, 2), "seeds = .*: whole numbers of at least 0"),
    (lambda t: Transcoder.random([0], 2, 0, 2), "whole numbers of at least 1"),
    (lambda t: Transcoder.cat([]), "one architecture and one shape are needed"),
    (lambda t: Transcoder.cat([t, random_transcoder()]), "one architecture and one shape are"),
    (lambda t: Transcoder.from_circuits([]), "circuits is empty"),
    (lambda t: Transcoder.from_arrays(t.W_enc.to(torch.float8_e4m3fn), t.b_enc, t.W_dec),
     "W_enc is of type float8_e4m3fn, which"),
    (lambda t: Transcoder.from_arrays(t.W_enc[0].to_sparse(), t.b_enc[0], t.W_dec[0]), "sparse"),
    (lambda t: Transcoder.from_arrays(t.W_enc.to("meta"), t.b_enc, t.W_dec), "holds no values"),
    (lambda t: Transcoder.from_arrays([[2**24 + 1]], [0], [[1]]), "that float32 cannot"),
])  # fmt: skip
def test_what_is_no_input_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence) as said:
        call(TWO)
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize("index", [True, (0, 1), [[0, 1]], 3, -4, [5], "a", 1.5, [True, False]])
def test_instances_are_picked_in_one_way(index):
    with pytest.raises(IndexError):
        random_transcoder(3)[index]


def test_folders_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    TWO.save("~/kept")
    assert torch.equal(Transcoder.load("~/kept").W_enc, TWO.W_enc)
    assert (tmp_path / "kept" / "cfg.json").exists()
    with pytest.raises(ValueError, match="folder = ' ' is not allowed"):
        TWO.save(" ")
