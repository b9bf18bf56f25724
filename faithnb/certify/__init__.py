"""Worst cases of a transcoder on a box, with a proof."""

from faithnb.certify.certificate import Certificate, read_certificates
from faithnb.certify.questions import (
    mechanism_certificate,
    worst_error,
    worst_jacobian_error,
    worst_off_diagonal,
)
from faithnb.certify.ranges import Ranges, activation_range, faithful_radius
from faithnb.certify.sampled import Sampled, sampled_error

__all__ = [
    "Certificate",
    "Ranges",
    "Sampled",
    "activation_range",
    "faithful_radius",
    "mechanism_certificate",
    "read_certificates",
    "sampled_error",
    "worst_error",
    "worst_jacobian_error",
    "worst_off_diagonal",
]
