"""Transcoders of a language model's MLP, of SmolLM2's shapes.

Its weights and inputs are random: they decide no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from benchmarks import timing
from benchmarks.sizes import Size, cycle
from faithnb import Experiment
from faithnb.model.mlp import SwiGLU, as_target
from faithnb.training.loop import Loop

LAYERS, WIDTH = 30, 16_384
"""How many MLPs the model has, and how many features a transcoder of one has."""

D_MODEL, D_MLP = 576, 1536

ROWS, ROWS_ON_CPU = 4096, 512
"""Of a batch."""


def is_full(size: Size) -> bool:
    """Whether the model's own shapes are measured."""
    return size.measured >= 64


@contextmanager
def transcoder_of_layer(size: Size, rows: int = ROWS, ahead: int = 16) -> Iterator[Experiment]:
    """An experiment on a layer, which lives as long as its file of inputs.

    Args:
        size: the model's shapes or small ones.
        rows: of a batch.
        ahead: how many batches are drawn together, at most.
    """
    d_in, d_mlp, n_rows = (D_MODEL, D_MLP, 20_000) if is_full(size) else (24, 48, 1_000)
    with TemporaryDirectory() as folder:
        draw = np.random.default_rng(0)
        path = Path(folder) / "inputs.npy"
        np.save(path, draw.standard_normal((n_rows, d_in), dtype=np.float32).astype(np.float16))
        torch.manual_seed(0)
        weights = (torch.randn(s) / s[1] ** 0.5 for s in ((d_mlp, d_in), (d_mlp, d_in),
                                                          (d_in, d_mlp)))  # fmt: skip
        as_target("random_mlp", SwiGLU(*weights), Path(folder))
        yield Experiment(
            target="random_mlp", data=str(path), d_in=d_in, points=(), repeat_frac=0.0,
            architecture="batch_topk", k=50 if is_full(size) else 12, sparsity_penalty="none",
            sparsity_coefficient=0.0, batch_size=rows if is_full(size) else 64,
            d_sae=WIDTH if is_full(size) else 96,
            # as few steps as are drawn together, at one learning rate
            steps=ahead, warmup_frac=0.0, decay_frac=0.0,
        )  # fmt: skip


def language(size: Size, device: torch.device) -> pd.DataFrame:
    """A training step at several widths, drawing its data included."""
    rows = []
    with transcoder_of_layer(size) as base:
        for d_sae in (768, 3072, WIDTH) if is_full(size) else (48, 96):
            for n in (1, 4):
                of_width = [replace(base, d_sae=d_sae, seed=s) for s in range(n)]
                rows.append(_row(Loop(of_width, device), base.batch_size))
    return pd.DataFrame(rows)


def one_step(size: Size, device: torch.device) -> pd.DataFrame:
    """A step of one transcoder at the full width; on a processor with fewer rows in a batch."""
    rows = ROWS_ON_CPU if device.type == "cpu" else ROWS
    with transcoder_of_layer(size, rows, ahead=2) as base:
        return pd.DataFrame([_row(Loop([base], device), base.batch_size)])


def _row(loop: Loop, batch: int) -> dict[str, float]:
    cycle(loop)
    n, d_sae = len(loop.weights[0]), loop.template.d_sae
    seconds = timing.seconds(partial(cycle, loop), 1) / loop.batches.ahead
    return {
        "d_sae": d_sae, "instances": n, "batch": batch, "step_ms": seconds * 1e3,
        "tokens_per_s": batch * n / seconds,
    }  # fmt: skip
