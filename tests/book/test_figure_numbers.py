"""Numbers of figures on pages without a number."""

from types import SimpleNamespace

from docutils import nodes

from faithnb.book.figure_numbers import first_free, number_by_letter


def test_pages_without_a_number_get_a_letter_and_count_from_one():
    numbers = {
        "09": {"figure": {"fig-a": (9, 1), "fig-b": (9, 2)}, "displaymath": {"eq": (9, 1)}},
        "audit": {"figure": {"fig-c": (1,)}, "displaymath": {}},
        "atlas": {"figure": {"fig-d": (2,), "fig-e": (3,)}, "displaymath": {"eq": (1,)}},
    }
    titles = {name: nodes.title("", name.title()) for name in numbers}
    assert number_by_letter(None, SimpleNamespace(toc_fignumbers=numbers, titles=titles)) == []
    assert numbers == {
        "09": {"figure": {"fig-a": (9, 1), "fig-b": (9, 2)}, "displaymath": {"eq": (9, 1)}},
        "audit": {"figure": {"fig-c": ("A", 1)}, "displaymath": {}},
        "atlas": {
            "figure": {"fig-d": ("T", 1), "fig-e": ("T", 2)}, "displaymath": {"eq": ("T", 1)},
        },
    }  # fmt: skip


def test_a_letter_is_given_once():
    assert first_free("3 «speed»", {"E"}) == "S"
    assert first_free("Speed", {"S"}) == "P"
    assert first_free("Aa", {"A"}) == "AA"
