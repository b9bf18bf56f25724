"""P1 to P6: what a proof of the worst case finds."""

from __future__ import annotations

from faithnb.claims.own_mechanism import RIGHT_JACOBIAN
from faithnb.claims.registry import claim
from faithnb.claims.rules import Above, Bound, Never, Often

TENTH = 0.1
"""A shortfall that matters, as a share of what is known to be attained."""

PROVED = "Proved: the certified worst error of any output where only p's coordinates vary, in ±1."

P1 = claim(
    "P1", "empirical",
    "Repeats raise the certified worst error on p's coordinates several times over.",
    {"proved with repeats over without, same seed": Often(Bound("≥", 4))},
    terms=PROVED,
)  # fmt: skip
P2 = claim(
    "P2", "empirical",
    "Random inputs miss the worst case where many coordinates vary, and nearly find it where three "
    "do; climbing from the best of them makes up for it.",
    {"shortfall of draws, all coordinates": Often(Bound(">", TENTH)),
     "shortfall of draws, p's coordinates": Never(Bound(">", TENTH)),
     "shortfall after climbing, all coordinates": Often(Bound("≤", TENTH))},
    terms="As a share of the largest error that the proof or climbing attains. Climbing is judged "
          "where the proof is closed.",
)  # fmt: skip
P3 = claim(
    "P3", "empirical",
    "Smoothed matching lowers the certified worst error to what it is without repeats.",
    {"proved with matching over without repeats, same seed": Often(Bound("≤", 2)),
     "the same without matching": Never(Bound("≤", 2))},
    terms=PROVED,
)  # fmt: skip
P4 = claim(
    "P4", "empirical",
    "A right Jacobian at p, matched there alone, is proved wrong beside it.",
    {"entry wrong within ½ of p, matched at p alone": Often(Bound("≥", 0.5)),
     "the same without repeats": Never(Bound("≥", 0.5))},
    terms="The largest error of an entry of the Jacobian where p's coordinates are within ½ of p, "
          "where the layer has no kink: what the witness attains. Matched at p alone: of those "
          f"with a Jacobian error around p {RIGHT_JACOBIAN}.",
)  # fmt: skip
P5 = claim(
    "P5", "empirical",
    "The box around p in which the error is proved to be small grows with the weight of matching.",
    {"rank correlation of radius and weight": Above(0.8, without=0),
     "radius at the largest weight over that without matching": Often(Bound("≥", 4))},
    terms="Radius: of the largest box around p, over its coordinates, in which no output is off by "
          "more than 0.1.",
)  # fmt: skip
P6 = claim(
    "P6", "empirical",
    "The error at p with signs changed ranks transcoders nearly as the proof on p's coordinates "
    "does, and better than the error on the data and the Jacobian error around p.",
    {"rank correlation with what is proved, signs changed": Above(0.8, without=0),
     "how far that is ahead": Above(0.0)},
    terms=f"Over all conditions of the chapter. {PROVED}",
)  # fmt: skip
