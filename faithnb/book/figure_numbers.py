"""A Sphinx extension: figures of a page without a number are numbered by a letter of its title."""

from __future__ import annotations

from typing import Any


def setup(app: Any) -> dict[str, bool]:
    """What Sphinx calls."""
    app.connect("env-get-updated", number_by_letter, priority=900)  # after Sphinx has counted
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def number_by_letter(app: Any, env: Any) -> list[str]:
    """Number what stands on such a page from 1, after a letter: E.1, E.2.

    Sphinx counts through all of these pages, so that a figure of the twentieth would be "Fig. 9"
    beside chapter 9's "Fig. 9.1".

    Returns:
        No page: all are written anyway.
    """
    taken: set[str] = set()
    for page, kinds in env.toc_fignumbers.items():
        if any(len(number) > 1 for numbers in kinds.values() for number in numbers.values()):
            continue
        letter = first_free(env.titles[page].astext(), taken)
        taken.add(letter)
        for numbers in kinds.values():
            for k, name in enumerate(numbers, start=1):
                numbers[name] = (letter, k)
    return []


def first_free(title: str, taken: set[str]) -> str:
    """The first letter of a title that no page before has, as a capital; all of them, at worst."""
    letters = [letter for letter in title.upper() if letter.isalpha()]
    return next((letter for letter in letters if letter not in taken), "".join(letters))
