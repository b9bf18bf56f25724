"""Dask as the engine of a sweep: ``pip install 'faithnb[cluster]'``."""

from __future__ import annotations

from concurrent.futures import Executor

from faithnb.errors import ParameterError
from faithnb.workers import SweepError, cores, dask_client

SECONDS_TO_ANSWER = 20
_known: dict[tuple[str, int | None], Executor] = {}


def connect(scheduler: str, n_workers: int | None = None) -> Executor:
    """An executor for :func:`faithnb.sweep` whose tasks run on a Dask cluster.

    Workers may die, retire and join meanwhile: Dask gives what a lost one was doing to another.
    Asked again for the same one while it is there, the executor is the same. In a script call it
    below ``if __name__ == "__main__":``, because worker processes import the script.

    Args:
        scheduler: ``"local"`` starts worker processes on this machine, which end with this one. An
            address such as ``tcp://host:8786`` joins a cluster that runs already; its workers need
            the same version of this package.
        n_workers: of ``"local"``; as many as there are cores by default.

    Raises:
        ParameterError: if Dask is not installed.
        SweepError: if nobody answers at the address.
    """
    known = _known.get((scheduler, n_workers))
    if known is None or dask_client(known).status != "running":
        known = _known[scheduler, n_workers] = _connect(scheduler, n_workers)
    return known


def _connect(scheduler: str, n_workers: int | None) -> Executor:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ParameterError(
            f"scheduler = {scheduler!r} needs Dask: pip install 'faithnb[cluster]'."
        ) from None
    if scheduler == "local":
        cluster = LocalCluster(
            n_workers=n_workers or cores(), threads_per_worker=1, dashboard_address="127.0.0.1:0"
        )
        return Client(cluster).get_executor(pure=False)
    try:
        client = Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError) as error:
        raise SweepError(
            f"Nobody answers at {scheduler} within {SECONDS_TO_ANSWER} seconds ({error}). Is a "
            "scheduler running there, and can it be reached from here?"
        ) from error
    return client.get_executor(pure=False)
