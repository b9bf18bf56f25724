"""A1 to A8: which sparse layers memorize, and what the note's measure does not see of it."""

from __future__ import annotations

from faithnb.claims.registry import claim
from faithnb.claims.rules import Bound, Induced, Larger, Never, Often, Within
from faithnb.measures.circuits import ALIKE

FEATURE = "A feature for p: memorization of p of at least 60 % of a datapoint feature's."
CONJUNCTION = (
    "Conjunctions: the share of what is written at p by features that contribute at none of its "
    "coordinates alone."
)
A_PART, HARDLY = Bound("≥", 0.2), Bound("≥", 0.05)
"""A share of conjunctions that matters, and one that there is at all."""

A1 = claim(
    "A1", "empirical",
    "By the note's measure ReLU transcoders memorize p, and layers with thresholds or with a "
    "linear part do not.",
    {"feature for p, ReLU": Often(), "feature for p, others": Never()},
    terms=FEATURE,
)  # fmt: skip
A2 = claim(
    "A2", "empirical",
    "Where the note's measure finds no feature for p, transcoders with thresholds have another "
    "mechanism than the layer's at p with many repeats, and the layer's without repeats.",
    {"mechanism error at p, many repeats": Often(Bound(">", ALIKE)),
     "mechanism error at p, without repeats": Often(Bound("≤", ALIKE))},
    terms="Of BatchTopK and JumpReLU transcoders without a feature for p. " + FEATURE,
)  # fmt: skip
A3 = claim(
    "A3", "empirical",
    "A gate with a threshold hides a conjunction: with many repeats most JumpReLU transcoders "
    "have features that act at p and that no coordinate of p turns on alone; ReLU transcoders "
    "have none.",
    {"conjunctions, JumpReLU, many repeats": Often(A_PART, at_least=0.5),
     "conjunctions, JumpReLU, without repeats": Never(HARDLY),
     "conjunctions, ReLU, many repeats": Never(HARDLY)},
    terms=CONJUNCTION,
)  # fmt: skip
A4 = claim(
    "A4", "empirical",
    "Thresholds move at p: features jump where they become worth their penalty, those of p's own "
    "coordinates later, and some are held off at p by no more than the window in which thresholds "
    "learn.",
    {"jump over √λ, coordinates that p has not": Within(0.9, 1.1),
     "jump, coordinates of p over others, many repeats": Larger(),
     "held off at p, many repeats": Often(),
     "held off at p, without repeats": Never()},
    terms="The jump is a feature's threshold times the norm of what it writes. Held off: it acts "
          "at a part of p and not at p; with many repeats, reading there less than its threshold "
          "by at most the window. JumpReLU.",
)  # fmt: skip
A5 = claim(
    "A5", "empirical",
    "Which of the two a JumpReLU shows is decided by its penalty: with tanh it has a feature for "
    "p, with a penalty on the number of features a conjunction.",
    {"feature for p, tanh": Often(), "conjunctions, tanh": Never(HARDLY),
     "feature for p, number of features": Never(),
     "conjunctions, number of features": Often(A_PART, at_least=0.5)},
    terms=f"With many repeats. {FEATURE} {CONJUNCTION}",
)  # fmt: skip
A6 = claim(
    "A6", "empirical",
    "No backward pass through the jump gives the layer's mechanism at p, and where p lacks a "
    "coordinate their outputs are further off than those of ReLU transcoders, which have a feature "
    "for p.",
    {"mechanism error at p": Often(Bound(">", ALIKE)),
     "error where p lacks a coordinate, over ReLU's": Larger()},
    terms="With many repeats, by surrogate gradient.",
)  # fmt: skip
A7 = claim(
    "A7", "empirical",
    "A linear part removes the incentive by computing another formula on all data, "
    "|x| = x + 2 ReLU(−x), and p decides its sign.",
    {"linear part's share of what is written at p": Often(Bound("≥", 0.6)),
     "mechanism error on data without p": Often(Bound("≥", 0.3)),
     "the same without a linear part": Often(Bound("≤", ALIKE)),
     "rises with every coordinate of p, with repeats over without": Induced()},
    terms="Of ReLU and JumpReLU transcoders with a linear part.",
)  # fmt: skip
A8 = claim(
    "A8", "empirical",
    "Matching finite differences gives ReLU and JumpReLU transcoders the layer's mechanism at p; "
    "layers that keep a number of features lose the task by it and do not get the mechanism.",
    {"the layer's mechanism at p, ReLU and JumpReLU": Often(),
     "FVU over that without matching, TopK and BatchTopK": Often(Bound("≥", 10)),
     "the layer's mechanism at p, TopK and BatchTopK": Never()},
    terms=f"A mechanism error at p of at most {ALIKE:g}. The same weight for all.",
)  # fmt: skip
