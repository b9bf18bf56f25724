"""The trainer of the page is the package's: same numbers, same mathematics, in a real engine."""

import base64
import dataclasses

import numpy as np
import pytest
import torch

from faithnb import Experiment, Transcoder, train
from faithnb.data.rng import Stream
from faithnb.widgets.bundle import script
from faithnb.widgets.knobs import LEARNED

MODULE = "data:text/javascript;base64," + base64.b64encode(script("trainer.js").encode()).decode()
SMALL = Experiment(
    d_in=6, d_sae=16, batch_size=64, density=0.3, repeat_frac=0.1, steps=200, seed=2**40 + 7,
    learning_rate=1e-2, dtype="float64",
)  # fmt: skip


def in_page(page, experiment, steps=None):
    """Weights and the loss of every step."""
    code = """async ([module, experiment, steps]) => {
        const { Trainer } = await import(module);
        const trainer = new Trainer(experiment);
        const history = [];
        for (let k = 0; k < steps; k++) history.push(trainer.update());
        return [...trainer.weights.map((w) => Array.from(w)), history];
    }"""
    fields = dataclasses.asdict(experiment)
    steps = experiment.steps if steps is None else steps
    W_enc, b_enc, W_dec, *more, history = page.evaluate(code, [MODULE, fields, steps])
    shape = experiment.d_in, experiment.d_sae
    weights = np.reshape(W_enc, shape), np.array(b_enc), np.reshape(W_dec, shape[::-1]), *more
    return weights, history


@pytest.mark.parametrize("seed", [0, 7, 123456, 2**31 + 5, 2**45 + 1])
def test_random_numbers_are_the_package_s(page, seed):
    code = """async ([module, seed]) => {
        const { Stream } = await import(module);
        const found = {};
        for (const purpose of ["init", "data", "noise", "probe"]) {
            const stream = new Stream(seed, purpose);
            const all = Array.from({ length: 40 }, (_, k) => k);
            found[purpose] = [
                all.map((k) => stream.uniform(3, k)),
                all.map((k) => stream.normal(3, k, 40)),
                all.map((k) => stream.sign(3, k)),
            ];
        }
        return found;
    }"""
    for purpose, (uniform, normal, sign) in page.evaluate(code, [MODULE, seed]).items():
        stream = Stream([seed], purpose)
        assert stream.uniform(3, (40,), torch.float64)[0].tolist() == uniform
        assert stream.normal(3, (40,), torch.float64)[0].tolist() == pytest.approx(normal, 1e-12)
        assert stream.signs(3, (40,), torch.float64)[0].tolist() == sign


WAYS = [
    {},
    {"sparsity_penalty": "l1"},
    {"sparsity_penalty": "none"},
    *(
        {"jacobian_matching": form, "jacobian_coefficient": 0.1}
        for form in ("plain", "smoothed", "finite")
    ),
]
FORMS = [
    {},
    {"repeat_frac": 0.0},
    {"points": ()} | {"repeat_frac": 0.0},
    {"points": ((1, 1, 1), (0.5, -1, 0, 2))},
    {"sparsity_penalty": "l1"},
    {"sparsity_penalty": "none"},
    {"tanh_scale": 4.0},
    *({"architecture": "topk", "k": 2} | more for more in WAYS),
    *({"architecture": "jumprelu", "bandwidth": 0.2} | more for more in WAYS),
    *(
        {"jacobian_matching": form, "jacobian_coefficient": 0.1, "kink": kink}
        for form, kink in (
            ("plain", "zero"), ("plain", "masked"), ("plain", "one"), ("smoothed", "zero"),
            ("smoothed", "masked"), ("smoothed", "one"), ("finite", "zero"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_after_200_steps_the_weights_are_the_package_s(page, form):
    experiment = dataclasses.replace(SMALL, **form)
    found, history = in_page(page, experiment)
    expected = train(experiment, device="cpu", progress=False)
    names = LEARNED[experiment.architecture]
    for weight, name in zip(found, names, strict=True):
        assert np.abs(weight - getattr(expected.transcoder, name)[0].numpy()).max() < 1e-4
    if experiment.architecture == "jumprelu":
        assert np.abs(np.array(found[-1]) - experiment.threshold_init).max() > 1e-3  # they learn
    at = expected.history.step.values
    for name in ("reconstruction", "sparsity", "jacobian", "loss"):
        values = np.array([history[k][name] for k in at])
        np.testing.assert_allclose(values, expected.history[name][0], rtol=1e-4, atol=1e-6)
    if "jacobian_matching" in form:
        assert history[-1]["jacobian"] > 0


def test_the_start_is_the_package_s(page):
    (W_enc, b_enc, W_dec), _ = in_page(page, SMALL, steps=0)
    start = Transcoder.random([SMALL.seed], 6, 16, 6, torch.float64)
    assert np.abs(W_enc - start.W_enc[0].numpy()).max() < 1e-12
    assert np.abs(W_dec - start.W_dec[0].numpy()).max() < 1e-12
    assert (b_enc == 0).all()
