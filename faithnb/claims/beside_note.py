"""The note's claims in its own words, each with what came out of it here, for a page."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from faithnb.claims.evidence import number
from faithnb.claims.page import chip
from faithnb.claims.passages import NOTE, Passage
from faithnb.claims.verdicts import LOOKS, counts


def beside_note(rows: Sequence[Mapping[str, Any]], part: str) -> str:
    """A part of the note, claim by claim, in MyST's Markdown: its words, our statement, verdict,
    value and number of settings, with links to chapter and figure.

    Args:
        rows: of the ledger.
        part: a key of :data:`faithnb.claims.passages.NOTE`.
    """
    by_id = {row["id"]: row for row in rows}
    return "\n".join(_card(by_id[name], passage) for name, passage in NOTE[part].items())


def _card(row: Mapping[str, Any], passage: Passage) -> str:
    """A claim as a card; its verdict is a class, too, so that a stylesheet may colour it."""
    besides = html.escape("; ".join(filter(None, (counts(row), *row["caveats"]))))
    links = [f"[chapter]({row['chapter'].split('/')[-1]}.ipynb)"] if row["chapter"] else []
    links += [f"{{numref}}`{passage.figure}`"] if passage.figure else []
    return "\n".join([
        "::::{card}",
        f":class-card: passage v-{LOOKS[row['verdict']].key}",
        "",
        f"({row['id'].lower()})=",
        f"<blockquote><p>“{html.escape(passage.words, quote=False)}”</p>"
        f"<footer>{html.escape(passage.section)}</footer></blockquote>",
        "",
        f'**{row["id"]}** ({row["kind"]}). {row["statement"]} '
        f'{chip(row)} <span class="counts">{besides}</span>',
        "",
        " · ".join([*_measured(row), *links]),
        "::::",
        "",
    ])  # fmt: skip


def _measured(row: Mapping[str, Any]) -> list[str]:
    """Value and interval of the worst part, as far as there are any."""
    found = []
    if row["value"] is not None:
        ends = row["interval"] and f" [{number(row['interval'][0])}, {number(row['interval'][1])}]"
        found.append(f"{row['statistic']}: {number(row['value'])}{ends or ''}")
    return found
