"""Who does the work of a sweep: this process, or the workers of an executor."""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, as_completed, wait
from functools import partial
from typing import Any, Literal

import torch
import xarray as xr

from faithnb.experiment import Experiment
from faithnb.metrics import refuse_other_columns
from faithnb.store import Store, source_hash
from faithnb.training import (
    MAX_INSTANCES,
    DivergenceWarning,
    assembled,
    device_named,
    groups,
    packed,
    refuse_other_weights,
    train,
    unpacked,
)

Packs = list[tuple[list[int], xr.Dataset]]
"""Transcoders with their histories as :func:`faithnb.training.packed` has them, and which of the
experiments they are."""

Result = tuple[list[int], xr.Dataset, Packs]
"""Which experiments, their measures, and their transcoders if these are to be kept."""

FEWEST, MOST_ON_CUDA = 16, 1024
"""Experiments that are trained and kept together: on a GPU at most 1024, so that a sweep shows
progress and loses little; elsewhere at most ``MAX_INSTANCES``. A task for an executor has at least
16."""

SECONDS_OF_SILENCE = 60


class SweepError(RuntimeError):
    """A worker could not do its part; the message says why, and what was kept."""


def measure(
    experiments: Sequence[Experiment], packs: Packs, device: str | torch.device, weights: bool
) -> tuple[xr.Dataset, Packs]:
    """Train what is not trained, and measure everything: what a worker does."""
    there = {i for at, _ in packs for i in at}
    parts = [(at, *unpacked(kept)) for at, kept in packs]
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)  # said when it was trained
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

    def _packs(self, store: Store | None, experiments: Sequence[Experiment]) -> Packs:
        """What is trained already, though not measured."""
        fits = partial(refuse_other_weights, experiments)
        return store.find(self.keys(experiments, "trained"), fits) if store else []


class Here(Workers):
    """This process, with all its threads or its GPU."""

    def __init__(self, device: str | torch.device):
        self.device, self.torch = device_named(device), torch.__version__

    def work(
        self, experiments: Sequence[Experiment], missing: Sequence[int], store: Store | None,
        weights: bool,
    ) -> Iterator[Result]:  # fmt: skip
        """Each group of those that are missing, as soon as it is done."""
        most = MOST_ON_CUDA if self.device.type == "cuda" else None
        tasks = list(groups(experiments, self.device, missing, most))
        random.Random().shuffle(tasks)  # so that two runs of one sweep share the work
        for at in tasks:
            done = set()
            for some, rows in self.kept([experiments[i] for i in at], store, weights):
                done |= {at[k] for k in some}
                yield [at[k] for k in some], rows, []
            if at := [i for i in at if i not in done]:
                rest = [experiments[i] for i in at]
                yield at, *measure(rest, self._packs(store, rest), self.device, weights)


class There(Workers):
    """The workers of an executor."""

    def __init__(self, device: str | torch.device, executor: Executor):
        self.asked, self.executor = str(device), executor
        first = executor.submit(_introduction, self.asked, source_hash())
        if wait([first], timeout=SECONDS_OF_SILENCE).not_done:
            warnings.warn(
                f"No worker has answered for {SECONDS_OF_SILENCE} seconds; waiting for one.",
                stacklevel=3,
            )
        try:
            self.torch, kind = first.result()
        except Exception as error:
            raise SweepError(f"The first worker that answered cannot help: {error}") from error
        self.device = torch.device(kind)
        self.on = kind if self.asked == "auto" else self.asked

    def work(
        self, experiments: Sequence[Experiment], missing: Sequence[int], store: Store | None,
        weights: bool,
    ) -> Iterator[Result]:  # fmt: skip
        """Each task, as soon as its result is there.

        Raises:
            SweepError: if tasks failed, when all others are done; at once if a worker has another
                version, because it would fail whatever else it is given.
        """
        most = MOST_ON_CUDA if self.device.type == "cuda" else MAX_INSTANCES
        most = min(most, max(FEWEST, -(-len(missing) // (4 * _width(self.executor)))))
        tasks: dict[Future[tuple[xr.Dataset, Packs]], list[int]] = {}
        for at in groups(experiments, torch.device("cpu"), missing, most):
            some = [experiments[i] for i in at]
            packs = self._packs(store, some)
            future = self.executor.submit(
                _task, some, packs, self.on, weights, source_hash(), self.torch
            )
            tasks[future] = at
        n, failures = len(tasks), []
        try:
            for future in as_completed(list(tasks)):
                at = tasks.pop(future)  # a result is not held longer than it is needed
                try:
                    columns, trained = future.result()
                except (Exception, CancelledError) as error:
                    failures.append(error)
                    if isinstance(error, SweepError):
                        break
                    continue
                _warn_of_divergence(columns)
                yield at, columns, trained
        finally:
            for future in tasks:
                future.cancel()
        if failures:
            done = n - len(tasks) - len(failures)
            kept = f" {done} were done and are kept; run it again to go on." if store else ""
            first = f"{type(failures[0]).__name__}: {failures[0]}"
            raise SweepError(
                f"Workers failed in {len(failures)} of {n} tasks ({first})." + kept
            ) from failures[0]


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


def dask_client(executor: Executor) -> Any:
    """The client behind an executor of Dask's; ``None`` behind any other."""
    return getattr(executor, "_client", None)


def _width(executor: Executor) -> int:
    """How many tasks it can do at a time."""
    if client := dask_client(executor):
        return max(1, sum(client.nthreads().values()))
    return max(1, getattr(executor, "_max_workers", None) or 1)


def _introduction(device: str, source: str) -> tuple[str, str]:
    """A worker's torch and kind of device."""
    _refuse_another_version(source, torch.__version__)
    return torch.__version__, device_named(device).type


def _task(
    experiments: Sequence[Experiment], packs: Packs, device: str, weights: bool, source: str,
    torch_version: str,
) -> tuple[xr.Dataset, Packs]:  # fmt: skip
    _refuse_another_version(source, torch_version)
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    return measure(experiments, packs, device, weights)


def _refuse_another_version(source: str, torch_version: str) -> None:
    other = ""
    if source != source_hash():
        other = f"faithnb (source {source_hash()}, here {source})"
    elif torch_version != torch.__version__:
        other = f"torch ({torch.__version__}, the first worker has {torch_version})"
    if other:
        raise SweepError(
            f"the worker on {socket.gethostname()} runs another version of {other}, and its "
            "results could differ. Install the same version there and start it again."
        )
