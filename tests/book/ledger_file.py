"""What must be right of a built book's ``claims.json``."""

import json

from faithnb.claims import CLAIMS, of_grid


def check_ledger(html):
    """The file, and that pages say the same."""
    ledger = json.loads((html / "claims.json").read_text())
    rows, build = ledger["claims"], ledger["build"]
    assert [row["id"] for row in rows] == list(CLAIMS)
    assert {"id", "kind", "verdict", "value", "interval", "n", "unit"} <= set(rows[0])
    assert build["profile"] == "quick"
    assert set(build["seeds"]["first"]) >= {row["seeds"]["first"] for row in rows}
    assert {"faithnb", "torch", "python"} <= set(build["versions"])
    assert all(row["evidence"] for row in rows)  # at quick not all of it can be judged
    of_seeds = [r for r in rows if r["kind"] == "empirical" and r["id"] not in ("C28", "P2")]
    assert all("too few seeds" in row["caveats"] for row in of_seeds if row["interval"])
    page = (html / "notebooks" / "claims.html").read_text()
    assert all(f"<td>{row['id']}</td>" in page for row in rows)
    on_grid = next(row for row in rows if row["id"] == "C7")
    chapter = (html / f"{on_grid['chapter']}.html").read_text()
    assert f"{of_grid(on_grid)} setting" in chapter  # which it could not know when it ran
