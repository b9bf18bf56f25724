"""What is claimed, by which rule it is judged, and what came out."""

from faithnb.claims.statements import (
    CLAIMS,
    as_html,
    headline,
    ledger,
    of_grid,
    read_ledger,
    record,
    to_json,
    where_not,
)

__all__ = [
    "CLAIMS", "as_html", "headline", "ledger", "of_grid", "read_ledger", "record", "to_json",
    "where_not",
]  # fmt: skip
