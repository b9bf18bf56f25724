"""The book in a real browser: how large its pages are, how soon they show, how fast they train."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import re
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from faithnb import Experiment
from faithnb.book.contents import ROOT
from faithnb.book.pdf import NoPdf, find_browser
from faithnb.widgets.bundle import script

HTML = ROOT / "_build" / "html"
PAGES = ("notebooks/index", "notebooks/01_absolute_value", "notebooks/explorer", "notebooks/atlas")
PICTURE = re.compile(r'<svg.*?</svg>|"data:image/[^"]*"', re.DOTALL)

SMALL = {"d_in": 8, "d_sae": 32, "batch_size": 128, "steps": 1500, "learning_rate": 1e-2,
         "sparsity_coefficient": 0.1, "repeat_frac": 0.1}  # fmt: skip
SMOOTHED = {"jacobian_matching": "smoothed", "jacobian_coefficient": 0.1}
HEADLINE = {"d_in": 16, "d_sae": 64, "batch_size": 256, "steps": 2000, "repeat_frac": 0.1}
TRAINED: dict[str, dict[str, Any]] = {
    "small story": SMALL,
    "small story, smoothed": SMALL | SMOOTHED,
    "headline": HEADLINE,
    "headline, smoothed": HEADLINE | SMOOTHED,
}
"""What the page trains, as its knobs offer it."""


FIRST_PAINT = """() => new Promise((resolve) => {
    const look = (list) => {
        const entry = list.getEntriesByName("first-contentful-paint")[0];
        if (entry) resolve(entry.startTime);
    };
    new PerformanceObserver(look).observe({ type: "paint", buffered: true });
})"""


def can_be_opened() -> bool:
    """Whether there is a browser, what drives it, and a book."""
    try:
        find_browser()
    except NoPdf:
        return False
    return bool(importlib.util.find_spec("playwright")) and (HTML / "index.html").exists()


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window, and without a network."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=find_browser(), args=flags)
        yield chromium
        chromium.close()


def opened(rounds: int) -> list[dict[str, Any]]:
    """Each page from disk: its size without pictures, and the first paint of something on it."""
    rows = []
    with browser() as chromium:
        for name in PAGES:
            path, paints = HTML / f"{name}.html", []
            for _ in range(rounds):
                context = chromium.new_context(offline=True)
                page = context.new_page()
                page.goto(path.as_uri(), wait_until="load")
                paints.append(page.evaluate(FIRST_PAINT))
                context.close()
            rows.append({
                "page": name, "MB": path.stat().st_size / 1e6,
                "MB without pictures": len(PICTURE.sub("", path.read_text()).encode()) / 1e6,
                "first_paint_s": statistics.median(paints) / 1e3,
            })  # fmt: skip
    return rows


def trained(rounds: int) -> list[dict[str, Any]]:
    """Trainings by the page's own script, on one core."""
    trainer = base64.b64encode(script("trainer.js").encode()).decode()
    module = f"data:text/javascript;base64,{trainer}"
    code = """async ([module, experiment]) => {
        const { Trainer } = await import(module);
        const trainer = new Trainer(experiment);
        const started = performance.now();
        for (let k = 0; k < experiment.steps; k++) trainer.update();
        return (performance.now() - started) / 1e3;
    }"""
    with browser() as chromium:
        page = chromium.new_page()
        page.goto("about:blank")
        seconds = {
            name: [page.evaluate(code, [module, dataclasses.asdict(Experiment(**of))])
                   for _ in range(rounds)]
            for name, of in TRAINED.items()
        }  # fmt: skip
    return [
        {"what": name, "steps": TRAINED[name]["steps"], "seconds": statistics.median(taken)}
        for name, taken in seconds.items()
    ]
