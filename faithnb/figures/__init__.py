"""The figures, one function each: of one transcoder, and of comparisons between many."""

from faithnb.figures.comparisons import (
    against_l0,
    collapse,
    curves,
    durations,
    frontier,
    history,
    lines,
    phase_maps,
    survival,
    two_axes,
    widths,
)
from faithnb.figures.effects import effect_maps, estimates, residual_stream, series
from faithnb.figures.gates import along_coordinate, margins
from faithnb.figures.one_transcoder import (
    along_ray,
    circuit_code,
    circuit_map,
    contributions,
    feature_activity,
    feature_weights,
    jacobians,
    portrait,
    selected_features,
    spectra,
)
from faithnb.figures.outcomes import outcome_links, outcome_maps
from faithnb.figures.per_condition import dumbbells, ratios, states_by_condition, strips
from faithnb.figures.problem import blind_spots, data, penalties, two_relus
from faithnb.figures.style import BLUE, GREEN, RED

__all__ = [
    "BLUE", "GREEN", "RED", "against_l0", "along_coordinate", "along_ray", "blind_spots",
    "circuit_code", "circuit_map", "collapse", "contributions", "curves", "data", "dumbbells",
    "durations", "effect_maps", "estimates", "feature_activity", "feature_weights", "frontier",
    "history", "jacobians", "lines", "margins", "outcome_links", "outcome_maps",
    "penalties", "phase_maps", "portrait", "ratios", "residual_stream", "selected_features",
    "series", "spectra", "states_by_condition", "strips", "survival", "two_axes", "two_relus",
    "widths",
]  # fmt: skip
