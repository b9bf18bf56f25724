"""Who does the work of a sweep: this process, or the workers of an executor."""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import xarray as xr

from faithnb.common.extensions import REGISTRIES, digests
from faithnb.common.files import digest_of
from faithnb.experiment import Experiment
from faithnb.measures.table import refuse_other_columns
from faithnb.sweeps.tasks import (
    SECONDS_OF_SILENCE,
    SECONDS_OF_WORK,
    Outcome,
    Silence,
    SweepError,
    Tasks,
    dask_client,
    reason,
    within,
)
from faithnb.training.ensemble import MAX_INSTANCES, DivergenceWarning, device_named, groups, train
from faithnb.training.store import Store, source_hash
from faithnb.training.trained import assembled, packed, refuse_other_weights, unpacked

Packs = list[tuple[list[int], xr.Dataset]]
"""Transcoders with their histories as :func:`faithnb.training.trained.packed` has them, and which
of the experiments they are."""

Result = tuple[list[int], xr.Dataset, Packs]
"""Which experiments, their measures, and their transcoders if these are to be kept."""

FEWEST, MOST_ON_CUDA = 16, 1024
"""Experiments that are trained and kept together: on a GPU at most 1024, so that a sweep shows
progress and loses little; elsewhere at most ``MAX_INSTANCES``. A task for an executor has at least
16."""

SECONDS_TO_COUNT = 20
"""Within which a cluster must say how many threads it has."""

TORCH = str(torch.__version__)
"""Plain text; torch's own kind of text fits no file."""


class _AnotherVersion(SweepError):
    """A worker would fail whatever else it is given."""


def measure(
    experiments: Sequence[Experiment], packs: Packs, device: str | torch.device, weights: bool
) -> tuple[xr.Dataset, Packs]:
    """Train what is not trained, and measure everything: what a worker does."""
    there = {i for at, _ in packs for i in at}
    parts = [(at, *unpacked(experiments[at[0]], kept)) for at, kept in packs]
    rest = [i for i in range(len(experiments)) if i not in there]
    new: Packs = []
    if rest:
        trained = train([experiments[i] for i in rest], device=device, progress=False)
        for at, transcoder in trained.ensembles:
            history = trained.history.sel(inst=list(at)).drop_vars("inst")
            indices = [rest[i] for i in at]
            parts.append((indices, transcoder, history))
            if weights:
                new.append((indices, packed(transcoder, history)))
    table = assembled(experiments, parts).metrics()
    return table.drop_vars(list(table.coords)), new


class Workers:
    """Who does the work, with the kind of device and the torch that it is done with."""

    device: torch.device
    torch: str

    def keys(
        self, experiments: Sequence[Experiment], what: Literal["trained", "measures"] = "measures"
    ) -> list[str]:
        """Under which a store keeps what is done here."""
        return Store.keys(experiments, self.device, what, self.torch)

    def kept(
        self, experiments: Sequence[Experiment], store: Store | None, weights: bool
    ) -> Iterator[tuple[list[int], xr.Dataset]]:
        """Which of these are measured already, and trained for good if their weights are wanted."""
        if store is None:
            return
        wanted = store.holds(self.keys(experiments, "trained")) if weights else None
        fits = partial(refuse_other_columns, experiments)
        for at, rows in store.find(self.keys(experiments), fits):
            these = [k for k, i in enumerate(at) if wanted is None or wanted[i]]
            if these:
                yield [at[k] for k in these], rows.isel(inst=these)

    def so_far(self, experiments: Sequence[Experiment], done: int, store: Store | None) -> str:
        """A sentence on how many are done, and what becomes of them."""
        if store is None:
            return f"{done} of {len(experiments)} experiments were done; no store keeps them."
        kept = sum(store.holds(self.keys(experiments)))
        which = f"{kept} of {len(experiments)} experiments"
        return f"{which} were done and are kept; run it again to go on."

    def _packs(self, store: Store | None, experiments: Sequence[Experiment]) -> Packs:
        """What is trained already, though not measured."""
        fits = partial(refuse_other_weights, experiments)
        return store.find(self.keys(experiments, "trained"), fits) if store else []


class _Failures:
    """What went wrong so far: how often, and the first error."""

    def __init__(self) -> None:
        self.n = 0
        self.first: BaseException | None = None

    def add(self, error: BaseException, times: int = 1) -> None:
        """Another one; what its frames hold is let go, so that the others have the memory."""
        traceback.clear_frames(error.__traceback__)
        self.n += times
        self.first = self.first or error

    def raise_any(self, n_groups: int, so_far: Callable[[], str]) -> None:
        """The end of a sweep in which something failed."""
        if self.first is not None:
            raise SweepError(
                f"{self.n} of {n_groups} groups of experiments failed ({reason(self.first)}). "
                + so_far()
            ) from self.first


class ThisProcess(Workers):
    """This process, with all its threads or its GPU."""

    def __init__(self, device: str | torch.device):
        self.device, self.torch = device_named(device), TORCH

    def work(
        self, experiments: Sequence[Experiment], missing: Sequence[int], store: Store | None,
        weights: bool,
    ) -> Generator[Result, None, None]:  # fmt: skip
        """Each group of those that are missing, as soon as it is done.

        Raises:
            SweepError: if groups failed, when all others are done.
        """
        most = MOST_ON_CUDA if self.device.type == "cuda" else None
        tasks = list(groups(experiments, self.device, missing, most))
        random.Random().shuffle(tasks)  # so that two runs of one sweep share the work
        done, failures = len(experiments) - len(missing), _Failures()
        for at in tasks:
            try:
                for result in self._results(experiments, at, store, weights):
                    yield result
                    done += len(result[0])
            except Exception as error:
                failures.add(error)
        failures.raise_any(len(tasks), lambda: self.so_far(experiments, done, store))

    def _results(
        self, experiments: Sequence[Experiment], at: Sequence[int], store: Store | None,
        weights: bool,
    ) -> Iterator[Result]:  # fmt: skip
        """What another process has kept meanwhile, then the rest."""
        done = set()
        for some, rows in self.kept([experiments[i] for i in at], store, weights):
            done |= {at[k] for k in some}
            yield [at[k] for k in some], rows, []
        if left := [i for i in at if i not in done]:
            rest = [experiments[i] for i in left]
            yield left, *measure(rest, self._packs(store, rest), self.device, weights)


class OtherWorkers(Workers):
    """The workers of an executor.

    Raises:
        SweepError: if the executor takes no work, no worker answers, or the first one that does
            cannot help.
    """

    def __init__(self, device: str | torch.device, executor: Executor):
        self.asked, self.executor = str(device), executor
        tasks = Tasks(executor, SECONDS_OF_SILENCE)
        try:
            tasks.submit([], _introduction, self.asked, source_hash())
            [(_, (introduction, error))] = tasks.results()
            if error is not None:
                raise error
            self.torch, kind = introduction
            self.device = torch.device(kind)
        except Exception as error:
            raise SweepError(
                f"The executor cannot help: {reason(error)}. Nothing was trained."
            ) from error
        finally:
            tasks.cancel()
        self.on = kind if self.asked == "auto" else self.asked

    def work(
        self, experiments: Sequence[Experiment], missing: Sequence[int], store: Store | None,
        weights: bool,
    ) -> Generator[Result, None, None]:  # fmt: skip
        """Each task, as soon as its result is there.

        Raises:
            SweepError: if tasks failed, when all others are done; at once if a worker has another
                version, because it would fail whatever else it is given, or if no task has ended
                for :data:`faithnb.sweeps.tasks.SECONDS_WITHOUT_A_RESULT`.
        """
        most = MOST_ON_CUDA if self.device.type == "cuda" else MAX_INSTANCES
        most = min(most, max(FEWEST, -(-len(missing) // (4 * width(self.executor)))))
        parts = list(groups(experiments, torch.device("cpu"), missing, most))
        done, failures = len(experiments) - len(missing), _Failures()
        tasks = Tasks(self.executor, SECONDS_OF_WORK)
        try:
            every = self._outcomes(tasks, parts, experiments, store, weights, failures)
            for at, (result, error) in every:
                if error is not None:
                    failures.add(error)
                    if isinstance(error, _AnotherVersion):
                        break
                    continue
                columns, trained = result
                yield at, columns, trained
                done += len(at)
                _warn_of_divergence(columns)
        except Silence as error:
            failures.add(error, len(tasks.pending))
        finally:
            tasks.cancel()
        failures.raise_any(len(parts), lambda: self.so_far(experiments, done, store))

    def _outcomes(
        self, tasks: Tasks, parts: Sequence[list[int]], experiments: Sequence[Experiment],
        store: Store | None, weights: bool, failures: _Failures,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Hand all parts out, and give each result as soon as it is there, because an executor may
        take a part only when another is done. When no more are taken, the others are still waited
        for."""
        for k, at in enumerate(parts):
            some = [experiments[i] for i in at]
            added = digests("measure") + [one for e in some for one in e.added()]
            files = {path: digest for e in some for path, digest in e.files().items()}
            version = source_hash(), self.torch, added, files
            given = some, self._packs(store, some), self.on, weights, version
            try:
                tasks.submit(at, _task, *given)
            except Exception as error:
                failures.add(error, len(parts) - k)
                break
            yield from tasks.ended()
        yield from tasks.results()


def _warn_of_divergence(columns: xr.Dataset) -> None:
    """A worker's warnings stay with it."""
    if lost := int(columns.mse.isnull().sum()):
        warnings.warn(
            f"{lost} of {columns.sizes['inst']} experiments of a task diverged; their metrics are "
            "NaN.",
            DivergenceWarning,
            stacklevel=4,
        )


def cores() -> int:
    """How many cores this process may use, which a cluster's scheduler can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def width(executor: Executor) -> int:
    """How many tasks it can do at a time, as far as it tells; at least one."""
    client = dask_client(executor)
    try:
        if client is None:
            count = executor._max_workers  # type: ignore[attr-defined]
        else:
            count = within(SECONDS_TO_COUNT, lambda: sum(client.nthreads().values()))
        return max(1, int(count))
    except Exception:
        return 1


def _introduction(device: str, source: str) -> tuple[str, str]:
    """A worker's torch and kind of device."""
    _refuse_another_version(source, TORCH)
    return TORCH, device_named(device).type


def _task(
    experiments: Sequence[Experiment], packs: Packs, device: str, weights: bool,
    version: tuple[str, str, list[str], dict[str, str]],
) -> tuple[xr.Dataset, Packs]:  # fmt: skip
    _refuse_another_version(*version)
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    return measure(experiments, packs, device, weights)


def _refuse_another_version(
    source: str, torch_version: str, added: Sequence[str] = (), files: Mapping[str, str] = {}
) -> None:
    here = {one for registry in REGISTRIES for one in digests(registry.kind)}
    if missing := [one for one in added if one not in here]:
        kind, name, *_ = missing[0].split()
        raise _AnotherVersion(
            f"the worker on {socket.gethostname()} does not have the {kind} {name!r} as it is "
            "here. Put it into a module, and import that where the workers start."
        )
    for path, digest in files.items():
        if not Path(path).is_file() or digest_of(Path(path)) != digest:
            raise _AnotherVersion(
                f"the worker on {socket.gethostname()} does not have the file {path} as it is "
                "here. Copy it there, to the same place."
            )
    other = ""
    if source != source_hash():
        other = f"faithnb (source {source_hash()}, here {source})"
    elif torch_version != TORCH:
        other = f"torch ({TORCH}, the first worker has {torch_version})"
    if other:
        raise _AnotherVersion(
            f"the worker on {socket.gethostname()} runs another version of {other}, and its "
            "results could differ. Install the same version there and start it again."
        )
