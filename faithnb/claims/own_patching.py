"""L11 to L16: which parts of a language model matter, and whether a transcoder in an MLP's place
leaves them so."""

from __future__ import annotations

from faithnb.claims.registry import claim
from faithnb.claims.rules import Above, Below

EFFECT = (
    "Effect: the share of the logit difference between right and wrong answer that a clean "
    "activation recovers in a corrupted run. Means over prompts."
)
MAP = (
    "Map error: relative distance of the replaced model's effects of all heads and all other MLPs, "
    "each estimated by one gradient, from the model's own. Ratios of seed by seed, two tasks."
)

L11 = claim(
    "L11", "empirical",
    "Over single heads, what one gradient estimates has a correlation of more than 0.6 with what "
    "patching does. In the residual stream of layers 0 to 9, at the token that is exchanged, "
    "patching has more than nine tenths of the effect, and the estimate less than half.",
    {"correlation of estimate and effect over heads": Above(0.6, without=0),
     "effect of the exchanged token's stream, layers 0 to 9": Above(0.9, without=0),
     "estimate of the same": Below(0.5, without=1)},
    terms=EFFECT,
)  # fmt: skip
L12 = claim(
    "L12", "empirical",
    "In a repeated random sequence the heads that matter are those that attend to what came next "
    "the last time.",
    {"correlation of effect and attention over heads": Above(0.25, without=0)},
    terms=f"{EFFECT} Effects of heads are estimated by one gradient.",
)  # fmt: skip
L13 = claim(
    "L13", "empirical",
    "A tenth of the heads, chosen by one gradient on other prompts, keeps more than two fifths of "
    "the effect in each of two tasks where all other heads are corrupted. As many at random keep "
    "less than three tenths.",
    {"effect kept by a tenth of the heads": Above(0.4, without=0),
     "effect kept by as many at random": Below(0.3)},
    terms=EFFECT,
)  # fmt: skip
L14 = claim(
    "L14", "empirical",
    "A transcoder in an MLP's place moves the map of which parts matter by a good part of what the "
    "mean output in its place does.",
    {"map error over that of the mean output": Above(0.3, without=0)},
    terms=MAP,
)  # fmt: skip
L15 = claim(
    "L15", "empirical",
    "Matching finite differences lowers a transcoder's Jacobian error on a real MLP, and the map "
    "error with it.",
    {"Jacobian error, matched over not": Below(0.95, without=1),
     "map error, matched over not": Below(1.0)},
    terms=MAP,
)  # fmt: skip
L16 = claim(
    "L16", "empirical",
    "For steering, the difference in means of what the MLP writes is better than what the "
    "feature writes that best tells the two kinds of text apart.",
    {"shift by the difference in means less that by the feature": Above(0.0)},
    terms="Shift: how far a step of the same length moves neutral sentences from bad words to "
          "good ones, in logits. Means over seeds, which decide what words are held out.",
)  # fmt: skip
