"""What a page lets a reader turn, and what its own training knows."""

from __future__ import annotations

from typing import Any

from faithnb.common.errors import ParameterError
from faithnb.experiment import Experiment
from faithnb.matching import MATCHING
from faithnb.model.fitting import FIELDS


def _slider(name: str, label: str, low: float, high: float, step: float, live: bool = True) -> Any:
    return {"name": name, "label": label, "min": low, "max": high, "step": step, "live": live}


def _choice(name: str, label: str, *choices: str, live: bool = True) -> Any:
    return {"name": name, "label": label, "choices": choices, "live": live}


FORMS = ("none", *(name for name, of in MATCHING.items() if of.in_page))
"""The forms of Jacobian matching that a page knows."""

WEIGHTS = ("W_enc", "b_enc", "W_dec")
LEARNED = {"relu": WEIGHTS, "topk": WEIGHTS, "jumprelu": (*WEIGHTS, "threshold")}
"""What a page needs of a transcoder of each architecture that it trains, in this order."""

KNOBS: list[dict[str, Any]] = [
    {
        "group": "Data",
        "knobs": [
            _slider("density", "density", 0.02, 1, 0.02),
            _slider("repeat_frac", "repeats of p", 0, 0.5, 0.01),
        ],
    },
    {
        "group": "Sparsity",
        "knobs": [
            _choice("sparsity_penalty", "penalty", "tanh", "l1", "none"),
            _slider("sparsity_coefficient", "weight λ", 0, 0.5, 0.01),
            _slider("tanh_scale", "tanh scale s", 0.5, 16, 0.5),
        ],
    },
    {
        "group": "Jacobian matching",
        "knobs": [
            _choice("jacobian_matching", "form", *FORMS),
            _slider("jacobian_coefficient", "weight μ", 0, 1, 0.005),
            _choice("kink", "derivative at 0", "zero", "masked", "one"),
        ],
    },
    {
        "group": "Training (a change begins anew)",
        "knobs": [
            _choice("architecture", "layer", *LEARNED, live=False),
            _slider("k", "k of TopK", 1, 16, 1, live=False),
            _slider("d_in", "coordinates", 4, 32, 1, live=False),
            _slider("d_sae", "features", 4, 128, 4, live=False),
            _slider("batch_size", "batch size", 32, 512, 32, live=False),
            _slider("steps", "steps", 100, 6000, 100, live=False),
            _slider("seed", "seed", 0, 999, 1, live=False),
        ],
    },
]
"""What a reader may turn; ``live`` knobs also in the middle of a training."""


def knobs_for(longest: int) -> list[dict[str, Any]]:
    """The knobs, with room for points of so many coordinates."""
    return [
        group | {"knobs": [
            k | {"min": max(k["min"], longest)} if k["name"] == "d_in" else k
            for k in group["knobs"]
        ]}
        for group in KNOBS
    ]  # fmt: skip


PLAIN = {"architecture": "relu", "k": 0}
HEADLINE = PLAIN | {
    "d_in": 16,
    "d_sae": 64,
    "batch_size": 256,
    "steps": 2000,
    "sparsity_coefficient": 0.1,
}
MATCHED = {"jacobian_coefficient": 0.1, "kink": "zero"}
STORIES: list[dict[str, Any]] = [
    {
        "name": "no repeats",
        "about": "Without repeats: does each sign of each coordinate get a feature of its own?",
        "fields": HEADLINE | {"repeat_frac": 0.0, "jacobian_matching": "none"},
    },
    {
        "name": "10 % repeats",
        "about": "One input in ten is p: does a feature for p appear that the layer lacks?",
        "fields": HEADLINE | {"repeat_frac": 0.1, "jacobian_matching": "none"},
    },
    {
        "name": "10 % repeats, Jacobians matched",
        "about": "The same data, with smoothed Jacobians matched: is there still a feature for p?",
        "fields": HEADLINE | MATCHED | {"repeat_frac": 0.1, "jacobian_matching": "smoothed"},
    },
    {
        "name": "derivative at 0 read as 0",
        "about": "No repeats. Plain matching reads slope 0 wherever a coordinate is 0, where the "
        "layer has none: what does that do to the error (FVU) and the density (L0)?",
        "fields": HEADLINE | MATCHED | {"repeat_frac": 0.0, "jacobian_matching": "plain"},
    },
    {
        "name": "small",
        "about": "Eight coordinates, 32 features, 10 % repeats, in a second. Whether it "
        "memorizes depends on the seed: try several.",
        "fields": PLAIN | {
            "d_in": 8, "d_sae": 32, "batch_size": 128, "steps": 1500, "repeat_frac": 0.1,
            "sparsity_coefficient": 0.15, "jacobian_matching": "none",
        },
    },
]  # fmt: skip
"""The note's three stories and our own: what a button sets, and what is then to be seen."""

PAGE_TRAINS: dict[str, Any] = {
    "target": "abs", "sampling": "exact", "skip": False, "gate_gradient": "threshold",
    "aux_coefficient": 0.0,
    "data": "sparse_uniform",
    "point_variation": "none",
    "jacobian_estimator": "sampled", "probe": "rademacher", "matching_at": "all",
    "contribution_coefficient": 0.0, "init": "random", "jacobian_start": 0.0,
    "blur": 0.0, "turn": 0,
}  # fmt: skip
"""The values of fields that the page's own training knows; torch knows all."""

RELU: dict[str, Any] = {name: getattr(Experiment, name) for name in ("architecture", *FIELDS)}
"""What a page trains in place of an architecture that it does not know."""

KEPT = 3
"""How many features a TopK keeps in the page, if nothing else was said."""


def refuse_what_a_page_cannot_train(experiment: Experiment) -> None:
    """Nothing, where the page's own training knows the experiment.

    Raises:
        ParameterError: naming the field that it does not know.
    """
    for name, known in PAGE_TRAINS.items():
        if (value := getattr(experiment, name)) != known:
            raise ParameterError(
                f"{name} = {value!r} is not allowed: a page trains {name} = {known!r} only; "
                "use faithnb.train."
            )
    if experiment.architecture not in LEARNED:
        raise ParameterError(
            f"architecture = {experiment.architecture!r} is not allowed: a page trains one of "
            f"{', '.join(LEARNED)}; use faithnb.train."
        )
    if experiment.jacobian_matching not in FORMS:
        raise ParameterError(
            f"jacobian_matching = {experiment.jacobian_matching!r} is not allowed: a page trains "
            f"one of {', '.join(FORMS)}; use faithnb.train."
        )
