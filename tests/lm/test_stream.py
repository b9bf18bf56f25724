"""What layers add to the residual stream sums to what the model predicts."""

import torch

from faithnb.lm import tiny
from faithnb.lm.prompts import repeated
from faithnb.lm.stream import attention, contributions, lens

M = tiny()
PAIRS = repeated(M, 3, seed=0)


def test_the_lens_ends_at_the_logits():
    found = lens(M, PAIRS)
    assert found.shape == (M.n_layers + 1,)
    expected = PAIRS.difference(M.logits(PAIRS.clean)).mean()
    torch.testing.assert_close(found[-1], expected)


def test_contributions_sum_to_the_difference():
    embedded = M.run(PAIRS.clean, keep=("resid.0",), until="resid.0")["resid.0"]
    m = M.to()
    only = contributions(m, PAIRS)
    assert only.shape == (M.n_layers, 2)
    last = M.run(PAIRS.clean, keep=("resid.3",))["resid.3"][:, -1]
    scale = M.final_norm(last) / last
    read = (M.embedding[PAIRS.answer] - M.embedding[PAIRS.wrong]) * scale
    first = (embedded[:, -1] * read).sum(-1).mean()
    expected = PAIRS.difference(M.logits(PAIRS.clean)).mean()
    torch.testing.assert_close(only.sum() + first, expected)


def test_a_silenced_layer_contributes_nothing():
    found = contributions(M, PAIRS, edit={"mlp_out.1": torch.zeros_like})
    assert found[1, 1] == 0
    assert found[1, 0] != 0


def test_attention_is_a_share_of_all_that_a_head_looks_at():
    each = [attention(M, PAIRS.clean, to) for to in range(PAIRS.clean.shape[1])]
    assert each[0].shape == (3, M.n_layers, M.n_heads)
    torch.testing.assert_close(sum(each), torch.ones_like(each[0]))
    only = attention(M, PAIRS.clean, 2, [1])[:, 0]
    torch.testing.assert_close(only, each[2][:, 1])
