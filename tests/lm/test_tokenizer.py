"""Byte pairs: what a text becomes, and back."""

import pytest

from faithnb.lm.tokenizer import BytePairs

TOKENS = ["<|end|>", *"abc12Ġ", "Ã", "¯", "ab", "abc", "12", "Ġa"]
MERGES = ["a b", "ab c", "1 2", "Ġ a"]


def made(digits_alone=True):
    return BytePairs.of(TOKENS, MERGES, ["<|end|>"], digits_alone)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("abc", ["abc"]),
        ("abcab a", ["abc", "ab", "Ġa"]),
        ("ab12", ["ab", "1", "2"]),
        ("a<|end|>b", ["a", "<|end|>", "b"]),
        ("ï", ["Ã", "¯"]),
    ],
)
def test_text_becomes_tokens_and_back(text, tokens):
    ids = made().encode(text)
    assert [TOKENS[i] for i in ids] == tokens
    assert made().decode(ids) == text


def test_digits_are_merged_where_they_are_not_alone():
    assert [TOKENS[i] for i in made(False).encode("ab12")] == ["ab", "12"]


def test_what_is_written_is_read_again():
    again = BytePairs.read(made().written())
    assert again.encode("abcab 12ï<|end|>") == made().encode("abcab 12ï<|end|>")


def test_every_number_of_unicode_is_alone_and_takes_no_blank():
    tokens, merges = [*TOKENS, "Â", "½", "ĠÂ"], [*MERGES, "Ġ Â"]
    for alone, wanted in ((True, ["Ġ", "Â", "½"]), (False, ["ĠÂ", "½"])):
        found = BytePairs.of(tokens, merges, ["<|end|>"], alone)
        assert [tokens[i] for i in found.encode(" ½")] == wanted
