"""What a notebook needs beside the experiment: its checked parameters, and values for its prose."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
import symtable
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from faithnb.common.files import CHECKOUT, folder_named, read_file, write_whole
from faithnb.experiment import Experiment
from faithnb.measures.stats import rate_interval
from faithnb.parameters import Address, Allowed, OneOf, Range, YesNo, clean, parameter, unknown_name
from faithnb.sweeps.cluster import connect
from faithnb.tables import show_tables_so
from faithnb.training.store import Store

T = TypeVar("T")

JUDGED_FROM = 1000
"""Seeds from here on judge a claim: those below chose settings, or changed some of its rules."""


@dataclass(frozen=True)
class Profile:
    """How large a run is: seeds, cells of a scan and steps, and nothing else."""

    n_seeds: int
    """Seeds of a comparison between conditions."""
    scan_seeds: int
    """Seeds in each cell of a scan."""
    grid: int
    """Cells along each axis of a scan."""
    steps: int
    """``Experiment.steps``."""


PROFILES = {
    "quick": Profile(n_seeds=3, scan_seeds=3, grid=3, steps=600),
    "paper": Profile(n_seeds=16, scan_seeds=5, grid=8, steps=3000),
    "large": Profile(n_seeds=64, scan_seeds=20, grid=50, steps=12000),
}
"""``quick`` for tests, ``paper`` for what is published, ``large`` for a GPU or a cluster."""


@dataclass(frozen=True)
class Run:
    """The size of one notebook's run, beside its experiment."""

    profile: str = parameter("paper", OneOf(tuple(PROFILES)))
    """``"quick"``, ``"paper"`` or ``"large"``."""
    n_seeds: int = parameter(PROFILES["paper"].n_seeds, Range(1, whole=True))
    """Seeds of a comparison between conditions."""
    scan_seeds: int = parameter(PROFILES["paper"].scan_seeds, Range(1, whole=True))
    """Seeds in each cell of a scan."""
    grid: int = parameter(PROFILES["paper"].grid, Range(2, whole=True))
    """Cells along each axis of a scan, and the most settings along any other axis."""
    first_seed: int = parameter(JUDGED_FROM, Range(0, 2**61, whole=True))
    """The first seed; from 1000 on for anything that judges a claim."""
    scheduler: str = parameter("here", Address())
    """``"here"`` trains sweeps in this process, ``"local"`` in a worker process for each core, and
    an address like ``"tcp://host:8786"`` on the cluster of a Dask scheduler."""
    interactive: bool = parameter(False, YesNo())
    """Whether to show progress bars."""
    experiment: Experiment | None = field(default=None, compare=False, repr=False)
    """What the notebook's parameters describe beside; no parameter itself."""

    @property
    def seeds(self) -> range:
        """The seeds of a comparison between conditions."""
        return range(self.first_seed, self.first_seed + self.n_seeds)

    @property
    def cell_seeds(self) -> range:
        """The seeds of each cell of a scan."""
        return self.seeds[: self.scan_seeds]

    @property
    def few(self) -> range:
        """Half the seeds of a scan's cell and at least two, for what is shown and not judged."""
        return self.seeds[: max(2, (self.scan_seeds + 1) // 2)]

    def halved(self) -> Run:
        """The same with half the seeds of a comparison, where there is much to train."""
        return dataclasses.replace(self, n_seeds=max(self.scan_seeds, self.n_seeds // 2))

    @property
    def training(self) -> dict[str, Any]:
        """How :func:`faithnb.train` and :func:`faithnb.compare` are called."""
        return {"store": Store(), "progress": self.interactive}

    @property
    def sweeping(self) -> dict[str, Any]:
        """How :func:`faithnb.sweep` is called, on a cluster if a scheduler is named."""
        executor = None if self.scheduler == "here" else connect(self.scheduler)
        return self.training | {"executor": executor, "profile": self.profile}

    def scan_axes(self, coarse: bool = False) -> dict[str, list[float]]:
        """Values of ``repeat_frac`` and ``sparsity_coefficient`` in a scan: 0, then evenly in the
        logarithm up to the largest. A ``coarse`` scan has every other one of these, with the
        largest, and no 0."""
        ends = {"repeat_frac": (0.005, 0.3), "sparsity_coefficient": (0.003, 0.5)}
        above = {name: np.geomspace(*span, self.grid - 1) for name, span in ends.items()}
        if coarse:
            return {name: list(values[::-2][::-1]) for name, values in above.items()}
        return {name: [0.0, *values] for name, values in above.items()}

    def some(self, values: Sequence[T]) -> list[T]:
        """At most ``grid`` of these settings, evenly spread from the first to the last."""
        picked = np.linspace(0, len(values) - 1, min(self.grid, len(values))).round().astype(int)
        return [values[k] for k in picked]


def read_parameters(
    variables: MutableMapping[str, Any], **limits: Allowed
) -> tuple[Experiment, Run]:
    """The experiment and the run that a notebook's parameters describe.

    Call it as ``read_parameters(globals())`` in the first cell after the parameters: it looks at
    the notebook's plain variables and refuses a name that is neither a field of
    :class:`Experiment` nor of :class:`Run`, because papermill itself accepts any. ``None`` means
    "as the profile says", or the default where the profile says nothing. Called again in the same
    kernel, when the notebook has variables of its own, it reads the fields and ignores the rest.
    In a kernel only names that cells have assigned count, not those of a start-up file.

    Args:
        variables: the notebook's ``globals()``.
        **limits: what this notebook allows for a field, where that is less than
            :class:`Experiment` does.

    Raises:
        ParameterError: naming the parameter, its value and what is allowed.
    """
    of_experiment = {f.name: f for f in dataclasses.fields(Experiment)}
    of_run = {f.name: f for f in dataclasses.fields(Run) if f.metadata}
    set_here = _set_in_cells(variables)
    given = {
        name: value for name, value in variables.items()
        if _is_plain(name, value) and (set_here is None or name in set_here)
    }  # fmt: skip
    for name in sorted(set(given) - set(of_experiment) - set(of_run)):
        if "_parameters_read" not in variables:
            raise unknown_name(name, given[name], of_run | of_experiment)
        del given[name]

    given = {name: value for name, value in given.items() if value is not None}
    limits = {name: f.metadata["allowed"] for name, f in of_run.items()} | limits
    for name in given.keys() & limits.keys():
        given[name] = clean(name, given[name], limits[name])
    profile = dataclasses.asdict(PROFILES[given.get("profile", "paper")])
    chosen = profile | given
    experiment = Experiment(**{k: v for k, v in chosen.items() if k in of_experiment})
    run = Run(**{k: v for k, v in chosen.items() if k in of_run}, experiment=experiment)
    variables["_parameters_read"] = True
    show_tables_so()
    return experiment, run


def _is_plain(name: str, value: Any) -> bool:
    """Whether a notebook's global is a parameter: no import, no function, nothing of IPython's."""
    if name.startswith("_") or name in ("In", "Out", "get_ipython", "exit", "quit", "open"):
        return False
    return not (isinstance(value, (ModuleType, FunctionType, type)) or inspect.isroutine(value))


def _set_in_cells(variables: Mapping[str, Any]) -> set[str] | None:
    """The names that the cells run so far assign, in a kernel that lists them; else ``None``."""
    cells = variables.get("In")
    if not isinstance(cells, list):
        return None
    ran = [cell for cell in cells if isinstance(cell, str)]
    if not any("read_parameters" in cell for cell in ran):  # not even this one was listed
        return None
    return set().union(*map(assigned, ran))


def assigned(code: str) -> set[str]:
    """The names that a piece of code assigns outside of functions; none if it is not Python."""
    try:
        table = symtable.symtable(code, "<cell>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    return {
        symbol.get_name() for symbol in table.get_symbols()
        if symbol.is_assigned() and not symbol.is_namespace()
    }  # fmt: skip


RECORD = "application/vnd.faithnb.record+json"
"""The type of output by which a notebook hands results over to others."""


def default_records() -> Path:
    """Where the book gathers what notebooks hand over: ``$FAITHNB_RECORDS``, or
    ``_build/records`` beside the package."""
    if (named := os.environ.get("FAITHNB_RECORDS")) is not None:
        return folder_named("FAITHNB_RECORDS", named)
    return CHECKOUT / "_build" / "records"


def hand_over(kind: str, data: Mapping[str, Any]) -> None:
    """Give results to the notebooks that run last; outside a notebook nothing happens.

    They travel in the notebook's own outputs, so that they are there as well when an executed
    notebook is used again.

    Args:
        kind: ``"claims"``, ``"runs"``, ``"grid"``, or ``"lost"`` for shares that lost the task.
        data: what JSON can hold; NaN, which it cannot, becomes ``None``.
    """
    if _in_a_notebook():
        from IPython.display import publish_display_data

        plain = json.loads(json.dumps(data, default=float), parse_constant=lambda _: None)
        publish_display_data({RECORD: {"kind": kind, "data": plain}, "text/plain": ""})


def show(thing: Any) -> None:
    """Display something, wherever in a cell; outside a notebook nothing happens."""
    if _in_a_notebook():
        from IPython.display import display

        display(thing)


def _in_a_notebook() -> bool:
    try:
        from IPython.core.interactiveshell import InteractiveShell
    except ImportError:
        return False
    return bool(InteractiveShell.initialized())


def handed_over(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an executed notebook hands over, by kind."""
    found: dict[str, dict[str, Any]] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if (record := output.get("data", {}).get(RECORD)) is not None:
                found.setdefault(record["kind"], {}).update(record["data"])
    return found


def write_records(path: Path, records: Mapping[str, Any]) -> None:
    """Keep what one notebook handed over, with its hash, so that damage shows.

    Raises:
        OSError: if it cannot be written.
    """
    text = json.dumps(records, sort_keys=True)
    write_whole(path, f"{_digest(text)}\n{text}")


def read_records(folder: Path | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """What was handed over, by kind, then by notebook; empty if no book was built.

    Raises:
        ValueError: if a file is damaged.
        OSError: if one cannot be read, or is no file.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted((folder or default_records()).glob("*.json")):
        digest, _, text = read_file(path).decode(errors="replace").partition("\n")
        if digest != _digest(text):
            raise ValueError(f"{path} is damaged: build the book again.")
        for kind, data in json.loads(text).items():
            found.setdefault(kind, {})[path.stem] = data
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


KEPT = ("fvu", "l0", "jacobian_error", "jacobian_error_at_p", "memorization", "state")
"""What is handed over of a transcoder."""


def hand_over_runs(tables: Mapping[str, xr.Dataset]) -> None:
    """Give every transcoder's measures, by condition, to the page that draws them all."""
    hand_over("runs", {
        condition: {
            name: table[name].values.ravel().tolist()
            for name in KEPT if name in table
        }
        for condition, table in tables.items()
    })  # fmt: skip


def read_runs(folder: Path | None = None) -> pd.DataFrame:
    """Every transcoder that was handed over, each once although chapters share some: its measures,
    NaN where one was not taken, and ``condition``, a number for each of the conditions.

    Raises:
        ValueError: if a file is damaged.
        OSError: if one cannot be read, or is no file.
    """
    given = [run for runs in read_records(folder).get("runs", {}).values() for run in runs.values()]
    rows = [pd.DataFrame(run).assign(condition=k) for k, run in enumerate(given)]
    found = pd.concat([pd.DataFrame(columns=[*KEPT, "condition"]), *rows])
    found = found.drop_duplicates(["fvu", "l0", "jacobian_error_at_p", "state"], ignore_index=True)
    numbers = {name: float for name in KEPT if name != "state"}
    return found.astype(numbers | {"state": str}).assign(condition=pd.factorize(found.condition)[0])


def glue(**values: Any) -> None:
    """Keep values by name for the prose of the book, which shows them with the role ``glue:text``.

    Without MyST-NB, outside the book, there is no prose to fill and nothing happens.
    """
    try:
        from myst_nb import glue as keep
    except ImportError:
        return
    for name, value in values.items():
        keep(name, value.item() if hasattr(value, "item") else value, display=False)


def glue_for(key: str, **values: Any) -> None:
    """:func:`glue` of one condition of several: each name is followed by ``_`` and its key."""
    glue(**{f"{name}_{key}": value for name, value in values.items()})


def in_words(interval: tuple[float, float], digits: int = 2) -> str:
    """An interval for the prose: ``[0.12, 0.34]``."""
    low, high = interval
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def words(value: float, interval: tuple[float, float]) -> str:
    """A value with its interval for the prose, or that there was too little to have them."""
    if not np.isfinite([value, *interval]).all():
        return "not to be had from so few seeds"
    return f"{value:.2f} {in_words(interval)}"


def rate_in_words(hits: Sequence[bool] | np.ndarray) -> str:
    """:func:`rate_interval` of how often it is True, for the prose."""
    return in_words(rate_interval(int(np.sum(hits)), len(hits)))
