"""Sentences chosen by what came out: in the prose of pages, before they are rendered.

A page that says what a claim's verdict means writes a sentence for every verdict::

    :::{by-verdict} C19
    holds: Matching removes the feature.
    weaker, mixed: Matching removes it in part of the transcoders.
    contradicted: Matching does not remove it.
    undecided: From so few seeds it is open whether matching removes it.
    :::

Only the sentence for this build's verdict is rendered, within the paragraph around it. A sentence
may run over several lines. After the claim, a rule's name may follow; then its parts alone decide.
What was not measured is undecided.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faithnb.book.contents import BuildError
from faithnb.claims.evidence import Evidence
from faithnb.claims.ledger import verdict
from faithnb.claims.registry import CLAIMS
from faithnb.common.files import write_whole
from faithnb.notebook import read_records

WORDS = ("holds", "weaker", "mixed", "contradicted", "undecided")
"""The verdicts that a sentence is written for."""

ALIKE = {
    "not measured": "undecided",
    "at the headline setting only": "holds",
}
"""Verdicts that are worded as another one where a chapter speaks of its own setting."""

BLOCK = re.compile(r"^:::\{by-verdict\} *(\w+) *([^\n]*)\n(.*?)^:::[ \t]*$\n?", re.M | re.S)
CASE = re.compile(rf"^((?:{'|'.join(WORDS)})(?:, (?:{'|'.join(WORDS)}))*): ")

Recorded = Mapping[str, Mapping[str, Any]]
"""What chapters handed over of each claim."""


def choose_sentences(src: Path, records: Path) -> None:
    """Put into staged pages the sentences for the verdicts of this build.

    Args:
        src: what :func:`faithnb.book.staging.fill` made.
        records: the folder of what the notebooks handed over.

    Raises:
        BuildError: naming the page, if nobody wrote a sentence for what came out.
        OSError: if a page cannot be read or written.
    """
    recorded: dict[str, Any] = {}
    for found in read_records(records).get("claims", {}).values():
        recorded |= found
    for page in sorted((src / "book").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := chosen(text, recorded, page.stem)) != text:
            write_whole(page, new)
    for page in sorted((src / "notebooks").glob("*.ipynb")):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = chosen("".join(cell["source"]), recorded, page.stem)
        write_whole(page, json.dumps(notebook, indent=1, ensure_ascii=False))


def chosen(text: str, recorded: Recorded, page: str) -> str:
    """A page's text with one sentence in place of each block.

    Raises:
        BuildError: if nobody wrote a sentence for what came out.
    """

    def sentence(block: re.Match[str]) -> str:
        name, part, body = block.groups()
        word = _word(name, part.strip(), recorded, page)
        try:
            return cases(body)[word] + "\n"
        except (KeyError, ValueError) as error:
            what = error if isinstance(error, ValueError) else f"nobody wrote what {word} means"
            raise BuildError(f"{page}: {what} (by-verdict {name} {part}).") from None

    return BLOCK.sub(sentence, text)


def cases(body: str) -> dict[str, str]:
    """The sentences of a block, by verdict.

    Raises:
        ValueError: if a line belongs to no verdict, or a verdict has two sentences.
    """
    found: dict[str, str] = {}
    words: list[str] = []
    for line in filter(None, map(str.rstrip, body.splitlines())):
        if case := CASE.match(line):
            words = case[1].split(", ")
            if twice := [word for word in words if word in found]:
                raise ValueError(f"two sentences for {twice[0]}")
            found |= dict.fromkeys(words, line[case.end() :])
        elif not words:
            raise ValueError(f"{line!r} is for no verdict")
        else:
            found |= dict.fromkeys(words, f"{found[words[0]]}\n{line}")
    return found


def _word(name: str, part: str, recorded: Recorded, page: str) -> str:
    if name not in CLAIMS:
        raise BuildError(f"{page}: there is no claim {name}.")
    found = [Evidence(**one) for one in recorded.get(name, {}).get("evidence", [])]
    said = verdict(CLAIMS[name], [one for one in found if part in one.what])
    return ALIKE.get(said, said)
