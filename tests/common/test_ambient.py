"""What a process or a thread has set decides nothing."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch

from faithnb import CircuitMap, Experiment, figures, train
from faithnb.common.ambient import nested, settled
from faithnb.data import inputs
from faithnb.data.sampling import _evaluation_sample, pad_points
from faithnb.measures import interventions
from faithnb.model import networks
from faithnb.model.transcoder import Transcoder
from faithnb.training import theory
from faithnb.training.store import Store
from faithnb.training.watch import watch

BASE = Experiment(d_in=4, d_sae=10, steps=30, batch_size=32, repeat_frac=0.1, density=0.2)
EXPERIMENTS = [
    replace(BASE, jacobian_matching="smoothed", jacobian_coefficient=0.1),
    replace(BASE, init="memorising", seed=1),
    replace(BASE, target="superposed", density=0.3),
    replace(BASE, target="gelu_network", dtype="float64"),
    replace(BASE, target="abs_with_point", point_variation="jitter", blur=0.1),
]


def everything():
    """What the package gives, as bytes, by name: nothing is left over from before."""
    for cached in (_evaluation_sample, inputs.fixed, theory._base_data):
        cached.cache_clear()
    trained = train(EXPERIMENTS, device="cpu", progress=False)
    found = {f"weights {i}": w for i in range(len(trained)) for w in trained[i].parameters()}
    found["history"] = trained.history.to_dataarray().values
    table = trained.metrics()
    found |= {name: v.values for name, v in table.data_vars.items()}
    target, x = EXPERIMENTS[0].make_target(), inputs.fixed("uniform", 30, 4)
    p = pad_points(BASE.points, 4)[0]
    found["gain"] = CircuitMap.of(trained[0], target, x, [p]).gain
    found["patching"] = interventions.patching_error(trained[0], target, *inputs.without_one(x))
    start = theory._single_features(torch.tensor(theory.SINGLE, dtype=torch.float64, device="cpu"))
    found["theory"] = theory.population_loss(start, 0.05, 0.1, 0.1)
    found["watched"] = watch(BASE, [3], [2, 30], device="cpu").to_dataarray().values
    made = Transcoder.from_arrays([[1, 0], [0, 1]], [0, 0], [[1, 0], [0, 1]])
    found |= {f"made {name}": w for name, w in made.named_parameters()}
    fig = figures.portrait(trained[0], p, "p")
    svg = fig._repr_mimebundle_()["image/svg+xml"]
    drawn = {"picture": svg, "keys": "".join(Store.keys(EXPERIMENTS, torch.device("cpu")))}
    as_bytes = {name: np.ascontiguousarray(v).tobytes() for name, v in found.items()}
    return as_bytes | {name: text.encode() for name, text in drawn.items()}


def shortly_trained(of, d_in):
    """A network of few steps, each time anew and kept nowhere."""
    return networks._train(of.act, d_in, int(of.neurons_per_coordinate * d_in), steps=30)


@pytest.fixture(autouse=True)
def short_networks(monkeypatch):
    monkeypatch.setattr(networks, "_kept", shortly_trained)


@pytest.fixture(scope="module")
def usual():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_kept", shortly_trained)
        return everything()


@contextlib.contextmanager
def setting(put, value, back):
    put(value)
    try:
        yield
    finally:
        put(back)


@contextlib.contextmanager
def everywhere():
    """A home, a place and a random state that are odd, all at once."""
    before = os.getcwd()
    os.chdir("/")
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    try:
        yield
    finally:
        os.chdir(before)


ODD = {
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: setting(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "float16": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "meta": lambda: torch.device("meta"),
    "meta for good": lambda: setting(torch.set_default_device, "meta", None),
    "inference": torch.inference_mode,
    "no gradient": torch.no_grad,
    "gradient off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "low precision": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "denormal": lambda: setting(torch.set_flush_denormal, True, False),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "anomalies": torch.autograd.detect_anomaly,
    "numpy raises": lambda: np.errstate(all="raise"),
    "numpy prints": lambda: np.printoptions(precision=1, threshold=1, sign="+"),
    "torch prints": lambda: setting(
        lambda p: torch.set_printoptions(profile=p), "short", "default"
    ),
    "pandas prints": lambda: pd.option_context("display.precision", 1, "display.max_columns", 1),
    "rc": lambda: mpl.rc_context({
        "text.usetex": True, "path.sketch": (2, 100, 2), "svg.fonttype": "none",
        "savefig.bbox": "tight", "savefig.dpi": 10, "savefig.transparent": True, "font.size": 40,
        "axes.formatter.use_locale": True, "axes.prop_cycle": mpl.cycler(color="r"),
        "figure.dpi": 7, "image.origin": "lower", "lines.marker": "o", "axes.grid": True,
    }),
    "a plot style": lambda: mpl.style.context("dark_background"),
    "places": everywhere,
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_a_state_decides_nothing(odd, usual):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ODD[odd]():
            found = everything()
    assert found.keys() == usual.keys()
    assert [name for name in found if found[name] != usual[name]] == []


def state():
    return (
        torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"),
        torch.get_float32_matmul_precision(), 5e-324 * np.float64(1) == 0, np.geterr(),
    )  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_a_state_is_put_back_also_after_an_error(odd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ODD[odd]():
            before = state()
            with contextlib.suppress(ZeroDivisionError), settled(), settled():
                assert nested()
                raise ZeroDivisionError
            assert not nested()
            assert state() == before


def test_threads_share_what_is_set_for_the_process():
    """The last to leave puts it back, whoever came first."""
    first_is_in, second_has_left = threading.Event(), threading.Event()
    seen = []

    def first():
        with settled():
            first_is_in.set()
            second_has_left.wait(10)
            seen.append(torch.get_default_dtype())

    torch.set_default_dtype(torch.float64)
    try:
        thread = threading.Thread(target=first)
        thread.start()
        assert first_is_in.wait(10)
        with settled():
            seen.append(torch.get_default_dtype())
        seen.append(torch.get_default_dtype())
        second_has_left.set()
        thread.join()
        assert seen == [torch.float32] * 3
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


ODD_PROCESS = """
import locale, os, sys
import torch
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
torch.set_grad_enabled(False)
guard = torch.inference_mode()
guard.__enter__()
import numpy as np
np.seterr(all="raise")
"""
REPORT = """
import hashlib, json
from faithnb import Experiment, Store, Transcoder, figures, sweep
from faithnb.data.sampling import pad_points
from faithnb.training.theory import generalising
grid = sweep(
    Experiment(d_in=4, d_sae=10, steps=40, batch_size=32, repeat_frac=0.2, density=0.2),
    store=Store(), device="cpu", progress=False, weights=True, init=["random", "memorising"],
)
numbers = {name: hashlib.sha256(v.values.tobytes()).hexdigest() for name, v in grid.items()}
numbers["theory"] = generalising(0.05, 0.1, 0.1).loss
p = pad_points([[1, 1, 1]], 4)[0]
fig = figures.portrait(Transcoder.random([0], 4, 10, 4), p, "p")
svg = fig._repr_mimebundle_()["image/svg+xml"]
numbers["picture"] = hashlib.sha256(svg.encode()).hexdigest()
print("REPORT" + json.dumps(numbers))
"""


def report(before, environment, folder):
    done = subprocess.run(
        [sys.executable, "-c", before + REPORT], cwd=folder, env=os.environ | environment,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.partition("REPORT")[2])


@pytest.fixture(scope="module")
def plain_report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return folder, report("", {"FAITHNB_STORE": str(folder / "store")}, folder)


ODD_ENVIRONMENT = {
    "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONOPTIMIZE": "2",
    "TZ": "Pacific/Kiritimati", "MPLBACKEND": "svg", "JAXTYPING_DISABLE": "1",
    "PYTHONHASHSEED": "7", "COLUMNS": "20",
}  # fmt: skip


def test_a_process_that_is_odd_before_the_import(plain_report, tmp_path):
    """Also its locale, its optimisation, its matplotlibrc and its home decide nothing."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\nsvg.hashsalt: x\n")
    odd = ODD_ENVIRONMENT | {"FAITHNB_STORE": "~/kept", "HOME": str(tmp_path / "home")}
    assert report(ODD_PROCESS, odd, tmp_path) == plain_report[1]
    assert [p.name for p in (tmp_path / "home").iterdir() if p.name == "kept"] == ["kept"]
    assert not (tmp_path / "~").exists()


def test_processes_of_different_defaults_share_a_store(plain_report):
    """What an odd process keeps under a key is what a plain one would, and it finds what that
    kept."""
    folder, numbers = plain_report
    kept = {p.name for p in (folder / "store" / "results").iterdir()}
    shared = {"FAITHNB_STORE": str(folder / "store")}
    assert report(ODD_PROCESS, shared, folder) == numbers
    assert {p.name for p in (folder / "store" / "results").iterdir()} == kept


def test_a_digest_names_content(usual):
    """The comparison above can fail."""
    changed = replace(BASE, seed=9)
    other = train(changed, device="cpu", progress=False)[0]
    digest = hashlib.sha256(other.W_enc.numpy().tobytes()).hexdigest()
    assert digest != hashlib.sha256(usual["weights 0"]).hexdigest()
