"""Windows of a random model, read token by token."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

import faithnb.lm as lm
from faithnb import Transcoder, measures
from faithnb.common.errors import InputError
from faithnb.lm.reading import other_tokens, read_window
from faithnb.measures.interventions import patched_change
from faithnb.widgets.reader import read_along

IDS = [5, 9, 5, 30, 61, 7, 7, 2]
N, AT, NEW = len(IDS), 3, 77


@pytest.fixture(scope="module")
def model():
    return lm.tiny()


@pytest.fixture(scope="module")
def transcoder(model):
    return Transcoder.random([3], model.d_model, 64, model.d_model)


@pytest.fixture(scope="module")
def window(model, transcoder):
    return read_window(of(model), {"random": transcoder}, IDS, {AT: NEW, 0: 8})


def of(model, scale=1.0, output_scale=1.0):
    """MLP 1 as a subject, as far as a window needs it."""
    return SimpleNamespace(model=model, k=1, scale=scale, output_scale=output_scale)


def inputs(model, ids):
    return model.run(torch.tensor([ids]), keep=("mlp_in.1",))["mlp_in.1"][0]


def test_the_layer_s_change_is_the_model_s(model, window):
    changed = [*IDS[:AT], NEW, *IDS[AT + 1 :]]
    f = model.layer(1)
    x, x_new = inputs(model, IDS), inputs(model, changed)
    assert torch.allclose(window.output, f(x).norm(dim=-1).double(), rtol=1e-4)
    expected = (f(x_new) - f(x)).norm(dim=-1).double()
    assert torch.allclose(window.change[AT, AT:], expected[AT:], rtol=1e-3, atol=1e-5)
    assert window.change[AT, :AT].isnan().all()  # causality: nothing before it changes
    assert window.change[1].isnan().all()
    assert window.change[0].isfinite().all()


def test_predictions_are_the_measures(model, transcoder, window):
    changed = [*IDS[:AT], NEW, *IDS[AT + 1 :]]
    f = model.layer(1).to(torch.device("cpu"))
    x, x_new = inputs(model, IDS), inputs(model, changed)
    found = window.transcoders["random"]
    for j in range(AT, N):
        pair = x[j : j + 1], x_new[j : j + 1]
        patching = measures.patching_error(transcoder, f, *pair).item()
        assert found.patching_error[AT, j].item() == pytest.approx(patching, rel=1e-2)
        norm = patched_change(transcoder, *pair)[0, 0].norm().item()
        assert found.patched[AT, j].item() == pytest.approx(norm, rel=1e-3)
        change = measures.change_error(transcoder, f, *pair).item()
        assert found.change_error[AT, j].item() == pytest.approx(change, rel=1e-2)
    sizes = measures.contribution_sizes(transcoder, x)[0]
    assert torch.equal(found.features[:, 0], sizes.argmax(-1))
    assert all((a >= b).all() for a, b in pairwise(found.contributions.T))
    assert torch.equal(found.n_active, (sizes > measures.CONTRIBUTES).sum(-1))


def test_scales_are_taken_out_again(model, transcoder, window):
    weights = transcoder.weights()
    scaled = transcoder.with_weights(
        weights | {"W_enc": weights["W_enc"] / 4, "W_dec": weights["W_dec"] * 3}
    )
    found = read_window(of(model, 0.25, 1 / 3), {"t": scaled}, IDS, {AT: NEW})
    assert torch.allclose(found.change[AT, AT:], window.change[AT, AT:])
    ours, theirs = found.transcoders["t"], window.transcoders["random"]
    assert torch.allclose(ours.contributions, theirs.contributions, rtol=1e-4)
    assert torch.allclose(ours.change[AT, AT:], theirs.change[AT, AT:], rtol=1e-4)
    assert torch.allclose(ours.output_error, theirs.output_error, rtol=1e-4)


def test_every_position_has_another_token(model, transcoder):
    other = other_tokens(IDS)
    assert other[0] == IDS[4]
    assert all(IDS[k] != token for k, token in other.items())
    assert sorted(other) == list(range(N))
    assert other_tokens([3, 3, 3]) == {}
    whole = read_window(of(model), {"t": transcoder}, IDS)
    assert whole.change.isfinite().sum() == N * (N + 1) / 2
    assert whole.replacements == tuple(model.decode([other[k]]) for k in range(N))
    assert read_along([whole]).packed


def test_what_does_not_fit_is_refused(model, transcoder):
    with pytest.raises(InputError, match=r"replacements\[8\] = 1 is not allowed: positions are 0"):
        read_window(of(model), {}, IDS, {8: 1})
    wide = Transcoder.random([3], 8, 16, 8)
    with pytest.raises(InputError, match=r"transcoders\['wide'\] is not allowed: it must be one"):
        read_window(of(model), {"t": transcoder, "wide": wide}, IDS)
