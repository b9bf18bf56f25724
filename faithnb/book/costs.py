"""What notebooks cost: a table that builds write, from which the next ones foretell their length.

``python -m faithnb.book.costs`` keeps what the last build took, in ``book/costs.json``.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faithnb.book.contents import ROOT, BuildError
from faithnb.book.machine import Machine
from faithnb.common.files import read_file, write_whole

TABLE = ROOT / "book" / "costs.json"
"""By profile, what each notebook took, on which machine, and when."""

LAST = "costs.json"
"""What a build took, in its folder."""

MOST = 2
"""How many threads speed a notebook up, at most: about half of its work runs on one."""


@dataclass(frozen=True)
class Cost:
    """What one notebook took.

    Attributes:
        seconds: of one core, the notebook's subprocesses included.
        cells: the share of the time that each cell with code took, in order; empty if unknown.
    """

    seconds: float
    cells: tuple[float, ...] = ()

    def done(self, n_cells: int, of: int) -> float:
        """The share of the work that is done after so many of a notebook's cells with code."""
        if len(self.cells) != of:
            return n_cells / max(1, of)
        return min(1.0, sum(self.cells[:n_cells]))


@dataclass(frozen=True)
class Costs:
    """What the notebooks of a book took at one profile.

    Attributes:
        date: when.
        how: in a sentence, where the numbers are not those of one build from an empty store.
        machine: which took it, with its speed.
        rendering: seconds from the last notebook to the finished book.
        notebooks: by name.
    """

    date: str
    machine: Machine
    rendering: float
    notebooks: Mapping[str, Cost]
    how: str = ""

    def seconds_on(self, here: Machine, workers: int) -> dict[str, float]:
        """How long each notebook takes on another machine where so many run side by side."""
        threads = min(MOST, max(1.0, here.cores / workers))
        ratio = self.machine.speed / (here.speed * threads)
        return {name: cost.seconds * ratio for name, cost in self.notebooks.items()}

    def rendering_on(self, here: Machine) -> float:
        """Seconds that rendering takes there, on one core."""
        return self.rendering * self.machine.speed / here.speed


def makespan(seconds: Sequence[float], workers: int) -> float:
    """How long tasks take that so many workers begin in order, each when it is free."""
    free = [0.0] * max(1, workers)
    for task in seconds:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


def recorded(profile: str, table: Path = TABLE) -> Costs | None:
    """What the notebooks took at a profile; ``None`` if that was never recorded."""
    found = json.loads(read_file(table)).get(profile)
    return None if found is None else _costs(found)


def _costs(found: Mapping[str, Any]) -> Costs:
    notebooks = {n: Cost(of["seconds"], tuple(of["cells"])) for n, of in found["notebooks"].items()}
    machine = Machine(**found["machine"])
    return Costs(found["date"], machine, found["rendering"], notebooks, found.get("how", ""))


def write_last(
    build: Path, profile: str, costs: Costs, reused: Sequence[str], from_empty: bool
) -> None:
    """Keep what a build took in its folder, beside what it did not have to do.

    Args:
        build: its folder.
        profile: of the build.
        costs: of the notebooks that ran.
        reused: notebooks that did not run, because they were kept.
        from_empty: whether the store held no training before.
    """
    whole = {"profile": profile, "reused": list(reused), "from_empty": from_empty}
    write_whole(build / LAST, json.dumps(whole | asdict(costs), indent=1) + "\n")


def keep(build: Path, table: Path = TABLE) -> str:
    """Put what the last build took into the table, and say what was kept.

    Raises:
        BuildError: if there is none, or it did not have to do everything.
    """
    try:
        last = json.loads(read_file(build / LAST))
    except FileNotFoundError:
        raise BuildError(f"{build / LAST} is missing: build the book first.") from None
    if last["reused"] or not last["from_empty"]:
        raise BuildError(
            "the last build used again what was kept, so what it took says little. Build with "
            "FAITHNB_STORE naming an empty folder."
        )
    entry = asdict(_costs(last))
    for cost in entry["notebooks"].values():
        cost["seconds"] = round(cost["seconds"], 1)
        cost["cells"] = [round(share, 3) for share in cost["cells"]]
    written = json.loads(read_file(table)) if table.exists() else {}
    written[last["profile"]] = entry
    write_table(written, table)
    total = sum(cost["seconds"] for cost in entry["notebooks"].values())
    return f"{last['profile']}: {total / 60:.1f} core-minutes, kept in {table.name}."


def write_table(entries: Mapping[str, Any], table: Path = TABLE) -> None:
    """Write the table, a line a notebook."""
    profiles = []
    for profile, entry in entries.items():
        head = {k: v for k, v in entry.items() if k != "notebooks"}
        lines = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(cost)}"
            for name, cost in entry["notebooks"].items()
        )
        about = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items())
        profiles.append(f' {json.dumps(profile)}: {{\n{about}  "notebooks": {{\n{lines}\n  }}\n }}')
    write_whole(table, "{\n" + ",\n".join(profiles) + "\n}\n")


def today() -> str:
    """The date, as the table has it."""
    return time.strftime("%Y-%m-%d")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if the costs were kept, 1 with a message if not."""
    argparse.ArgumentParser(prog="python -m faithnb.book.costs", description=__doc__).parse_args(
        arguments
    )
    try:
        print(keep(ROOT / "_build"))
        return 0
    except BuildError as error:
        print(f"Nothing was kept: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
