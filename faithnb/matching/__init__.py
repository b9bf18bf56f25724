"""The forms of Jacobian matching, one class each, and the probes that sampled ones draw."""

# in the order in which comparisons show them
# isort: off
from faithnb.matching.form import (
    MATCHING,
    Batch,
    Estimator,
    Matching,
    refusals_without,
    variants,
)
from faithnb.matching.plain import Plain, Smoothed
from faithnb.matching.finite import Finite
from faithnb.matching.soft import SigmoidGate, StraightThrough
from faithnb.matching.noise import Noise
from faithnb.matching.probes import PROBES, Probe

__all__ = [
    "MATCHING", "PROBES", "Batch", "Estimator", "Finite", "Matching", "Noise", "Plain", "Probe",
    "SigmoidGate", "Smoothed", "StraightThrough", "refusals_without", "variants",
]  # fmt: skip
