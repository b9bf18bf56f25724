"""Transcoders and layers as sums of units are what they are as modules."""

import numpy as np
import pytest
import torch
from certifiable import random_transcoder
from scipy.special import erf

from faithnb.certify.chords import smooth_absolute
from faithnb.certify.piecewise import of_layer, of_transcoder
from faithnb.common.errors import InputError
from faithnb.model.architectures import BatchTopK, Gated
from faithnb.model.layer import LAYERS, Layer
from faithnb.model.layers import AbsoluteValue, Identity
from faithnb.model.networks import GeluNetwork
from faithnb.model.transcoder import Transcoder
from faithnb.model.turning import turned_layer

PIECEWISE = (
    "abs", "identity", "abs_with_point", "abs_with_strong_point", "abs_with_pattern",
    "superposed_once", "superposed_once_with_point", "rotated", "rotated_with_point",
    "combinations", "combinations_with_point", "two_layers", "two_layers_with_point",
)  # fmt: skip
P = torch.tensor([1.0, 1, 1] + 13 * [0])


def inputs(d, n=300):
    x = np.random.default_rng(0).uniform(-1.5, 1.5, (n, d))
    return x, torch.from_numpy(x)


@pytest.mark.parametrize("seed", range(12))
def test_of_a_transcoder(seed):
    t = random_transcoder(seed)
    f, (x, as_tensor) = of_transcoder(t), inputs(t.d_in)
    exact = t.in_float64()
    np.testing.assert_allclose(f(x), exact(as_tensor)[0], atol=1e-12)
    np.testing.assert_allclose(f.jacobian(x), exact.jacobian(as_tensor)[0], atol=1e-12)


def test_batch_topk_in_use_is_a_threshold():
    t = BatchTopK.random([0], 3, 5, 3, k=2.0)
    t.threshold.data.fill_(0.2)
    x, as_tensor = inputs(3)
    np.testing.assert_allclose(of_transcoder(t)(x), t.in_float64()(as_tensor)[0], atol=1e-12)


@pytest.mark.parametrize("turn", [0, 3])
@pytest.mark.parametrize("name", PIECEWISE)
def test_of_a_layer(name, turn):
    layer = turned_layer(LAYERS[name].of_experiment(16, P[None], "zero"), turn)
    f, (x, as_tensor) = of_layer(layer), inputs(16)
    np.testing.assert_allclose(f(x), layer(as_tensor), atol=1e-12)
    np.testing.assert_allclose(f.jacobian(x), layer.jacobian(as_tensor), atol=1e-12)


def test_simplified_is_the_same_with_one_unit_a_kink():
    """|x| by ReLU(x) and ReLU(−x), minus |x|, has no kink left."""
    t = Transcoder.from_circuits(AbsoluteValue(3).circuits())
    assert len(of_transcoder(t).minus(of_layer(AbsoluteValue(3))).simplified().bias) == 0
    for seed in range(8):
        t = random_transcoder(seed)
        f = of_transcoder(t).minus(of_layer(Identity(t.d_in)))
        x = np.random.default_rng(0).uniform(-1, 1, (200, f.read.shape[1]))
        np.testing.assert_allclose(f.simplified()(x), f(x), atol=1e-12)


@pytest.mark.parametrize("turn", [0, 3])
@pytest.mark.parametrize("name", ["smooth_abs", "gelu_network", "smooth_abs_with_point"])
def test_a_smooth_layer_is_as_near_as_said(name, turn):
    if name == "gelu_network":
        drawn = torch.Generator().manual_seed(0)
        layer = GeluNetwork(*(torch.randn(s, generator=drawn) for s in ((40, 16), (40,), (40, 16))))
    else:
        layer = LAYERS[name].of_experiment(16, P[None], "zero")
    layer = turned_layer(layer, turn)
    f, (x, as_tensor) = of_layer(layer), inputs(16, 3000)
    off = np.abs(f(x) - layer(as_tensor).numpy()).max(0)
    assert (off <= f.apart).all()
    assert off.max() > 0.05 * f.apart.max()


def test_chords_are_as_near_as_said_everywhere():
    chords = smooth_absolute()
    u = np.concatenate([np.linspace(-9, 9, 300_001), [-1e3, 1e3]])
    bent = np.maximum(u[:, None] - chords.knots, 0) @ chords.jumps
    off = np.abs(chords.offset - u + bent - u * erf(u / 2**0.5))
    assert off.max() <= chords.error
    assert off.max() > 0.9 * chords.error
    assert len(chords.knots) < 60


def test_an_unknown_module_is_refused():
    with pytest.raises(InputError, match=r"layer = ReLU is not allowed"):
        of_layer(Layer.of(torch.nn.ReLU(), 3))


def test_transcoders_that_are_refused():
    with pytest.raises(InputError, match="architecture = 'gated' is not allowed"):
        of_transcoder(Gated.random([0], 2, 3, 2))
    with pytest.raises(InputError, match="2 transcoders are not allowed"):
        of_transcoder(Transcoder.random([0, 1], 2, 3, 2))
    broken = Transcoder.random([0], 2, 3, 2)
    broken.W_dec.data[0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="weights that are not finite"):
        of_transcoder(broken)
