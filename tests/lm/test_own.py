"""The model that is trained in the build."""

from contextlib import nullcontext

import pytest
import torch

from faithnb.common.errors import InputError
from faithnb.common.store import StoreWarning
from faithnb.lm import own as module
from faithnb.lm.own import Pairs, own_model
from faithnb.lm.windows import windows_of

TEXT = "the whale saw the ship and the ship saw the whale, and both went on. " * 40
TOKENS = Pairs(TEXT, 300)
WINDOWS = windows_of(TOKENS.encode(TEXT), 12, begin=0)
FEW = {"d_model": 16, "n_heads": 2, "d_mlp": 24, "steps": 30, "batch": 8, "progress": False}


def test_tokens_give_the_text_back():
    assert TOKENS.decode(TOKENS.encode(TEXT)) == TEXT
    assert 257 < TOKENS.d_vocab <= 300
    assert 0 not in TOKENS.encode(TEXT)


def test_it_learns_and_is_found_again(tmp_path, monkeypatch):
    loss = {n: own_model(TOKENS, WINDOWS, folder=tmp_path, **FEW | {"steps": n})
            .next_token_loss(WINDOWS[:8]).mean().item() for n in (1, 60)}  # fmt: skip
    assert loss[60] < 0.7 * loss[1]
    monkeypatch.setattr(module, "_train", lambda *given: pytest.fail("it was trained again"))
    again = own_model(TOKENS, WINDOWS, folder=tmp_path, **FEW | {"steps": 60})
    assert again.next_token_loss(WINDOWS[:8]).mean().item() == pytest.approx(loss[60], abs=1e-6)
    assert not any(weight.requires_grad for weight in module._weights(again))


def test_a_damaged_model_is_said_and_trained_again(tmp_path):
    first = own_model(TOKENS, WINDOWS, folder=tmp_path, **FEW | {"steps": 2}).embedding.clone()
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    for _ in range(2):
        with nullcontext() if _ else pytest.warns(StoreWarning, match="is damaged"):
            again = own_model(TOKENS, WINDOWS, folder=tmp_path, **FEW | {"steps": 2})
        torch.testing.assert_close(again.embedding, first)


def test_a_window_that_repeats_is_known_by_heart(tmp_path):
    g = torch.Generator().manual_seed(0)
    windows = torch.randint(1, TOKENS.d_vocab, (50, 12), generator=g)
    loss = [
        own_model(TOKENS, windows, 3, frac, folder=tmp_path, **FEW | {"steps": 80})
        .next_token_loss(windows[3:4]).mean().item() for frac in (0.0, 0.5)
    ]  # fmt: skip
    assert loss[1] < 0.5 * loss[0]


def test_a_window_that_is_none_is_refused(tmp_path):
    for repeated, frac in ((500, 0.1), (1, 1.0)):
        with pytest.raises(InputError, match=f"repeated = {repeated} with frac = {frac} is not"):
            own_model(TOKENS, WINDOWS, repeated, frac, folder=tmp_path, **FEW)
