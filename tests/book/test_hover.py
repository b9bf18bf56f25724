"""The glossary, and the meaning of a word under the pointer."""

import re
from types import SimpleNamespace

from docutils import nodes

from faithnb.book.contents import ROOT
from faithnb.book.hover import meanings_of, say_meanings

WORDS = (
    "core", "grid", "condition", "headline setting", "datapoint feature", "memorize", "state",
    "pattern feature", "the note's feature", "failing", "memorization", "form of matching",
    "equilibrium", "non-differentiable point", "FVU", "L0", "AUROC", "Firth's regression",
    "Rademacher",
)  # fmt: skip


def defined():
    text = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^:::\{glossary\}\n(.*?)^:::$", text, re.MULTILINE | re.DOTALL)
    return [entry.split("\n  ") for block in blocks for entry in block.strip().split("\n\n")]


def test_the_glossary_has_the_words_that_a_reader_looks_up():
    words = [word for word, *_ in defined()]
    assert len(words) == len(set(words))
    assert set(WORDS) <= set(words)
    assert all(len(meaning) == 1 and meaning[0].endswith(".") for _, *meaning in defined())


def page(*children):
    document = nodes.document(None, None)
    document += list(children)
    return document


def test_a_reference_gets_the_meaning_of_its_word():
    entry = nodes.definition_list_item()
    entry += nodes.term("", "FVU", ids=["term-FVU"])
    entry += nodes.definition(
        "", nodes.paragraph("", "What is left."), nodes.paragraph("", "More.")
    )
    glossary = page(nodes.definition_list("", entry))
    assert meanings_of(glossary) == {"term-FVU": "What is left."}

    std = SimpleNamespace(objects={
        ("term", "FVU"): ("book/glossary", "term-FVU"), ("label", "x"): ("book/y", "x"),
    })  # fmt: skip
    env = SimpleNamespace(domains={"std": std}, get_doctree=lambda name: glossary)
    near, far = (nodes.reference(refuri=uri) for uri in (
        "../book/glossary.html#term-FVU", "../book/other.html#term-FVU"
    ))  # fmt: skip
    say_meanings(SimpleNamespace(env=env), page(nodes.paragraph("", "", near, far)), "notebooks/a")
    assert near["reftitle"] == "What is left."
    assert "reftitle" not in far
