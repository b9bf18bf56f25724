"""Pairs of prompts that differ in one token, and in what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.data.rng import Stream

NAMES = (
    "Mary", "John", "Tom", "James", "Anna", "Emma", "Jack", "Sarah", "Peter", "David", "Paul",
    "Mark", "Alice", "Robert", "Michael", "Laura", "Kate", "Henry", "Daniel", "Simon",
)  # fmt: skip
PLACES = ("store", "park", "school", "office", "station", "beach", "house", "garden")
THINGS = ("book", "drink", "ring", "ball", "letter", "bag", "flower", "key")


@dataclass(frozen=True)
class Pairs:
    """Prompts, each clean and corrupted, token by token alike but where they differ.

    Attributes:
        clean: token ids, after which ``answer`` should come.
        corrupted: the same with other tokens somewhere, after which ``wrong`` should come.
        answer: one token id a prompt.
        wrong: another.
        tokens: the first clean prompt, token by token, for axes.
    """

    clean: Int[Tensor, "n pos"]
    corrupted: Int[Tensor, "n pos"]
    answer: Int[Tensor, "n"]
    wrong: Int[Tensor, "n"]
    tokens: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.clean.shape != self.corrupted.shape:
            raise InputError(
                f"corrupted = {list(self.corrupted.shape)} is not allowed: it must have the shape "
                f"of clean, {list(self.clean.shape)}."
            )

    def __len__(self) -> int:
        return len(self.clean)

    def first(self, n: int) -> Pairs:
        """The first n of them."""
        return Pairs(
            self.clean[:n], self.corrupted[:n], self.answer[:n], self.wrong[:n], self.tokens
        )

    @property
    def first_change(self) -> int:
        """The first position at which a clean prompt differs from its corrupted one."""
        differs = (self.clean != self.corrupted).any(0)
        return int(differs.nonzero()[0]) if bool(differs.any()) else self.clean.shape[1]

    def difference(self, logits: Float[Tensor, "n pos d_vocab"]) -> Float[Tensor, "n"]:
        """Logit of the answer minus that of the wrong one, after the last token."""
        last = logits[:, -1]
        at = torch.arange(len(last), device=last.device)
        return last[at, self.answer.to(last.device)] - last[at, self.wrong.to(last.device)]


def one_token(m: Any, words: Sequence[str]) -> dict[str, int]:
    """Those of the words that are one token after a space, with its id."""
    ids = {word: m.encode(f" {word}") for word in words}
    return {word: found[0] for word, found in ids.items() if len(found) == 1}


def indirect_objects(m: Any, n: int, seed: int) -> Pairs:
    """ "When Mary and John went to the store, John gave a drink to" → " Mary", as in Wang et al.,
    "Interpretability in the wild" (2022). Corrupted, the other one gives.

    Args:
        m: the language model, whose tokens decide which names can be used.
        n: how many prompts, each with names, a place and a thing of its own.
        seed: decides which.

    Raises:
        InputError: if fewer than two names are single tokens of the model.
    """
    names, places, things = (one_token(m, words) for words in (NAMES, PLACES, THINGS))
    if len(names) < 2 or not places or not things:
        raise InputError(
            f"m = {m.name} is not allowed: it must have two names, a place and a thing as tokens."
        )
    u = Stream([seed], "data").uniform(0, (n, 5))[0].double()
    rows = []
    for row in u.tolist():
        first = _picked(list(names), row[0])
        second = _picked([name for name in names if name != first], row[1])
        giver, other = (first, second) if row[2] < 0.5 else (second, first)
        place, thing = _picked(list(places), row[3]), _picked(list(things), row[4])
        start = f"When {first} and {second} went to the {place},"
        texts = [f"{start} {who} gave a {thing} to" for who in (giver, other)]
        rows.append((*(m.encode(text) for text in texts), names[other], names[giver]))
    clean, corrupted, answer, wrong = map(torch.tensor, zip(*rows, strict=True))
    return Pairs(clean, corrupted, answer, wrong, tuple(m.decode([i]) for i in clean[0].tolist()))


def repeated(m: Any, n: int, seed: int, length: int = 12) -> Pairs:
    """A random sequence and its first half again, after which the next token of the sequence should
    come: what induction heads do (Olsson et al., 2022). Corrupted, that token is another one.

    Args:
        m: the language model, of whose tokens the middle half is drawn from.
        n: how many sequences.
        seed: decides which.
        length: of a sequence.
    """
    u = Stream([seed], "data").uniform(1, (n, length + 1))[0].double()
    low, high = m.d_vocab // 50, m.d_vocab // 2
    ids = (low + u * (high - low)).long()
    sequence, other = ids[:, :length], ids[:, length]
    at = length // 2
    answer = sequence[:, at]
    other = torch.where(other == answer, other + 1, other)
    changed = sequence.clone()
    changed[:, at] = other
    clean, corrupted = (torch.cat([of, of[:, :at]], 1) for of in (sequence, changed))
    names = [*(f"{k}" for k in range(1, length + 1)), *(f"{k}′" for k in range(1, at + 1))]
    return Pairs(clean, corrupted, answer, other, tuple(names))


def _picked(words: Sequence[str], u: float) -> str:
    return words[int(u * len(words))]


GOOD = (
    "great", "good", "wonderful", "excellent", "amazing", "fantastic", "beautiful", "perfect",
    "brilliant", "lovely", "nice", "delicious", "pleasant", "superb", "impressive", "charming",
)  # fmt: skip
BAD = (
    "bad", "terrible", "awful", "horrible", "boring", "ugly", "poor", "stupid", "dreadful",
    "disappointing", "nasty", "useless", "ridiculous", "miserable", "disgusting", "annoying",
)  # fmt: skip
SUBJECTS = ("movie", "book", "song", "place")


@dataclass(frozen=True)
class Contrast:
    """Sentences of praise and of blame, alike but for one word, and where to see which is meant.

    Attributes:
        good: token ids of praise.
        bad: the same of blame.
        held_out: both again, with words that are not in the first two.
        neutral: sentences that end before such a word.
        good_words: the words of praise that are held out, one token each.
        bad_words: and those of blame.
    """

    good: Int[Tensor, "n pos"]
    bad: Int[Tensor, "n pos"]
    held_out: tuple[Int[Tensor, "m pos"], Int[Tensor, "m pos"]]
    neutral: Int[Tensor, "k pos"]
    good_words: Int[Tensor, "g"]
    bad_words: Int[Tensor, "b"]

    def leaning(self, logits: Float[Tensor, "k pos d_vocab"]) -> Float[Tensor, "k"]:
        """Mean logit of the good words minus that of the bad ones, after the last token."""
        last = logits[:, -1]
        good, bad = (of.to(last.device) for of in (self.good_words, self.bad_words))
        return last[:, good].mean(-1) - last[:, bad].mean(-1)


def praise(m: Any, seed: int) -> Contrast:
    """ "I think that this movie is great." and "… awful.", of which half of the words are held out.

    Args:
        m: the language model, whose tokens decide which words can be used.
        seed: decides which are held out.

    Raises:
        InputError: if fewer than four words of either kind, or none to say it of, are tokens.
    """
    good, bad, of = (one_token(m, words) for words in (GOOD, BAD, SUBJECTS))
    if min(len(good), len(bad)) < 4 or not of:
        raise InputError(f"m = {m.name} is not allowed: it must have four words of each kind.")
    order = [Stream([seed], "data").uniform(2 + k, (len(w),))[0] for k, w in enumerate((good, bad))]
    first, last = [], []
    for words, drawn in zip((good, bad), order, strict=True):
        mixed = [list(words)[i] for i in drawn.argsort().tolist()]
        first.append(mixed[: len(mixed) // 2])
        last.append(mixed[len(mixed) // 2 :])

    def said(words: Sequence[str]) -> Int[Tensor, "n pos"]:
        start = "I think that this"
        return torch.tensor([m.encode(f"{start} {what} is {w}.") for what in of for w in words])

    neutral = torch.tensor([m.encode(f"I think that this {what} is") for what in of])
    held = said(last[0]), said(last[1])
    told = [torch.tensor([ids[w] for w in of_kind])
            for ids, of_kind in zip((good, bad), last, strict=True)]  # fmt: skip
    return Contrast(said(first[0]), said(first[1]), held, neutral, told[0], told[1])
