"""A21 to A24: what a repeated point does to an autoencoder, beside a transcoder."""

from __future__ import annotations

from faithnb.claims.registry import claim
from faithnb.claims.rules import Below, Bound, Never, Often, Within

FEATURE = "A feature for p: memorization of p of at least 60 % of a datapoint feature's."

A21 = claim(
    "A21", "empirical",
    "A repeated point gives an autoencoder a feature for p as it gives a transcoder one; no "
    "computation is needed for it.",
    {"feature for p, with repeats": Often(), "feature for p, without": Never()},
    terms=FEATURE,
)  # fmt: skip
A22 = claim(
    "A22", "empirical",
    "Taken for a computation, an autoencoder with a feature for p is as wrong as a transcoder: at "
    "the same error on the data its features predict changes as badly, and its outputs off the "
    "data are about as far off.",
    {"features, autoencoder's over transcoder's": Within(0.8, 1.25),
     "outputs, autoencoder's over transcoder's": Within(0.67, 1.5)},
    terms="Geometric means over pairs with a feature for p and errors on base data within 10 % of "
          "each other. Features: patching error where p loses a coordinate, mechanism error at p. "
          "Outputs: relative errors at parts of p, with flipped signs and on dense inputs.",
)  # fmt: skip
A23 = claim(
    "A23", "empirical",
    "As a statement about the data the feature for p is true: where it acts, the input is p.",
    {"share of p where the feature is strong": Often(Bound("≥", 0.9))},
    terms="Strong: at least half as strong as at p. Of those with a feature for p, on all data.",
)  # fmt: skip
A24 = claim(
    "A24", "empirical",
    "An autoencoder's dictionary can write what its encoder gets wrong: codes that are inferred "
    "from the input explain parts of p, and take no more features.",
    {"error at parts of p, inferred codes over the encoder's": Below(0.1, without=1),
     "L0 at parts of p, inferred codes over the encoder's": Below(1.25)},
    terms="Geometric means over autoencoders with a feature for p.",
    changed="it says that the dictionary \"can write what its encoder gets wrong\" where it said "
            "\"is right where its encoder is wrong\", because inferred codes still use the feature "
            "for p; its rules are as they were.",
)  # fmt: skip
