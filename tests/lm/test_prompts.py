"""Prompts come in pairs of one length that differ where they should."""

import pytest
import torch

from faithnb.common.errors import InputError
from faithnb.lm import tiny
from faithnb.lm.prompts import BAD, GOOD, NAMES, indirect_objects, one_token, praise, repeated


class Words:
    """A tokenizer to which each word is a token, and nothing else of a model."""

    name = "words"

    def __init__(self):
        self.known = {}

    def encode(self, text):
        return [self.known.setdefault(word, len(self.known)) for word in text.split()]

    def decode(self, ids):
        names = list(self.known)
        return " ".join(names[i] for i in ids)


def test_indirect_objects_differ_in_the_giver_alone():
    m = Words()
    pairs = indirect_objects(m, 20, seed=3)
    differs = pairs.clean != pairs.corrupted
    assert differs.sum(1).tolist() == [1] * 20
    assert pairs.first_change == 8
    for clean, corrupted, answer, wrong in zip(
        pairs.clean, pairs.corrupted, pairs.answer, pairs.wrong, strict=True
    ):
        assert clean[8] == wrong
        assert corrupted[8] == answer
        assert {int(answer), int(wrong)} == {int(clean[1]), int(clean[3])}
    assert pairs.tokens[8] in NAMES
    first = (pairs.clean[:, 1] == pairs.answer).float().mean()
    assert 0 < first < 1


def test_a_seed_decides_the_prompts():
    m = Words()
    assert torch.equal(indirect_objects(m, 5, 1).clean, indirect_objects(m, 5, 1).clean)
    assert not torch.equal(indirect_objects(m, 5, 1).clean, indirect_objects(m, 5, 2).clean)


def test_names_of_several_tokens_are_not_used():
    assert one_token(Words(), ["Mary", "Mary Ann"]).keys() == {"Mary"}
    with pytest.raises(InputError, match="m = tiny is not allowed: it must have two names"):
        indirect_objects(tiny(), 2, seed=0)  # whose tokens are bytes


def test_a_repeated_sequence_says_what_comes_next():
    pairs = repeated(tiny(), 8, seed=0, length=10)
    assert pairs.clean.shape == (8, 15)
    assert torch.equal(pairs.clean[:, :5], pairs.clean[:, 10:])
    assert torch.equal(pairs.answer, pairs.clean[:, 5])
    assert torch.equal(pairs.wrong, pairs.corrupted[:, 5])
    assert ((pairs.clean != pairs.corrupted).sum(1) == 1).all()
    assert len(pairs.tokens) == 15


def test_the_difference_is_of_logits_after_the_last_token():
    pairs = repeated(tiny(), 2, seed=0)
    logits = torch.zeros(2, 3, 101)
    logits[0, -1, pairs.answer[0]] = 2.0
    logits[1, -1, pairs.wrong[1]] = 1.0
    assert pairs.difference(logits).tolist() == [2.0, -1.0]


class Spoken(Words):
    """Full stops are tokens."""

    def encode(self, text):
        return super().encode(text.replace(".", " ."))


def test_praise_and_blame_differ_in_one_word_and_hold_others_out():
    m = Spoken()
    found = praise(m, seed=0)
    for good, bad in ((found.good, found.bad), found.held_out):
        assert ((good != bad).sum(1) == 1).all()
        assert (good[:, -1] == m.encode(".")[0]).all()
    used = {m.decode([i]) for i in found.good[:, -2].tolist()}
    held = {m.decode([i]) for i in found.good_words.tolist()}
    assert used | held == set(GOOD)
    assert not used & held
    assert {m.decode([i]) for i in found.bad_words.tolist()} < set(BAD)
    assert torch.equal(found.neutral[0], found.good[0, :-2])
    with pytest.raises(InputError, match="m = tiny is not allowed: it must have four words"):
        praise(tiny(), seed=0)
