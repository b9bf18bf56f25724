"""What results of experiments depend on, and where they are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch

from faithnb.common.extensions import digests
from faithnb.common.files import PACKAGE
from faithnb.common.meaning import meaning
from faithnb.common.store import Rows
from faithnb.experiment import Experiment

TRAINED_BY = (
    "common/ambient", "data/rng", "data/sampling", "data/selection", "data/sources",
    "data/structured", "data/turning", "data/variations",
    "experiment/experiment", "experiment/fields", "matching/finite", "matching/form",
    "matching/noise", "matching/plain", "matching/probes", "matching/soft", "matching/workspace",
    "model/architectures/batch_topk", "model/architectures/cross_layer",
    "model/architectures/crosscoder", "model/architectures/gated",
    "model/architectures/jumprelu", "model/architectures/matryoshka", "model/architectures/molt",
    "model/architectures/topk",
    "model/fitting", "model/gating",
    "model/inits", "model/jacobians", "model/layer", "model/layers", "model/mlp", "model/networks",
    "model/sums", "model/turning", "model/with_point",
    "model/transcoder", "model/weights", "parameters", "penalties", "training/batches",
    "training/ensemble", "training/gradients", "training/init", "training/loop",
    "training/objectives", "training/side_by_side", "training/trained",
)  # fmt: skip
SOURCES = {
    "trained": TRAINED_BY,
    "measures": (
        *TRAINED_BY,
        "common/checks",
        "data/inputs",
        "model/foreign",
        "measures/activity",
        "measures/circuits",
        "measures/codes",
        "measures/conjunctions",
        "measures/error",
        "measures/interventions",
        "measures/jacobian",
        "measures/memorization",
        "measures/off_data",
        "measures/registry",
        "measures/table",
    ),
}
"""The files that decide what a result is; a change in what any of them does makes kept results
unusable."""

_AT_IMPORT = {name: (PACKAGE / f"{name}.py").read_bytes() for name in SOURCES["measures"]}
"""An edit made later is not what this process runs."""


@lru_cache
def source_hash(what: Literal["trained", "measures"] = "measures") -> str:
    """Of the source that decides what a result is, as it was when the package was imported: of its
    syntax trees without docstrings and comments, so that a changed word retrains nothing."""
    digest = hashlib.sha256(what.encode())
    for name in SOURCES[what]:
        digest.update(meaning(_AT_IMPORT[name]).encode())
    return digest.hexdigest()[:16]


class Store(Rows):
    """Trained and measured experiments in one folder, a row each; see
    :class:`faithnb.common.store.Rows`.

    Args:
        folder: where; by default ``results`` in ``$FAITHNB_STORE``, or in ``_cache`` of a checkout
            of the project, or in the user's cache where the package was installed.

    Raises:
        ParameterError: if that is no folder's name.
    """

    kind = "results"

    @staticmethod
    def keys(
        experiments: Sequence[Experiment],
        device: torch.device,
        what: Literal["trained", "measures"] = "measures",
        torch_version: str = torch.__version__,
    ) -> list[str]:
        """What each result depends on: its experiment, the source, what was added to the package
        from outside, torch, the kind of device; the last two are the worker's, if another machine
        does the work."""
        about = f"{what} {source_hash(what)} {torch_version} {device.type} "
        about += "".join(digests("measure")) if what == "measures" else ""
        return [
            hashlib.sha256((about + e.identity()).encode()).hexdigest()[:32] for e in experiments
        ]
