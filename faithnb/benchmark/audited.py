"""What the lenses say of a task's columns, and its controls, in a file beside the entries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from faithnb.benchmark.columns import COLUMNS
from faithnb.benchmark.entry import RESULTS, table_in, versions, write_rows
from faithnb.benchmark.lenses import audit
from faithnb.benchmark.task import Task
from faithnb.common.errors import InputError
from faithnb.common.files import read_file, read_json

FORMAT = "faithnb columns 1"

FOLDER = "columns"
"""Where the files lie, in the folder of the entries."""

PARTS = ("verdicts", "controls")

SAID = ("noise", "decidable", "order", "correlation", "trend", "reasons", "earned")
"""What is kept of a verdict."""


@dataclass(frozen=True)
class Audited:
    """A task's columns and controls."""

    task: str
    versions: dict[str, str]
    """What it was run with."""
    verdicts: pd.DataFrame
    """A row a column that something could be ranked by: the fields of
    :class:`faithnb.benchmark.lenses.Verdict`, and ``earned``."""
    controls: pd.DataFrame
    """A row a control, with every column, and its ``state``."""

    @classmethod
    def of(cls, task: Task) -> Audited:
        """Look at a task now, which trains."""
        verdicts, rows = audit(task)
        return cls(task.name, versions(), verdicts[[*SAID]], rows)

    @property
    def earned(self) -> list[str]:
        """The columns that something may be ranked by."""
        return [str(name) for name in self.verdicts.index[self.verdicts.earned.astype(bool)]]

    def save(self, folder: Path = RESULTS) -> Path:
        """Write it, a row a line, so that a change shows in a diff."""
        about = {"format": FORMAT, "task": self.task, "versions": self.versions}
        tables = {name: getattr(self, name).rename_axis("name").reset_index() for name in PARTS}
        path = folder / FOLDER / f"{self.task}.json"
        write_rows(path, about, tables)
        return path

    @classmethod
    def load(cls, path: Path) -> Audited:
        """Read one.

        Raises:
            InputError: in a sentence, if the file holds none.
        """
        try:
            found = read_json(read_file(path).decode())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise InputError(f"{path} does not say of columns: its format is not {FORMAT!r}.")
        verdicts, rows = (table_in(found[k], path).set_index("name") for k in PARTS)
        if missing := [name for name in COLUMNS if name not in rows]:
            raise InputError(f"{path} is of other columns: it lacks {missing[0]}.")
        numbers = ["noise", "decidable", "correlation", "trend"]
        verdicts[numbers] = verdicts[numbers].astype(float)
        rows[[*COLUMNS]] = rows[[*COLUMNS]].astype(float)
        return cls(found["task"], found["versions"], verdicts, rows)


def audits(folder: Path = RESULTS) -> dict[str, Audited]:
    """Those that are kept, by task."""
    found = [Audited.load(path) for path in sorted((folder / FOLDER).glob("*.json"))]
    return {each.task: each for each in found}
