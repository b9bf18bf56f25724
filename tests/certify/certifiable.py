"""Small transcoders of every architecture that can be certified."""

import numpy as np
import torch

from faithnb.model.architectures import JumpReLU, TopK
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

KINDS = ("relu", "skip", "jumprelu", "topk")


def random_transcoder(seed, most_inputs=3, most_features=8):
    rng, kind = np.random.default_rng(seed), KINDS[seed % len(KINDS)]
    d, n = int(rng.integers(1, most_inputs + 1)), int(rng.integers(1, most_features + 1))
    arrays = {
        "W_enc": rng.normal(size=(d, n)).astype("float32"),
        "b_enc": rng.normal(scale=0.3, size=n).astype("float32"),
        "W_dec": rng.normal(size=(n, d)).astype("float32"),
        "b_dec": rng.normal(scale=0.1, size=d).astype("float32"),
    }
    if kind == "skip":
        return Transcoder.from_arrays(**arrays, W_skip=rng.normal(size=(d, d)).astype("float32"))
    if kind == "jumprelu":
        threshold = rng.uniform(0, 0.6, n).astype("float32")
        return JumpReLU.from_arrays(**arrays, threshold=threshold)
    if kind == "topk":
        return TopK.from_arrays(**arrays, k=int(rng.integers(1, n + 1)))
    return Transcoder.from_arrays(**arrays)


def with_feature(d, p, write, threshold):
    """The true circuits of |x| and one more feature, which reads p."""
    return Transcoder.from_circuits(
        [*AbsoluteValue(d).circuits(), Circuit("planted", p, write, threshold)]
    )


SAMPLES, AT_ONCE = 1_000_000, 100_000

ROUNDED = 1e-5
"""What float32 may add to an output of size 10 or so, summed over a dozen features."""


def largest_sampled(of, support, d):
    """The largest of a function over a million inputs of the box, in float32."""
    drawn, most = torch.Generator().manual_seed(0), 0.0
    for _ in range(SAMPLES // AT_ONCE):
        x = torch.zeros(AT_ONCE, d)
        x[:, support] = 2 * torch.rand(AT_ONCE, len(support), generator=drawn) - 1
        most = max(most, of(x).abs().max().item())
    return most


D = 5
P = torch.tensor([1.0, 1, 1, 0, 0])
WRITE = torch.tensor([-0.5, 0.25, 0, 0, 0.125])
PLANTED = with_feature(D, P, WRITE, 2.0)
"""Its feature is 1 at p, above 0 where p · x > 2, and 0 elsewhere."""
