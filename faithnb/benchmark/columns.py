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
    about: str = ""
    """What it is, in a sentence; a measure says it itself."""


CERTIFIED = "certified_worst_error"
"""The column that is proved, and not sampled."""

NOT_CERTIFIED = "not_certified"
"""What stands beside the columns: why that one is empty, in a sentence."""

WORDS = ("state", NOT_CERTIFIED)
"""What a score says besides numbers."""

BEFORE = "This entry was run before worst errors were certified."
"""The sentence where a file says nothing of it."""

MOST_COORDINATES = 10
"""That a point may have for its box to be looked at."""


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
        Column(
            CERTIFIED,
            "faithfulness",
            about="A proof says that no output errs by more, at any input with each coordinate of "
            "the point between −1 and 1 and all others 0.",
        ),
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
is one of memorization; the state itself stands beside it as a word. ``certified_worst_error`` is
:func:`faithnb.benchmark.certified.certified`; where it is empty, ``not_certified`` says why.
``seconds`` are a CPU's, of one
training, on all threads together; what a recipe computes on a GPU is not in them."""

JUDGED = [c.name for c in COLUMNS.values() if c.kind in ("error", "faithfulness")]
"""The columns that something can be ranked by, once they have earned it."""
