"""The forms of Jacobian matching, by name."""

from __future__ import annotations

from typing import Any

MATCHING = ("plain", "smoothed", "finite", "sigmoid_gate", "straight_through", "noise")
"""The forms of Jacobian matching."""

SOFT = ("sigmoid_gate", "straight_through")
"""Those that read the transcoder's derivative with gates that have one themselves."""

UNDERIVED = ("finite", "noise")
"""Those that read no derivative of the target."""

SAMPLED_ONLY = (*UNDERIVED, *SOFT)
"""Those that have no closed form."""


def forms_of_matching() -> dict[str, dict[str, Any]]:
    """The forms as the book compares them, by name: what to change in an experiment for each.

    ``masked`` is plain matching that leaves out what the layer leaves undefined. A sigmoid gate's
    width is half the scale of the others' perturbations, which keeps the gates distinct.
    """
    return {
        "plain": {"jacobian_matching": "plain"},
        "masked": {"jacobian_matching": "plain", "kink": "masked"},
        "smoothed": {"jacobian_matching": "smoothed"},
        "finite": {"jacobian_matching": "finite"},
        "sigmoid gate": {"jacobian_matching": "sigmoid_gate", "perturbation_scale": 0.05},
        "straight-through": {"jacobian_matching": "straight_through"},
        "noise": {"jacobian_matching": "noise"},
    }
