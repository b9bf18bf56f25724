"""Verdicts in chapters, with what is known of them only when all notebooks have run.

A chapter judges at its own setting and shows its verdict there. In how many of a grid's settings
the claim holds, another notebook finds. So before pages are rendered each box is made anew from the
ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faithnb.claims.ledger import read_ledger
from faithnb.claims.page import BEGIN, END, box
from faithnb.common.files import write_whole

BOX = re.compile(rf'{re.escape(BEGIN)}\w+" data-claim="([^"]*)">.*?{re.escape(END)}', re.DOTALL)


def complete_boxes(src: Path, records: Path) -> None:
    """Put the ledger's verdicts, with both counts, into staged notebooks.

    Args:
        src: what :func:`faithnb.book.staging.fill` made.
        records: the folder of what the notebooks handed over.

    Raises:
        OSError: if a page cannot be read or written.
        ValueError: if a record is damaged.
    """
    rows = {row["id"]: row for row in read_ledger(records)}
    for page in sorted((src / "notebooks").glob("*.ipynb")):
        notebook = json.loads(page.read_text(encoding="utf-8"))
        shown = [
            output["data"] for cell in notebook["cells"] for output in cell.get("outputs", [])
            if BEGIN in "".join(output.get("data", {}).get("text/html", ""))
        ]  # fmt: skip
        for data in shown:
            data["text/html"] = completed("".join(data["text/html"]), rows)
        if shown:
            write_whole(page, json.dumps(notebook, indent=1, ensure_ascii=False))


def completed(text: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """HTML with each claim's box made from its row; one without a row stays as it is."""
    return BOX.sub(lambda found: box(rows[found[1]]) if found[1] in rows else found[0], text)
