"""The tables. Every figure that is compared is a ratio measured within one run."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import pandas as pd
import torch

from benchmarks import certificates, gpu, load, loops, memory, pages, timing
from benchmarks.sizes import (
    FEW_SEEDS,
    FORMS,
    LIGHT,
    Ensembles,
    Size,
    median_us,
    seeds_of,
    wide,
)
from faithnb import AbsoluteValue, CircuitMap, Experiment, Store, Transcoder, measures, sweep, train
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.sweeps import workers


def steps(size: Size, device: torch.device) -> pd.DataFrame:
    """A model-step against its matrix products alone."""
    cells = [
        (d_in, n_inst, n_seeds, name)
        for d_in, n_inst in size.shapes
        for n_seeds in seeds_of(n_inst)
        for name in FORMS
    ]
    rows = []
    for d_in, n_inst, n_seeds, name in size.each(cells, "steps"):
        ensembles = Ensembles(wide(FORMS[name], d_in), n_inst, n_seeds, device)
        subjects = {"step": ensembles.train, "products": ensembles.products()}
        times = timing.side_by_side(subjects, size.rounds, size.slice_s)
        rows.append({
            "matching": name, "d_in": d_in, "instances": n_inst, "seeds": n_seeds,
            "step_us": median_us(times["step"], ensembles.model_steps),
            "products_us": median_us(times["products"], ensembles.model_steps),
            **timing.ratio(times["step"], times["products"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def ways(size: Size, device: torch.device) -> pd.DataFrame:
    """Ordinary loops against ours, and what matching costs in each way."""
    eager = {
        "eager loop, no matching": loops.without,
        "eager loop, one probe": loops.by_one_probe,
        "eager loop, d backward passes": loops.by_d_passes,
        "eager loop, jacrev of each sample": loops.by_jacrev,
    }
    plain_eager, one_probe, d_passes, jacrev = eager
    ours = {f"64 at once, {name.replace('none', 'no matching')}": name for name in FORMS}
    no_matching, sampled, exact, *_ = ours
    one = "1 alone, no matching"
    faster = [
        (plain_eager, no_matching), (plain_eager, one), (one_probe, sampled), (d_passes, sampled),
        (d_passes, exact), (jacrev, exact),
    ]  # fmt: skip
    dearer = [(way, plain_eager) for way in (one_probe, d_passes, jacrev)]
    dearer += [(way, no_matching) for way in list(ours)[1:]]

    rows = []
    for d_in in size.each(size.loops_at, "ways"):
        matched = wide(FORMS["plain, sampled"], d_in)
        subjects = {way: loops.step(matched, match, device) for way, match in eager.items()}
        ensembles = {
            way: Ensembles(wide(FORMS[name], d_in), 64, FEW_SEEDS, device)
            for way, name in ours.items()
        }
        ensembles[one] = Ensembles(wide(LIGHT, d_in), 1, 1, device)
        subjects |= {way: ensemble.train for way, ensemble in ensembles.items()}
        times = timing.side_by_side(subjects, size.rounds, size.slice_s)
        for way, ensemble in ensembles.items():
            times[way] = [t / ensemble.model_steps for t in times[way]]
        rows += [
            {
                "d_in": d_in, "compares": kind, "way": way, "us": median_us(times[way]),
                "than": other, "than_us": median_us(times[other]),
                **timing.ratio(times[way], times[other]),
            }
            for kind, pairs in (("speed", faster), ("cost of matching", dearer))
            for way, other in pairs
        ]  # fmt: skip
    return pd.DataFrame(rows)


def scaling(size: Size, device: torch.device) -> pd.DataFrame:
    """A model-step without matching at other sizes, against the headline's; one thing at a time."""
    changes: list[tuple[str, int, Experiment, int]] = [
        *(("instances", n, LIGHT, n) for n in (1, 4, 16, 256)),
        *(("d_in, d_sae = 4 d_in", d, wide(LIGHT, d), 64) for d in (4, 8, 32, 64)),
        *(("d_sae", h, replace(LIGHT, d_sae=h), 64) for h in (16, 32, 128, 256)),
        *(("batch_size", b, replace(LIGHT, batch_size=b), 64) for b in (64, 128, 1024, 2048)),
    ]
    rows = []
    threads = torch.get_num_threads()
    base = Ensembles(LIGHT, 64, FEW_SEEDS, device)

    def compare(axis: str, value: int, run: Callable[[], object], model_steps: int) -> None:
        subjects = {"headline": base.train, "changed": run}
        times = timing.side_by_side(subjects, size.rounds, size.slice_s)
        headline = [t / base.model_steps for t in times["headline"]]
        changed = [t / model_steps for t in times["changed"]]
        rows.append({
            "axis": axis, "value": value, "step_us": median_us(changed),
            "headline_us": median_us(headline), **timing.ratio(changed, headline),
        })  # fmt: skip

    for axis, value, form, n in size.each(changes, "scaling"):
        ensembles = Ensembles(form, n, min(n, FEW_SEEDS), device)
        compare(axis, value, ensembles.train, ensembles.model_steps)

    def on_one_core() -> None:
        torch.set_num_threads(1)
        base.train()
        torch.set_num_threads(threads)

    if device.type == "cpu" and threads > 1:
        compare(f"threads (headline: {threads})", 1, on_one_core, base.model_steps)
    return pd.DataFrame(rows)


def memory_peaks(size: Size, device: torch.device) -> pd.DataFrame:
    """The peak of a training loop, in copies of the hidden layer of the chunk in flight."""
    rows = []
    cells = [(name, n_seeds) for name in FORMS for n_seeds in (FEW_SEEDS, 64)]
    for name, n_seeds in size.each(cells, "memory"):
        form = FORMS[name]
        ensembles = None

        def start_and_step(form: Experiment = form, n_seeds: int = n_seeds) -> None:
            nonlocal ensembles
            ensembles = Ensembles(form, 64, n_seeds, device)
            for loop in ensembles.loops:
                for _ in range(2):
                    loop.draw()
                    loop.terms()
                    loop.update()

        peak = memory.peak_bytes(start_and_step, device)
        assert ensembles is not None
        hidden = (
            ensembles.loops[0].chunk_size * form.batch_size * form.d_sae * form.torch_dtype.itemsize
        )
        rows.append({
            "matching": name, "instances": 64, "seeds": n_seeds, "peak_MB": peak / 1e6,
            "copies": peak / hidden,
        })  # fmt: skip
    return pd.DataFrame(rows)


def measuring(size: Size, device: torch.device) -> pd.DataFrame:
    """Metrics and circuits of an ensemble, against a hundred steps of training it."""
    n = size.measured
    experiments = [replace(LIGHT, seed=s, steps=200) for s in range(n)]
    trained = train(experiments, device=device, progress=False)
    target, p = AbsoluteValue(LIGHT.d_in), pad_points(LIGHT.points, LIGHT.d_in)
    x = evaluation_sample(LIGHT.d_in, LIGHT.density)
    training = Ensembles(LIGHT, n, n, device)

    def hundred_steps() -> None:
        for _ in range(100 // training.steps):
            training.train()

    def circuits() -> None:
        CircuitMap.of(trained.transcoder, target, x, p).circuit_match()

    subjects = {"train": hundred_steps, "metrics": trained.metrics, "circuits": circuits}
    times = timing.side_by_side(subjects, max(2, size.rounds // 3), 0)
    return pd.DataFrame([
        {
            "what": name, "instances": n, "seconds": statistics.median(times[name]),
            "hundred_steps_s": statistics.median(times["train"]),
            **timing.ratio(times[name], times["train"]),
        }
        for name in ("metrics", "circuits")
    ])  # fmt: skip


def checking(size: Size, device: torch.device) -> pd.DataFrame:
    """What it costs to check the arguments of a measure and to settle the state it is taken in,
    against the same measure without: of one input, and of all."""
    t = Transcoder.random(range(size.measured), LIGHT.d_in, LIGHT.d_sae, LIGHT.d_in).to(device)
    target, x = AbsoluteValue(LIGHT.d_in), evaluation_sample(LIGHT.d_in, LIGHT.density).to(device)
    rows = []
    for n in (1, len(x)):
        subjects = {"checked": partial(measures.mse, t, target, x[:n]),
                    "bare": partial(measures.mse.__wrapped__, t, target, x[:n])}  # fmt: skip
        times = timing.side_by_side(subjects, max(2, size.rounds), size.slice_s)
        rows.append({
            "inputs": n, "instances": size.measured, "checked_us": median_us(times["checked"]),
            "bare_us": median_us(times["bare"]), **timing.ratio(times["checked"], times["bare"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def importing(size: Size, device: torch.device) -> pd.DataFrame:
    """What it takes beyond torch to load the package, and what training needs of it: processes that
    do both, against processes that load torch alone."""
    code = {
        "torch": "import torch",
        "faithnb": "import torch, faithnb",
        "faithnb.train": "import torch; from faithnb import Experiment, Store, train",
    }
    starts = {
        name: partial(subprocess.run, [sys.executable, "-c", text], check=True)
        for name, text in code.items()
    }
    times = timing.side_by_side(starts, max(5, size.rounds), 0)
    alone = statistics.median(times["torch"])
    return pd.DataFrame([
        {
            "what": name, "seconds": statistics.median(times[name]),
            "beyond_torch": (statistics.median(times[name]) - alone) / alone,
            **timing.ratio(times[name], times["torch"]),
        }
        for name in ("faithnb", "faithnb.train")
    ])  # fmt: skip


def sweeping(size: Size, device: torch.device) -> pd.DataFrame:
    """A sweep of 200 steps into an empty store: what it takes besides training and measuring in one
    process, with that process's peak of memory, and how long with a worker process a core."""
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as alone:  # new, so that the peak is the sweep's
        here = alone.submit(_swept_here, size, device).result()
    with ProcessPoolExecutor(mp_context=spawn) as pool:
        pool.submit(int).result()
        seconds = _swept(size, device, pool)
    return pd.DataFrame([
        here, {"who": "a process a core", "instances": size.swept, "seconds": seconds},
    ])  # fmt: skip


def _swept(size: Size, device: torch.device, executor: Executor | None = None) -> float:
    axes = {
        "steps": [200], "seed": range(20),
        "sparsity_coefficient": [0.01 * (1 + k) for k in range(size.swept // 20)],
    }  # fmt: skip
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        sweep(LIGHT, executor, Store(folder), device, size.progress, **axes)
        return time.perf_counter() - started


def _swept_here(size: Size, device: torch.device) -> dict[str, Any]:
    spent = {"train": 0.0, "measure": 0.0}

    def timed(name: str) -> Callable[..., Any]:
        call = getattr(workers, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                spent[name] += time.perf_counter() - started

        return wrapped

    with mock.patch.multiple(workers, train=timed("train"), measure=timed("measure")):
        seconds = _swept(size, device)
    return {
        "who": "this process", "instances": size.swept, "seconds": seconds,
        "training_s": spent["train"], "measuring_s": spent["measure"] - spent["train"],
        "rest ÷ training": (seconds - spent["measure"]) / spent["train"],
        "peak_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }  # fmt: skip


def book_pages(size: Size, device: torch.device) -> pd.DataFrame:
    """The pages of the book that is built: sizes, and the first paint in a browser."""
    return pd.DataFrame(pages.opened(max(2, size.rounds // 3)))


def in_page(size: Size, device: torch.device) -> pd.DataFrame:
    """How long a page trains, in a browser on this machine."""
    return pd.DataFrame(pages.trained(max(2, size.rounds // 3)))


TABLES = {
    "steps": steps, "ways": ways, "scaling": scaling, "load": load.under_load,
    "memory": memory_peaks, "measuring": measuring, "checking": checking, "importing": importing,
    "certificates": certificates.certificates, "sweeping": sweeping, "many": gpu.many,
    "pages": book_pages, "in page": in_page,
}  # fmt: skip
