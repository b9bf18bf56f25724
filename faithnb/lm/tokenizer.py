"""Byte-level byte-pair encoding, from a vocabulary and its merges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers


class BytePairs:
    """Text as tokens. What a text says of special tokens is taken for them; none is added.

    Args:
        tokenizer: the library's.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer):
        self.tokenizer = tokenizer

    @staticmethod
    def of(
        tokens: Sequence[str], merges: Sequence[str], special: Iterable[str], digits_alone: bool
    ) -> BytePairs:
        """From what a file holds.

        Args:
            tokens: in the order of their numbers; bytes are written as GPT-2 does.
            merges: pairs, with a blank between them, in order.
            special: tokens that stand for no text.
            digits_alone: whether each digit is a word of its own, as everything is that Unicode
                calls a number: so SmolLM2's own tokenizer and llama.cpp do. transformers' reading
                of GGUF files leaves it out, which shows at " ½".
        """
        pairs = [(a, b) for a, b in (merge.split(" ") for merge in merges)]
        made = tokenizers.Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, pairs))
        words = pre_tokenizers.ByteLevel(add_prefix_space=False)
        digits = pre_tokenizers.Digits(individual_digits=True)
        made.pre_tokenizer = pre_tokenizers.Sequence([*([digits] if digits_alone else []), words])
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in special])
        return BytePairs(made)

    @staticmethod
    def read(text: str) -> BytePairs:
        """From what :meth:`written` gave."""
        return BytePairs(tokenizers.Tokenizer.from_str(text))

    def written(self) -> str:
        """All of it, as JSON."""
        return self.tokenizer.to_str()

    def encode(self, text: str) -> list[int]:
        """A text's tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of tokens."""
        return self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)
