"""What a notebook needs beside the experiment: its checked parameters, and values for its prose."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from faithnb.experiment import (
    PROFILES,
    Experiment,
    OneOf,
    ParameterError,
    Range,
    parameter,
    unknown_name,
)

JUDGED_FROM = 100
"""Seeds from here on judge a claim; those below may be used to choose settings."""


@dataclass(frozen=True)
class Run:
    """The size of one notebook's run, beside its experiment."""

    profile: str = parameter("paper", OneOf(tuple(PROFILES)))
    """One of :data:`PROFILES`."""
    n_seeds: int = parameter(PROFILES["paper"].n_seeds, Range(1, whole=True))
    """Seeds of a comparison between arms."""
    scan_seeds: int = parameter(PROFILES["paper"].scan_seeds, Range(1, whole=True))
    """Seeds in each cell of a scan."""
    grid: int = parameter(PROFILES["paper"].grid, Range(2, whole=True))
    """Cells along each axis of a scan."""
    first_seed: int = parameter(JUDGED_FROM, Range(0, whole=True))
    """The first seed; from 100 on for anything that judges a claim."""
    interactive: bool = False
    """Whether to show progress bars and widgets."""

    @property
    def seeds(self) -> range:
        """The seeds of a comparison between arms."""
        return range(self.first_seed, self.first_seed + self.n_seeds)


def read_parameters(variables: Mapping[str, Any]) -> tuple[Experiment, Run]:
    """The experiment and the run that a notebook's parameters describe.

    Call it as ``read_parameters(globals())`` in the first cell after the parameters: it looks at
    the notebook's plain variables and refuses a name that is neither a field of
    :class:`Experiment` nor of :class:`Run`, because papermill itself accepts any. ``None`` means
    "as the profile says", or the default where the profile says nothing.

    Raises:
        ParameterError: naming the parameter, its value and what is allowed.
    """
    given = {name: value for name, value in variables.items() if _is_plain(name, value)}
    of_experiment = {f.name: f for f in dataclasses.fields(Experiment)}
    of_run = {f.name: f for f in dataclasses.fields(Run)}
    for name, value in given.items():
        if name not in of_experiment and name not in of_run:
            raise unknown_name(name, value, of_run | of_experiment)

    given = {name: value for name, value in given.items() if value is not None}
    run_fields = {k: v for k, v in given.items() if k in of_run}
    for name, value in run_fields.items():
        allowed = of_run[name].metadata.get("allowed")
        try:
            if allowed is None and not isinstance(value, bool):
                raise ValueError
            run_fields[name] = allowed.clean(value) if allowed else value
        except ValueError:
            raise ParameterError(
                f"{name} = {value!r} is not allowed: it must be {allowed or 'True or False'}."
            ) from None
    profile = PROFILES[run_fields.get("profile", "paper")]
    sizes = dataclasses.asdict(profile)
    steps = {"steps": sizes.pop("steps")}
    experiment = Experiment(**{**steps, **{k: v for k, v in given.items() if k in of_experiment}})
    return experiment, Run(**{**sizes, **run_fields})


def _is_plain(name: str, value: Any) -> bool:
    """Whether a notebook's global is a parameter: no import, no function, nothing of IPython's."""
    if name.startswith("_") or name in ("In", "Out", "get_ipython", "exit", "quit", "open"):
        return False
    return not (isinstance(value, (ModuleType, FunctionType, type)) or inspect.isroutine(value))


def glue(**values: Any) -> None:
    """Keep values for the prose of the book, by name; ``{glue:text}`name:.2f` `` shows one there.

    Without MyST-NB, outside the book, there is no prose to fill and nothing happens.
    """
    try:
        from myst_nb import glue as keep
    except ImportError:
        return
    for name, value in values.items():
        keep(name, value.item() if hasattr(value, "item") else value, display=False)
