"""What is scored: which measures, and what each is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["error", "faithfulness", "sparsity", "cost"]


@dataclass(frozen=True)
class Column:
    """A measure as a column of the benchmark.

    ``error``: how far outputs are from the layer's where the data are, or just beside them.
    ``faithfulness``: whether it computes as the layer does. ``sparsity`` and ``cost`` are what is
    paid for it; nothing is ranked by them.
    """

    name: str
    kind: Kind
    best: Literal["low", "high", ""] = "low"
    """Which values are better."""


COLUMNS = {
    column.name: column
    for column in (
        Column("fvu", "error"),
        Column("mse", "error"),
        Column("error_at_p", "error"),
        Column("parts_error", "faithfulness"),
        Column("ray_error", "faithfulness"),
        Column("signs_error", "faithfulness"),
        Column("dense_fvu", "faithfulness"),
        Column("near_point_fvu", "faithfulness"),
        Column("mechanism_error", "faithfulness"),
        Column("mechanism_error_at_p", "faithfulness"),
        Column("circuit_match", "faithfulness", "high"),
        Column("circuit_match_with_p", "faithfulness", "high"),
        Column("memorization_share", "faithfulness"),
        Column("memorized", "faithfulness"),
        Column("patching_error", "faithfulness"),
        Column("patching_error_at_p", "faithfulness"),
        Column("response_error", "faithfulness"),
        Column("response_error_at_p", "faithfulness"),
        Column("jacobian_error", "faithfulness"),
        Column("jacobian_error_at_p", "faithfulness"),
        Column("jacobian_cosine", "faithfulness", "high"),
        Column("masking_index", "faithfulness"),
        Column("masking_index_at_p", "faithfulness"),
        Column("l0", "sparsity", ""),
        Column("active_at_p", "sparsity", ""),
        Column("frac_alive", "sparsity", ""),
        Column("parameters", "cost", ""),
        Column("samples", "cost", ""),
        Column("seconds", "cost", ""),
    )
}
"""Every number of a score by its name. ``memorized`` is the share of the points at which the state
is one of memorization; the state itself stands beside it as a word. ``seconds`` are a CPU's, of one
training, on all threads together; what a recipe computes on a GPU is not in them."""

JUDGED = [c.name for c in COLUMNS.values() if c.kind in ("error", "faithfulness")]
"""The columns that something can be ranked by, once they have earned it."""
