"""SmolLM2 itself, where its file has been fetched; no test fetches anything."""

import pytest
import torch

from faithnb import lm
from faithnb.lm.fetched import MODEL, kept
from faithnb.model.layer import Layer
from faithnb.model.mlp import WEIGHTS, SwiGLU

PROSE = (
    "The sun was setting behind the hills when Anna finally reached the village. She had been "
    "walking since early morning, and her feet were sore. An old man was sitting on a bench in "
    "front of his house, smoking a pipe. He looked up and smiled at her. Anna thanked him and "
    "followed him into the kitchen, where a pot of soup was standing on the stove."
)


@pytest.fixture(scope="module")
def m():
    if kept(MODEL) is None:
        pytest.skip("the model was not fetched (python -m faithnb.lm fetch fetches it)")
    return lm.load()


def test_it_is_smollm2(m):
    assert (m.n_layers, m.d_model, m.n_heads, m.d_head, m.d_vocab) == (30, 576, 9, 64, 49152)
    assert m.name == "SmolLM2-135M-Instruct"
    assert (m.layer(8).d_in, m.layer(8).d_out) == (576, 576)


def test_it_knows_english(m):
    ids = torch.tensor([m.encode("The capital of France is")])
    assert m.decode([m.logits(ids)[0, -1].argmax()]) == " Paris"
    assert 2.2 < m.next_token_loss(torch.tensor([m.encode(PROSE)])).mean() < 2.6


def test_its_tokens_are_digits_alone_and_no_first_one(m):
    assert [m.decode([i]) for i in m.encode("In 1984, <|im_start|>")] == [
        "In", " ", "1", "9", "8", "4", ",", " ", "<|im_start|>"
    ]  # fmt: skip
    assert m.decode(m.encode(PROSE + " naïve 日本")) == PROSE + " naïve 日本"


def test_position_0_is_one_point(m):
    """Bit for bit, in every context of a batch, and in a context alone. Of fewer than four tokens
    alone the products of matrices are taken in another order, and rounded otherwise."""
    first, others = m.encode("The"), m.encode(PROSE)
    ids = torch.tensor([first + others[k : k + 15] for k in range(0, 48, 16)])
    sites = [f"mlp_in.{k}" for k in range(m.n_layers)]
    run = m.run(ids, keep=sites, until=sites[-1])
    alone = m.run(ids[2:], keep=sites, until=sites[-1])
    one = m.run(ids[2:, :1], keep=sites, until=sites[-1])
    for site in sites:
        at_0 = run[site][:, 0]
        assert torch.equal(at_0[0].expand_as(at_0), at_0)
        assert torch.equal(alone[site][0, 0], at_0[0])
        torch.testing.assert_close(one[site][0, 0], at_0[0], rtol=1e-4, atol=1e-3)


def test_jvp_is_autograds(m):
    ids, held = torch.tensor([m.encode(PROSE)[:8]]), m.layer(8)
    layer = SwiGLU(*(getattr(held, name).double() for name in WEIGHTS))
    x = m.run(ids, keep=["mlp_in.8"], until="mlp_in.8")["mlp_in.8"].double()
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(layer.jvp(x, v), Layer.jvp(layer, x, v), rtol=1e-10, atol=1e-10)
