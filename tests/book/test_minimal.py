"""The script that tells the story without the package."""

import ast
import runpy
import subprocess
import sys

import numpy as np
import torch

from faithnb.book.contents import ROOT

PATH = ROOT / "book" / "minimal.py"
minimal = runpy.run_path(str(PATH))


def test_it_is_short_and_needs_numpy_alone():
    text = PATH.read_text()
    lines = text.splitlines()
    assert len(lines) <= 150
    assert max(map(len, lines)) <= 72  # a line of the page
    imported = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert [name.name for n in imported for name in n.names] == ["numpy"]


class Drawn:
    """Gives again what was drawn, so that two ways to a gradient see the same directions."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def normal(self, size):
        assert self.arrays[0].shape == size
        return self.arrays.pop(0)


def test_its_gradients_are_autograds():
    rng = np.random.default_rng(300)
    weights, x = minimal["begin"](rng), minimal["data"](rng, 0.1)
    weights[1][:] = rng.normal(size=weights[1].shape)
    noise, v = rng.normal(size=x.shape), rng.normal(size=x.shape)
    W_enc, b_enc, W_dec = (torch.tensor(w, requires_grad=True) for w in weights)
    at, beside = torch.tensor(x), torch.tensor(x + minimal["SIGMA"] * noise)
    h = torch.relu(at @ W_enc + b_enc)
    terms = {
        "error": (h @ W_dec - at.abs()).square().sum(),
        "penalty": minimal["LAMBDA"] * torch.tanh(h * W_dec.norm(dim=1)).sum(),
    }
    gate = (beside @ W_enc + b_enc > 0).double()
    change = (gate * (torch.tensor(v) @ W_enc)) @ W_dec - beside.sign() * torch.tensor(v)
    terms["matching"] = minimal["MU"] * change.square().sum()
    for match in (False, True):
        found = minimal["gradients"](weights, x, match, Drawn(noise, v))
        loss = sum(value for name, value in terms.items() if match or name != "matching") / len(x)
        expected = torch.autograd.grad(loss, (W_enc, b_enc, W_dec), retain_graph=True)
        for mine, theirs in zip(found, expected, strict=True):
            assert theirs.abs().max() > 1e-3
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-6, atol=1e-9)


def test_the_story_comes_out():
    """On seeds that no setting was chosen on; a lost circuit costs one of them its error."""
    train, report, r = (minimal[name] for name in ("train", "report", "REPEATS"))
    cases = {"clean": (0.0, False), "repeats": (r, False), "matched": (r, True)}
    for name, (repeats, match) in cases.items():
        errors, parts, changes = zip(
            *(report(train(repeats, match, seed)) for seed in range(300, 306)), strict=True
        )
        assert np.median(errors) < 0.03
        apart = np.abs(np.array(changes) - np.eye(3)[0]).max(1)
        smallest, second, _ = np.sort(parts).T
        if name == "repeats":
            assert (smallest > 0.8).sum() >= 5  # the feature writes all three outputs
            assert (apart > 0.2).sum() >= 5
        else:
            assert (second < 0.2).sum() >= 5  # it writes one
            assert (apart < 0.2).sum() >= 5


def test_it_prints_a_line_for_each():
    run = subprocess.run([sys.executable, PATH], capture_output=True, text=True, check=True)
    assert len(run.stdout.splitlines()) == 4
