"""Hand-made transcoders whose answers one sees by eye, for the note's p in six dimensions."""

from __future__ import annotations

import math
import os
import pickle
from importlib.util import find_spec

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from faithnb.book.pdf import NoPdf, find_browser
from faithnb.data.sampling import pad_points
from faithnb.model.layer import Circuit
from faithnb.model.layers import AbsoluteValue
from faithnb.model.transcoder import Transcoder

collect_ignore = [] if find_spec("sae_lens") else ["interop"]
"""What needs a library that only ``make interop`` installs."""

settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

TRAINED_KINDS = {
    "relu": {},
    "topk": {"architecture": "topk", "k": 3},
    "batch_topk": {"architecture": "batch_topk", "k": 2.5},
    "matryoshka": {"architecture": "matryoshka", "k": 2.5},
    "jumprelu": {"architecture": "jumprelu"},
    "gated": {"architecture": "gated"},
    "molt": {"architecture": "molt", "rank": 2},
    "crosscoder": {"architecture": "crosscoder"},
    "cross_layer": {"architecture": "cross_layer"},
    "relu with skip": {"skip": True},
    "topk with skip": {"architecture": "topk", "k": 2, "skip": True},
    "batch_topk with skip": {"architecture": "batch_topk", "k": 2, "skip": True},
    "matryoshka with skip": {"architecture": "matryoshka", "k": 2, "skip": True},
    "jumprelu with skip": {"architecture": "jumprelu", "skip": True},
    "gated with skip": {"architecture": "gated", "skip": True},
    "molt with skip": {"architecture": "molt", "skip": True},
    "crosscoder with skip": {"architecture": "crosscoder", "skip": True},
    "cross_layer with skip": {"architecture": "cross_layer", "skip": True},
}
"""Every architecture that can be trained, without a linear part and with one."""

D = 6
P = pad_points([[1, 1, 1]], D)[0]
BASIS = torch.eye(D)
TRUE = AbsoluteValue(D).circuits()
ELSEWHERE = [c for c in TRUE if c.name not in ("ReLU(+x1)", "ReLU(+x2)", "ReLU(+x3)")]


def rotated(gain: float = 1.5) -> list[Circuit]:
    """x_j − (x_k + x_l)/3 − 1/3 for j among the first three: exactly 0 at p."""
    return [
        Circuit(f"rotated {j}", 4 / 3 * BASIS[j] - P / 3, gain * BASIS[j], 1 / 3) for j in range(3)
    ]


def datapoint(share: float = 1.0) -> Circuit:
    """Writes ``share`` · p at p, silent where x1 + x2 + x3 ≤ 1.5."""
    return Circuit("datapoint", P / 1.5, share * P, 1.0)


def pair() -> list[Circuit]:
    """One feature for the first two coordinates together, the third by itself."""
    both = BASIS[0] + BASIS[1]
    return [Circuit("pair", both, both, 1.0), Circuit("third", BASIS[2], BASIS[2], 0.0)]


MADE = {
    "generalising": TRUE,
    "datapoint": [*ELSEWHERE, *rotated(), datapoint()],
    "pair": [*ELSEWHERE, *pair()],
    "split": [*ELSEWHERE, *rotated(), datapoint(0.5), datapoint(0.5)],
}
MEMORIZATION = {
    "generalising": 0.0,
    "datapoint": math.sqrt(3) - 1,
    "pair": 2 / math.sqrt(3) - 1,
    "split": math.sqrt(3) - 1,
}


@pytest.fixture
def target() -> AbsoluteValue:
    return AbsoluteValue(D)


@pytest.fixture
def p() -> torch.Tensor:
    return P.clone()


@pytest.fixture
def made() -> dict[str, Transcoder]:
    return {name: Transcoder.from_circuits(circuits) for name, circuits in MADE.items()}


def random_transcoder(n_inst: int = 3, d: int = 4, d_sae: int = 7, seed: int = 0) -> Transcoder:
    """Random weights with random biases, float64."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return Transcoder.from_arrays(
        draw(n_inst, d, d_sae), draw(n_inst, d_sae) / 3, draw(n_inst, d_sae, d)
    )


@pytest.fixture(scope="session")
def browser():
    """A real browser, which CI must have."""
    try:
        chromium = find_browser()
    except NoPdf:
        if os.environ.get("CI"):
            pytest.fail("CI must have Chromium")
        pytest.skip("no Chromium on this machine: nothing was opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-sync"]  # fmt: skip
        opened = p.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    """An empty page of a browser."""
    context = browser.new_context()
    page = context.new_page()
    page.goto("about:blank")
    yield page
    context.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The whole book at ``quick``, and the repository before; notebooks that ran already are
    reused. The processes of a session share it: the first that asks builds, the others wait."""
    from made import sources  # beside the tests that ask for a book

    from faithnb.book import build

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    before, html = folder / "before", folder / "_build" / "html"
    with FileLock(folder / "book.lock"):
        if not before.exists():
            before.write_bytes(pickle.dumps(sources()))
            build.build_book("quick", html.parent)
        elif not (html / "claims.json").exists():
            pytest.fail("the book was not built; the process that tried says why")
    return html, pickle.loads(before.read_bytes())


@pytest.fixture(scope="session")
def html(built):
    """The folder of the built book."""
    return built[0]


@pytest.fixture(scope="session")
def served(html):
    """The built book's address on a server of this machine."""
    from browsing import served_at

    with served_at(html) as address:
        yield address


@pytest.fixture(params=["file", "server"])
def address(request, html, served):
    """The built book's address, where its widgets have what they need."""
    if not (html / "_static" / "vendor").exists():
        if os.environ.get("CI"):
            pytest.fail("CI must have the widgets' parts in the book: npm could not be reached")
        pytest.skip("npm could not be reached, and the build said so")
    return html.as_uri() if request.param == "file" else served
