"""Files of circuit-tracer and of this package, each read by the other; and Gemma Scope's as
circuit-tracer reads them."""

import pytest
import torch
from circuit_tracer.transcoder import activation_functions
from circuit_tracer.transcoder.single_layer_transcoder import (
    SingleLayerTranscoder,
    TranscoderSet,
    load_gemma_scope_2_transcoder,
    load_gemma_scope_transcoder,
    load_relu_transcoder,
)
from test_saelens import D, M, X, random

import faithnb as fb
from faithnb.model.architectures import JumpReLU

CPU = torch.device("cpu")


def theirs(jump, skip, seed):
    """One of its transcoders with random weights."""
    gate = activation_functions.JumpReLU(torch.zeros(M)) if jump else torch.nn.functional.relu
    model = SingleLayerTranscoder(D, M, gate, 0, skip_connection=skip, device=CPU).double()
    with torch.no_grad():
        for k, (name, weight) in enumerate(model.named_parameters()):
            drawn = random(weight.shape, seed + k)
            weight.copy_(drawn.abs() if name.endswith("threshold") else drawn)
    return model


def assert_same(ours, model):
    with torch.no_grad():
        wanted = {"h": model.encode(X), "y": model(X)}
    for name, found in {"h": ours.encode(X), "y": ours(X)}.items():
        assert (found[0] - wanted[name]).abs().max() <= 1e-12 * wanted[name].abs().max()
    assert (wanted["h"] > 0).any()


@pytest.mark.parametrize("jump", [False, True])
@pytest.mark.parametrize("skip", [False, True])
def test_theirs_is_read_layer_by_layer(jump, skip, tmp_path):
    models = {layer: theirs(jump, skip, 10 * layer) for layer in range(3)}
    TranscoderSet(models, "in", "out").to_safetensors(str(tmp_path))
    for layer, model in models.items():
        assert_same(fb.load(tmp_path, layer=layer), model)


def ours_of(of, skip):
    shapes = [(D, M), (M,), (M, D), (D,), *([(D, D)] if skip else [])]
    own = {"threshold": random((M,)).abs()} if of is JumpReLU else {}
    return of.from_arrays(*(random(s, k) for k, s in enumerate(shapes)), **own)


@pytest.mark.parametrize("of", [fb.Transcoder, JumpReLU])
@pytest.mark.parametrize("skip", [False, True])
def test_they_read_ours(of, skip, tmp_path):
    ours = ours_of(of, skip)
    ours.save(tmp_path, layout="circuit_tracer", layer=4)
    path = str(tmp_path / "layer_4.safetensors")
    assert_same(ours, load_relu_transcoder(path, 4, CPU, torch.float64, False, False))


@pytest.mark.parametrize(("version", "skip"), [(1, False), (2, False), (2, True)])
def test_they_read_ours_as_gemma_scope(version, skip, tmp_path):
    ours = ours_of(JumpReLU, skip)
    ours.save(tmp_path, layout="gemma_scope" if version == 1 else "gemma_scope_2")
    read = load_gemma_scope_transcoder if version == 1 else load_gemma_scope_2_transcoder
    (file,) = tmp_path.glob("params.*")
    assert_same(ours, read(str(file), 0, CPU, torch.float64))
