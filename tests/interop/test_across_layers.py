"""Mixtures of linear transforms and transcoders of several layers: files of Llamascopium,
circuit-tracer and this package, each read by the other."""

import warnings

import pytest
import torch
from circuit_tracer.transcoder import cross_layer_transcoder as circuit_tracer
from test_saelens import random

import faithnb as fb
from faithnb.model.architectures import Crosscoder, CrossLayer, Molt

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # no card
    from llamascopium.models.clt import CLTConfig, CrossLayerTranscoder
    from llamascopium.models.crosscoder import Crosscoder as TheirCrosscoder
    from llamascopium.models.crosscoder import CrosscoderConfig
    from llamascopium.models.molt import MixtureOfLinearTransform, MOLTConfig
    from llamascopium.models.sparse_dictionary import SparseDictionary

D, M, N, RANK = 4, 6, 3, 2
X = random((50, N * D), 9)
COMMON = {"d_model": D, "expansion_factor": M / D, "act_fn": "relu", "dtype": torch.float64}
IN, OUT = [f"in.{i}" for i in range(N)], [f"out.{i}" for i in range(N)]


def molt():
    return MixtureOfLinearTransform(
        MOLTConfig(hook_point_in="in.0", hook_point_out="out.0", rank_counts={RANK: M}, **COMMON)
    )


def clt():
    return CrossLayerTranscoder(CLTConfig(hook_points_in=IN, hook_points_out=OUT, **COMMON))


def crosscoder():
    return TheirCrosscoder(CrosscoderConfig(hook_points=IN, **COMMON))


THEIRS = {"molt": molt, "cross_layer": clt, "crosscoder": crosscoder}


def drawn(model):
    with torch.no_grad():
        for k, weight in enumerate(model.parameters()):
            weight.copy_(random(weight.shape, k))
    return model


def by_layer(model, y):
    """Theirs as ``[B, layers, D]``."""
    if isinstance(model, CrossLayerTranscoder):
        return y.transpose(0, 1)
    return y if y.ndim == 3 else y[:, None]


def outputs(model, x):
    """Features and outputs of theirs, as our inputs and outputs are shaped."""
    streams = x.unflatten(1, (-1, D))
    batch = {point: streams[:, i] for i, point in enumerate(IN[: streams.shape[1]])}
    with torch.no_grad():
        given, factors = model.normalize_activations(
            batch | {point: torch.zeros_like(streams[:, 0]) for point in OUT},
            return_scale_factor=True,
        )
        read, of_encoder, of_decoder = model.prepare_input(given)
        h = model.encode(read, **of_encoder)
        y = by_layer(model, model.decode(h, **of_decoder))
    points = IN if isinstance(model, TheirCrosscoder) else OUT
    parts = {point: y[:, i] for i, point in enumerate(points[: y.shape[1]])}
    parts = model.denormalize_activations(parts, {k: factors[k] for k in parts})
    if isinstance(model, TheirCrosscoder):
        h = h[:, 0]
    return h.flatten(1), torch.cat(list(parts.values()), dim=1)


def assert_close(found, wanted):
    assert (found - wanted).abs().max() <= 1e-12 * wanted.abs().max()


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("kind", THEIRS)
def test_theirs_is_read(kind, norms, tmp_path):
    model = drawn(THEIRS[kind]())
    if norms:
        given = {point: 2.0 + i for i, point in enumerate(IN + OUT)}
        model.set_dataset_average_activation_norm(
            {point: given[point] for point in model.cfg.associated_hook_points}
        )
    else:
        model.cfg.norm_activation = "inference"
    model.save_pretrained(tmp_path)
    model.cfg.save_hyperparameters(tmp_path)
    ours = fb.load(tmp_path)
    assert ours.architecture == kind
    x = X[:, : ours.d_in]
    h, y = outputs(model, x)
    assert_close(ours(x)[0], y)
    if kind == "molt":  # a component is its gate times what it reads
        h = h.repeat_interleave(RANK, 1) * (ours.hidden_pre(x)[0, :, ours.d_sae :])
    assert_close(ours.encode(x)[0], h)


def ours_of(kind):
    if kind == "molt":
        return Molt.from_arrays(random((D, M)), torch.zeros(M, dtype=torch.float64), random((M, D)),
                                random((D,)), W_gate=random((D, 3), 5), b_gate=random((3,)),
                                rank=RANK)  # fmt: skip
    d, m = N * D, M * (N if kind == "cross_layer" else 1)
    given = [random((1, d, m)), random((1, m)), random((1, m, d), 3), random((1, d), 4)]
    t = (CrossLayer if kind == "cross_layer" else Crosscoder)(*given, n_layers=N)
    t.settle()
    return t


LAYOUTS = {"molt": "llamascopium_molt", "cross_layer": "llamascopium_clt",
           "crosscoder": "llamascopium_crosscoder"}  # fmt: skip


@pytest.mark.parametrize("kind", LAYOUTS)
def test_they_read_ours(kind, tmp_path):
    ours = ours_of(kind)
    ours.save(tmp_path, layout=LAYOUTS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SparseDictionary.from_pretrained(str(tmp_path), dtype=torch.float64)
    x = X[:, : ours.d_in]
    streams = x.unflatten(1, (-1, D))
    batch = {p: streams[:, i] for i, p in enumerate(model.cfg.hooks_in)}
    read, of_encoder, of_decoder = model.prepare_input(batch)
    with torch.no_grad():
        y = model.decode(model.encode(read, **of_encoder), **of_decoder)
    assert_close(ours(x)[0], by_layer(model, y).flatten(1))


def test_a_cross_layer_transcoder_of_circuit_tracer(tmp_path):
    model = circuit_tracer.CrossLayerTranscoder(
        N, M, D, lazy_decoder=False, device=torch.device("cpu"), dtype=torch.float64
    )
    drawn(model).to_safetensors(str(tmp_path / "theirs"))
    ours = fb.load(tmp_path / "theirs")
    with torch.no_grad():
        wanted = model(X.unflatten(1, (N, D)).transpose(0, 1)).transpose(0, 1).flatten(1)
    assert_close(ours(X)[0], wanted)
    ours.save(tmp_path / "ours", layout="circuit_tracer_clt")
    again = circuit_tracer.load_clt(
        str(tmp_path / "ours"), device=torch.device("cpu"), dtype=torch.float64, lazy_decoder=False
    )
    with torch.no_grad():
        found = again(X.unflatten(1, (N, D)).transpose(0, 1)).transpose(0, 1).flatten(1)
    assert_close(found, wanted)
