"""L1 to L10, L17 to L20: repeated points in a language model, and measures without a mechanism."""

from __future__ import annotations

from faithnb.claims.registry import claim
from faithnb.claims.rules import Bound, Exact, Larger, Never, Often

OWN = (
    "Features of its own contribute there, and on less than one in a thousand other tokens; their "
    "share is that of what is written there."
)
RESPONSE = (
    "The response error is the squared error of the change of the output, relative to the layer's "
    "change, between the window and the same with one token replaced, from that token on."
)
HALF, A_TENTH = Bound("≥", 0.5), Bound("≥", 0.1)
"""A share of features of its own that is most of what is written, and one that matters."""

L1 = claim(
    "L1", "identity",
    "Position 0 of a text that begins with a begin token is one data point: its input to the MLP "
    "is the same in every context.",
    {"largest difference between contexts": Exact(0.0)},
)  # fmt: skip
L2 = claim(
    "L2", "empirical",
    "Position 0 is learned where it is kept among the data: the error there is smaller than where "
    "it is dropped.",
    {"error at position 0, dropped over kept": Larger()},
)  # fmt: skip
L3 = claim(
    "L3", "empirical",
    "Position 0 is learned without features of its own.",
    {"share of features of its own": Never(A_TENTH)},
    terms=f"ReLU transcoders. {OWN}",
)  # fmt: skip
L4 = claim(
    "L4", "empirical",
    "What is learned at position 0 is a point and not the layer's computation: where another "
    "token comes first, most of the change of the output is not predicted.",
    {"response error": Often(HALF)},
    terms="Between the begin token and other tokens at position 0, kept among the data.",
)  # fmt: skip
L5 = claim(
    "L5", "empirical",
    "A window that repeats is learned: the error there falls with repeats.",
    {"error at the window, without repeats over with": Larger()},
)  # fmt: skip
L6 = claim(
    "L6", "empirical",
    "A window that repeats is learned without datapoint features: ReLU transcoders write at the "
    "window with features that act elsewhere, too.",
    {"share of features of its own, with repeats": Never(A_TENTH)},
    terms=OWN,
)  # fmt: skip
L7 = claim(
    "L7", "empirical",
    "What is learned of such a window is the layer's computation near it: the response to a "
    "replaced token is predicted better with repeats than without.",
    {"response error, without repeats over with": Larger()},
    terms=RESPONSE,
)  # fmt: skip
L8 = claim(
    "L8", "empirical",
    "As chapter 8 predicts for smooth layers, forms that hold gates fixed lose the task, and "
    "finite differences at the same weight do not.",
    {"FVU, plain over finite": Larger(),
     "FVU, finite relative to none": Often(Bound("≤", 1.1))},
    terms="With repeats.",
)  # fmt: skip
L9 = claim(
    "L9", "empirical",
    "Matching brings the Jacobian nearer to the layer's at the window.",
    {"Jacobian error, none over plain": Larger(), "Jacobian error, none over finite": Larger()},
    terms="With repeats.",
)  # fmt: skip
L10 = claim(
    "L10", "empirical",
    "Measures that need no mechanism tell a transcoder that saw a window often of a model that did "
    "not from one of a model that saw it as often: its responses are worse, and more of it is "
    "features of the window's own.",
    {"response error, the unfaithful cell over the faithful one": Larger(),
     "share of features of its own, the unfaithful cell over the faithful one": Larger()},
    terms=f"{RESPONSE} {OWN}",
)  # fmt: skip
L17 = claim(
    "L17", "empirical",
    "Text that repeats by itself is learned as text: at the beginning of a file that training did "
    "not see, the error and the response error fall where other files of its kind are among the "
    "data.",
    {"error at the file, without its kind over with": Larger(),
     "response error, without its kind over with": Larger()},
    terms=f"Codecs of Python's library, which one program wrote. {RESPONSE}",
)  # fmt: skip
AT_EQUAL = (
    "With repeats. Transcoders without matching are trained under several penalties; each with "
    "matching is compared with what they give, for its seed, at its own L0 and at its own FVU, on "
    "straight lines in the logarithms."
)
L18 = claim(
    "L18", "empirical",
    "At equal L0, and at equal FVU, matching still brings the Jacobian nearer to the layer's at "
    "the window.",
    {"Jacobian error at equal L0, none over plain": Larger(),
     "Jacobian error at equal FVU, none over plain": Larger(),
     "Jacobian error at equal L0, none over finite": Larger(),
     "Jacobian error at equal FVU, none over finite": Larger()},
    terms=AT_EQUAL,
)  # fmt: skip
L19 = claim(
    "L19", "empirical",
    "At equal L0, and at equal FVU, the response to a replaced token is predicted worse with "
    "matching than without.",
    {"response error at equal L0, plain over none": Larger(),
     "response error at equal FVU, plain over none": Larger(),
     "response error at equal L0, finite over none": Larger(),
     "response error at equal FVU, finite over none": Larger()},
    terms=f"{AT_EQUAL} {RESPONSE}",
)  # fmt: skip
L20 = claim(
    "L20", "empirical",
    "Where few features may be active, a window that repeats gets features of its own: a "
    "BatchTopK transcoder writes more with them than one with more active features, and than one "
    "of the same kind without repeats.",
    {"share of features of its own, fewest active over most": Larger(),
     "share of features of its own, fewest active over without repeats": Larger()},
    terms=OWN,
)  # fmt: skip
