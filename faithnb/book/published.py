"""What was published, claim by claim, and whether this machine's build agrees.

``python -m faithnb.book.published keep`` makes the record from a finished build of the published
profile, ``… compare`` compares the last build with it.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from faithnb.book.contents import ROOT, BuildError
from faithnb.book.costs import LAST, today
from faithnb.book.planned import PUBLISHED
from faithnb.claims.evidence import number
from faithnb.claims.ledger import read_ledger
from faithnb.common.files import read_file, write_whole

RECORD = ROOT / "book" / "published" / "claims.json"
NONE_YET = (
    "No build of the published profile is on record yet, so there is nothing to compare with."
)


@dataclass(frozen=True)
class Compared:
    """One claim, as it was published and as it came out here.

    Attributes:
        id: such as ``"C7"``.
        published: the verdict; ``None`` if the claim was not there.
        here: the verdict; ``None`` if the claim is not here.
        number: that was published.
        interval: around it; ``None`` if it has none.
        number_here: what came out.
    """

    id: str
    published: str | None
    here: str | None
    number: float | None
    interval: tuple[float, float] | None
    number_here: float | None

    @property
    def same_verdict(self) -> bool:
        """Whether both verdicts are the same words."""
        return self.published == self.here

    @property
    def within(self) -> bool | None:
        """Whether this build's number lies in the published interval; ``None`` where there is none,
        or no number."""
        if self.interval is None or self.number_here is None:
            return None
        return self.interval[0] <= self.number_here <= self.interval[1]

    @property
    def agrees(self) -> bool:
        """The same verdict, and no number outside of its interval."""
        return self.same_verdict and self.within is not False


def compared(
    published: Iterable[Mapping[str, Any]], here: Iterable[Mapping[str, Any]]
) -> list[Compared]:
    """Both ledgers, claim by claim, in the order of the published one, then those new here."""
    before, now = ({row["id"]: row for row in rows} for rows in (published, here))
    return [_compared(name, before.get(name, {}), now.get(name, {})) for name in before | now]


def _compared(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Compared:
    ends = before.get("interval")
    interval = (ends[0], ends[1]) if ends and None not in ends else None
    verdicts = before.get("verdict"), now.get("verdict")
    value = _value(now, before.get("statistic"))
    return Compared(name, *verdicts, before.get("value"), interval, value)


def _value(row: Mapping[str, Any], statistic: str | None) -> float | None:
    """A row's number for a statistic, which need not be the one that it shows itself."""
    if row.get("statistic") == statistic:
        return row.get("value")
    parts = [part for part in row.get("evidence", ()) if isinstance(part, Mapping)]
    found = [part.get("value") for part in parts if part.get("statistic") == statistic]
    return found[0] if found else None


def read_published(path: Path = RECORD) -> dict[str, Any] | None:
    """The published record; ``None`` if there is none."""
    try:
        found: dict[str, Any] = json.loads(read_file(path))
    except FileNotFoundError:
        return None
    return found


def keep(build: Path, into: Path = RECORD) -> None:
    """Make the record of what is published from a finished build.

    Raises:
        BuildError: if there is none, or it is of another profile.
    """
    last = _last(build)
    if last["profile"] != PUBLISHED:
        raise BuildError(
            f"the last build has the profile {last['profile']}; what is published is {PUBLISHED}."
        )
    record = {
        "date": today(),
        "profile": last["profile"],
        "processor": last["machine"]["name"],
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": read_file(build / "src" / "book" / "freeze.txt").decode().split(),
        "claims": read_ledger(build / "records"),
    }
    into.parent.mkdir(parents=True, exist_ok=True)
    write_whole(into, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _last(build: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(read_file(build / LAST))
    except FileNotFoundError:
        raise BuildError(f"{build / LAST} is missing: build the book first.") from None
    return found


def in_short(rows: Sequence[Compared]) -> str:
    """How many claims agree, in a sentence or two."""
    same, numbers = sum(r.same_verdict for r in rows), [r for r in rows if r.within is not None]
    inside = sum(bool(r.within) for r in numbers)
    return (
        f"{same} of {len(rows)} verdicts are the same. "
        f"{inside} of {len(numbers)} numbers lie in the published intervals."
    )


def as_markdown(record: Mapping[str, Any] | None, here: Sequence[Mapping[str, Any]]) -> str:
    """Both columns for a page of the book; a sentence where nothing was published."""
    if record is None:
        return f"{NONE_YET}\n"
    rows = compared(record["claims"], here)
    about = (
        f"What is published was built on {record['date']} with Python {record['python']} and torch "
        f"{record['torch']} on {record['processor']}. {in_short(rows)}"
    )
    head = "| claim | published | this build | number | published interval | this build | agrees |"
    lines = [head, "|---|---|---|---|---|---|---|", *map(_line, rows)]
    return f"{about}\n\n" + "\n".join(lines) + "\n"


def _line(row: Compared) -> str:
    ends = (
        "–" if row.interval is None else f"[{number(row.interval[0])}, {number(row.interval[1])}]"
    )
    cells = (
        row.id, row.published or "–", row.here or "–", _said(row.number), ends,
        _said(row.number_here), "yes" if row.agrees else "no",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _said(value: float | None) -> str:
    return "–" if value is None else number(value)


def main(arguments: Sequence[str] | None = None, build: Path = ROOT / "_build") -> int:
    """The command line: 0 if all claims agree, or the record was made; 1 if a claim does not; 2
    with a message if there is nothing to compare."""
    parser = argparse.ArgumentParser(prog="python -m faithnb.book.published", description=__doc__)
    parser.add_argument("what", choices=("keep", "compare"))
    try:
        if parser.parse_args(arguments).what == "keep":
            keep(build)
            print(f"{RECORD.relative_to(ROOT)} has what this build came to.")
            return 0
        profile, record = _last(build)["profile"], read_published()
        if record is None:
            raise BuildError(NONE_YET)
        rows = compared(record["claims"], read_ledger(build / "records"))
    except BuildError as error:
        print(f"Nothing was done: {error}", file=sys.stderr)
        return 2
    for row in rows:
        if not row.agrees:
            print(_line(row).strip("| "))
    print(f"{in_short(rows)} This build has the profile {profile}, what is published {PUBLISHED}.")
    return 0 if all(row.agrees for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
