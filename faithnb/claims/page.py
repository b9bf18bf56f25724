"""Claims on a page: a verdict where it is measured, and the ledger of all."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from faithnb.claims.evidence import number
from faithnb.claims.judged_at import in_words
from faithnb.claims.registry import CLAIMS
from faithnb.claims.verdicts import CHANGED, LOOKS, Look, counts, said

PARTS = {
    "missing": Look("unmeasured", "·"),
    "reported": Look("untestable", "–"),
}
"""How parts are marked that no verdict is like."""

BEGIN, END = '<div class="verdict v-', "<!-- end of verdict --></div>"


def chip(row: Mapping[str, Any]) -> str:
    """The verdict of a ledger's row: an icon and words, in the verdict's colour."""
    look = LOOKS[row["verdict"]]
    words = html.escape(said(row))
    if row.get("changed"):
        why = html.escape(f"Changed after its seeds were seen: {row['changed']}")
        words = words.replace(CHANGED, f'<abbr class="changed" title="{why}">{CHANGED}</abbr>')
    return f'<span class="chip v-{look.key}">{_icon(look)} {words}</span>'


def box(row: Mapping[str, Any]) -> str:
    """A row where its claim is measured: verdict, both counts, statement and evidence."""
    return (
        f'{BEGIN}{LOOKS[row["verdict"]].key}" data-claim="{html.escape(row["id"])}">'
        f'<p class="said">{chip(row)} {_besides(row)}</p>'
        f"<p><strong>{html.escape(row['id'])}.</strong> {html.escape(row['statement'])}</p>"
        f"{_evidence(row)}{_changed(row)}{END}"
    )


def as_html(rows: Sequence[Mapping[str, Any]]) -> str:
    """The ledger as a table for the page; a stylesheet makes cards of its rows on a phone."""
    body = []
    for row in rows:
        fails = "; ".join(map(html.escape, row["fails_at"]))
        elsewhere = f"<p>On the grid it does not hold at: {fails}.</p>" if fails else ""
        at = html.escape(in_words(row["setting"]))
        setting = f"<p>Different from the headline setting: {at}.</p>" if row["setting"] else ""
        where = html.escape((row["chapter"] or "").split("/")[-1].split("_")[0])
        body.append(
            f'<tr class="v-{LOOKS[row["verdict"]].key}"><td>{html.escape(row["id"])}</td>'
            f"<td>{chip(row)}<br>{_besides(row)}</td>"
            f'<td>{html.escape(row["statement"])} <span class="kind">{html.escape(row["kind"])}'
            f"{f', {where}' if where else ''}</span>"
            f"<details><summary>rule and evidence</summary><p>{html.escape(row['rule'])}</p>"
            f"{_evidence(row)}{setting}{elsewhere}{_changed(row)}</details></td>"
            f"<td>{_value(row)}</td></tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ("claim", "verdict", "statement", "worst part"))
    return (
        f'<table class="ledger"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def changes() -> str:
    """What was changed of which rule after seeds had been seen, as a list in Markdown."""
    changed = {claim.id: claim.changed for claim in CLAIMS.values() if claim.changed}
    return "\n".join(f"- **{claim}**: {what}" for claim, what in changed.items())


def _icon(look: Look) -> str:
    return f'<i class="icon" aria-hidden="true">{look.icon}</i>'


def _besides(row: Mapping[str, Any]) -> str:
    """Both counts, and what else a reader must know of a verdict."""
    words = "; ".join(filter(None, (counts(row), *row["caveats"])))
    return f'<span class="counts">{html.escape(words)}</span>' if words else ""


def _evidence(row: Mapping[str, Any]) -> str:
    items = []
    for part in row["evidence"]:
        look = PARTS.get(part["outcome"]) or LOOKS[part["outcome"]]
        items.append(f'<li class="v-{look.key}">{_icon(look)} {html.escape(part["text"])}</li>')
    return f"<ul>{''.join(items)}</ul>"


def _changed(row: Mapping[str, Any]) -> str:
    if not row.get("changed"):
        return ""
    why = html.escape(row["changed"])
    return f'<p class="changed">{CHANGED} Changed after its seeds were seen: {why}</p>'


def _value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    interval = row["interval"]
    ends = f" <br>[{number(interval[0])}, {number(interval[1])}]" if interval else ""
    return f'{number(row["value"])}{ends} <br><span class="n">n = {row["n"]} {row["unit"]}</span>'
