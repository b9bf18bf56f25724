"""Certificates against the programs that one would write first."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from benchmarks import timing
from benchmarks.sizes import LIGHT, Size
from faithnb import AbsoluteValue, Transcoder, train
from faithnb.certify.box import box_of
from faithnb.certify.questions import error_on
from faithnb.certify.solving import Effort
from faithnb.model.layer import Layer
from faithnb.sweeps.conditions import matched

SUPPORTS = (0, 1, 2), (3, 4, 5), (0, 1, 2, 3, 4, 5)
"""Coordinates that vary: those of p, three others, all six."""


def one_by_one(t: Transcoder, support: Sequence[int]) -> float:
    """The largest error of a ReLU transcoder of |x| on a box, by a mixed-integer program for each
    output and sign: x, each feature and whether it is on, each |x_j| and whether x_j is positive;
    bounds of features by intervals."""
    W_enc, b, W_dec = (w[0].double().numpy() for w in (t.W_enc, t.b_enc, t.W_dec))
    W_enc = W_enc[list(support)]
    reach = np.abs(W_enc).sum(0)
    some = b + reach > 0
    W_enc, b, W_dec, reach = W_enc[:, some], b[some], W_dec[some], reach[some]
    d, n = W_enc.shape
    least, most = b - reach, b + reach
    x, h, on, a, positive = np.split(np.eye(3 * d + 2 * n), np.cumsum([d, n, n, d]))
    z = W_enc.T @ x
    rows = [  # low <= A v <= high
        (h - z, b, np.inf),
        (h - z - least[:, None] * on, -np.inf, b - least),
        (h - most[:, None] * on, -np.inf, 0),
        (a - x, 0, np.inf),
        (a + x, 0, np.inf),
        (a - x + 2 * positive, -np.inf, 2),
        (a + x - 2 * positive, -np.inf, 0),
    ]
    A = csr_array(np.concatenate([of for of, _, _ in rows]))
    low, high = (
        np.concatenate([np.broadcast_to(row[k], len(row[0])) for row in rows]) for k in (1, 2)
    )
    bounds = Bounds(
        np.concatenate([-np.ones(d), np.zeros(2 * n + 2 * d)]),
        np.concatenate([np.ones(d), most, np.ones(n + 2 * d)]),
    )
    whole = np.concatenate([np.zeros(d + n), np.ones(n), np.zeros(d), np.ones(d)])
    constraints = LinearConstraint(A, low, high)
    goals = W_dec.T @ h
    goals[list(support)] -= a
    with _silence():
        return max(
            -milp(-sign * goal, constraints=constraints, bounds=bounds, integrality=whole).fun
            for goal in goals for sign in (1, -1)
        )  # fmt: skip


@contextmanager
def _silence() -> Iterator[None]:
    """HiGHS prints lines for its authors past Python's own standard output."""
    sys.stdout.flush()
    before = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


def certified(t: Transcoder, layer: Layer, support: Sequence[int]) -> float:
    """The same as :func:`faithnb.certify.worst_error` has it, found anew, whatever is kept."""
    effort, box = Effort(workers=1, kept=False), box_of(t.d_in, support, -1.0, 1.0, None)
    return error_on(t.in_float64(), layer, box, effort).bound


def certificates(size: Size, device: torch.device) -> pd.DataFrame:
    """The worst error of three transcoders on boxes, by :func:`faithnb.certify.worst_error` and by
    a program for each output and sign. On the CPU."""
    d_in, d_sae, steps = size.certified
    base = replace(LIGHT, seed=1, d_in=d_in, d_sae=d_sae, steps=steps, repeat_frac=0.1)
    forms = {
        "no repeats": replace(base, repeat_frac=0.0),
        "repeats": base,
        "repeats, smoothed": matched(base, "smoothed", 0.1),
    }
    trained = {name: train(e, device="cpu", progress=False).transcoder for name, e in forms.items()}
    layer, rows = AbsoluteValue(base.d_in), []
    cells = [(name, s) for name in forms for s in SUPPORTS[: size.boxes]]
    for name, support in size.each(cells, "certificates"):
        t = trained[name]
        subjects = {
            "certify": partial(certified, t, layer, support),
            "programs": partial(one_by_one, t, support),
        }
        times = timing.side_by_side(subjects, max(2, size.rounds // 2), 0)
        rows.append({
            "training": name, "coordinates": ", ".join(str(j + 1) for j in support),
            "worst error": certified(t, layer, support),
            "certify_s": float(np.median(times["certify"])),
            "programs_s": float(np.median(times["programs"])),
            **timing.ratio(times["certify"], times["programs"]),
        })  # fmt: skip
    return pd.DataFrame(rows)
