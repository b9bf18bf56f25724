"""What is claimed, by which rules it is judged, and what came out."""

from faithnb.claims import (
    note_features,
    note_matching,
    own_architectures,
    own_certificates,
    own_features,
    own_language,
    own_matching,
    own_mechanism,
    own_patching,
    own_representation,
)
from faithnb.claims.beside_note import beside_note
from faithnb.claims.ledger import (
    as_html,
    as_rows,
    headline,
    judge,
    of_grid,
    read_ledger,
    to_json,
    where_not,
)
from faithnb.claims.own_mechanism import RIGHT_JACOBIAN
from faithnb.claims.registry import CLAIMS, Claim, claim

__all__ = [
    "CLAIMS", "RIGHT_JACOBIAN", "Claim", "as_html", "as_rows", "beside_note", "claim", "headline",
    "judge", "note_features", "note_matching", "of_grid", "own_architectures", "own_certificates",
    "own_features", "own_language", "own_matching", "own_mechanism", "own_patching",
    "own_representation",
    "read_ledger", "to_json", "where_not",
]  # fmt: skip
