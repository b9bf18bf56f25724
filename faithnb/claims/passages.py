"""The passages of the note that its claims rest on, in its own words, and our figures of them.

The words are Chris Olah's, from *A Toy Model of Mechanistic (Un)Faithfulness* (2025); a formula in
their midst is left out, as "…". How a claim is judged follows from its statement, never from them.
"""

from __future__ import annotations

from typing import NamedTuple


class Passage(NamedTuple):
    """Words of the note, the heading they stand under, and the figure of ours that shows it."""

    section: str
    words: str
    figure: str = ""
    """As pages refer to it; empty where a claim is not about a picture."""


NOTE: dict[str, dict[str, Passage]] = {
    "Background": {
        "C1": Passage(
            "Background: Sleepwalking into Mechanistic Faithfulness",
            "it becomes possible to have a setup that is monosemantic, and has low MSE on "
            "distribution, but achieves this through a different computational mechanism",
            "fig-pairs",
        ),
        "C27": Passage(
            "Background: Sleepwalking into Mechanistic Faithfulness",
            "This lack of mechanistic faithfulness is somewhat bounded by the fact that the "
            "mechanism can only diverge so far, since we're only replacing the model \"one step at "
            'a time"',
        ),
    },
    "The absolute value problem": {
        "C2": Passage(
            "The Absolute Value Transcoder Problem and Repeated Data",
            "This can be done easily with two ReLU neurons",
            "fig-two-relus",
        ),
        "C3": Passage(
            "The Absolute Value Transcoder Problem and Repeated Data",
            "It turns out that our transcoders easily discover this solution by default.",
            "fig-baseline-map",
        ),
        "C4": Passage(
            "The Absolute Value Transcoder Problem and Repeated Data",
            "If we use standard L1 regularization, our transcoders essentially learn duplicate "
            "features with extra capacity, and are generally messier.",
            "fig-frontier",
        ),
        "C5": Passage(
            "Adding a Repeated Data Point",
            "In the basic problem setup, we'll use the following data distribution",
            "fig-data",
        ),
        "C6": Passage(
            "Adding a Repeated Data Point",
            "And then have x be p some fraction repeat_frac of the time.",
            "fig-data",
        ),
        "C7": Passage(
            "Datapoint Features Emerge",
            'If we repeat a data point like this, we begin to see a transcoder "memorization '
            'feature" circuit',
            "fig-activity",
        ),
        "C8": Passage(
            "Datapoint Features Emerge",
            "This means that these features are not mechanistically faithful! The transcoder is "
            "memorizing something which the underlying model didn't.",
            "fig-control",
        ),
    },
    "When datapoint features form": {
        "C9": Passage(
            "When Do Datapoint Features Form?",
            "There must be a repeated datapoint in the transcoder training set. More repetition "
            "makes datapoint features more likely.",
            "fig-variations",
        ),
        "C10": Passage(
            "When Do Datapoint Features Form?",
            "We must be regularizing for activations to be sparse.",
            "fig-scan",
        ),
        "C11": Passage(
            "When Do Datapoint Features Form?",
            "it's the product of these two properties that controls whether datapoint features "
            "form",
            "fig-collapse",
        ),
        "C12": Passage(
            "Aside: How do we Detect a Datapoint Feature?",
            "This is a crude way to define memorization, but a useful starting point.",
            "fig-blind",
        ),
    },
    "Inside the transcoder": {
        "C13": Passage(
            "No Repeat Baseline",
            "we see that the transcoder learns almost exactly the expected features … with a "
            "small residual",
            "fig-map-baseline",
        ),
        "C14": Passage(
            "Light Repetition",
            "We only use a relatively small amount of repeated data for this setup, 5%, such that "
            "memorization is marginal",
            "fig-map-repeats",
        ),
        "C15": Passage(
            "Light Repetition",
            "We also have features corresponding to the three individual features which are used "
            "in the repeated data point, but they are rotated so that they don't activate on the "
            "repeated data point.",
            "fig-rotation",
        ),
    },
    "Jacobian matching": {
        "C16": Passage(
            "Jacobian Regularization: A Potential Solution?",
            "In the baseline case, we see a diagonal matrix … But in the repeated data case … we "
            'see that the "reason" each feature is active locally is due to all the other features',
            "fig-jacobians",
        ),
        "C17": Passage(
            "Jacobian Regularization: A Potential Solution?",
            "In some sense, this is a natural canonicalized form of the parameters",
        ),
        "C18": Passage("Jacobian Matching", "we exploit that this is equivalent in expectation to"),
        "C28": Passage(
            "Jacobian Matching",
            "In practice, this objective would be extremely expensive. … This can be computed "
            "cheaply with backprop.",
            "fig-durations",
        ),
        "C19": Passage(
            "Jacobian Matching",
            "It turns out that adding this to our loss dramatically helps our datapoint feature "
            "memorization metric.",
            "fig-scan-matched",
        ),
        "C20": Passage(
            "Jacobian Matching Can Solve Mechanistic Faithfulness (In This Example)",
            "What happens if we regularize it to match the ground truth Jacobian? It turns out to "
            "basically fix the problem!",
            "fig-map-matched",
        ),
        "C21": Passage(
            "Jacobian Matching Can Solve Mechanistic Faithfulness (In This Example)",
            "our transcoder features for the features used on the repeated point are a bit rotated",
            "fig-rotation-matched",
        ),
        "C22": Passage(
            "Can the Transcoder Cheat?",
            "they can create features with large weights and thus large gradients, but very "
            "negative biases so that they're barely active and don't contribute much to the L1 "
            "objective",
            "fig-masking",
        ),
        "C23": Passage(
            "Can the Transcoder Cheat?",
            "Using tanh L1 helps significantly here, since it moves us closer to L0.",
            "fig-masking",
        ),
        "C24": Passage(
            "Can the Transcoder Cheat?",
            "it might be interesting to penalize the L1 of different transcoder features "
            "contributions to the Jacobian, to penalize attempts to manipulate the gradient like "
            "this",
            "fig-contribution",
        ),
        "C25": Passage(
            "Superposition and Jacobian Matching",
            "The tail is an artifact of superposition, and we shouldn't care about modeling it.",
            "fig-spectra",
        ),
    },
    "Conclusion": {
        "C26": Passage(
            "Conclusion",
            "we've found it helpful to refactor concerns into two broad categories",
            "fig-two-axes",
        ),
    },
}
"""The note's claims by its parts, in its order."""

PASSAGES = {name: passage for part in NOTE.values() for name, passage in part.items()}
