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
from faithnb.claims.judged_at import as_table as settings_as_html
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
from faithnb.claims.page import changes
from faithnb.claims.registry import CLAIMS, Claim, claim
from faithnb.claims.verdicts import LOOKS, VERDICTS, by_chance, in_short, tally, verdict

__all__ = [
    "CLAIMS", "LOOKS", "RIGHT_JACOBIAN", "VERDICTS", "Claim", "as_html", "as_rows", "beside_note",
    "by_chance", "changes", "claim", "headline", "in_short",
    "judge", "note_features", "note_matching", "of_grid", "own_architectures", "own_certificates",
    "own_features", "own_language", "own_matching", "own_mechanism", "own_patching",
    "own_representation",
    "read_ledger", "settings_as_html", "tally", "to_json", "verdict", "where_not",
]  # fmt: skip
