"""Files of sparsify and of this package, each read by the other."""

from itertools import product

import pytest
import torch
from sparsify import SparseCoder, SparseCoderConfig
from test_saelens import D, K, M, X, random

import faithnb as fb
from faithnb.model.architectures import TopK

SAYS = {"num_latents": {"num_latents": M}, "expansion": {"expansion_factor": 4}}


def assert_close(found, wanted):
    bound = 1e-12 if wanted.dtype == torch.float64 else 1e-6
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


def activations(model, x):
    acts, places, _ = model.encode(x)
    return torch.zeros(len(x), model.num_latents, dtype=x.dtype).scatter(-1, places, acts)


@pytest.mark.parametrize(("says", "transcode", "skip"), product(SAYS, [False, True], [False, True]))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_theirs_is_read(says, transcode, skip, dtype, tmp_path):
    config = SparseCoderConfig(k=K, transcode=transcode, skip_connection=skip, **SAYS[says])
    model = SparseCoder(D, config, dtype=dtype)
    with torch.no_grad():
        for k, weight in enumerate(model.parameters()):
            weight.copy_(random(weight.shape, k))
    model.save_to_disk(tmp_path)
    ours, x = fb.load(tmp_path), X.to(dtype)
    assert type(ours) is TopK
    with torch.no_grad():
        assert_close(ours.encode(x)[0], activations(model, x))
        assert_close(ours(x)[0], model(x).sae_out)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_they_read_ours(skip, dtype, tmp_path):
    shapes = [(D, M), (M,), (M, D), (D,), *([(D, D)] if skip else [])]
    ours = TopK.from_arrays(*(random(s, k).to(dtype) for k, s in enumerate(shapes)), k=K)
    ours.save(tmp_path, layout="sparsify")
    model, x = SparseCoder.load_from_disk(tmp_path), X.to(dtype)
    with torch.no_grad():
        assert_close(ours.encode(x)[0], activations(model, x))
        assert_close(ours(x)[0], model(x).sae_out)
