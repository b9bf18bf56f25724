"""Dask as the engine of a sweep: ``pip install 'faithnb[cluster]'``."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import Executor
from typing import Any

from faithnb.common.errors import ParameterError
from faithnb.parameters import Address, Range, clean, host_and_port
from faithnb.sweeps.tasks import SweepError, dask_client, within
from faithnb.sweeps.workers import cores

SECONDS_TO_ANSWER = 20
"""Within which a scheduler must have answered at its address."""

SECONDS_TO_START = 300
"""Within which worker processes must have started on this machine."""

_known: dict[tuple[str, int | None], Executor] = {}


class _Scheduler(Address):
    """Allowed: "local", or the address of a scheduler."""

    def clean(self, value: Any) -> str:
        if value == "here":
            raise ValueError
        return super().clean(value)

    def __str__(self) -> str:
        return super().__str__().removeprefix("'here', ").replace("'local', or", "'local' or")


def connect(scheduler: str, n_workers: int | None = None) -> Executor:
    """An executor for :func:`faithnb.sweep` whose tasks run on a Dask cluster.

    Workers may die, retire and join meanwhile: Dask gives what a lost one was doing to another.
    Asked again for the same one while it is there, the executor is the same. In a script call it
    below ``if __name__ == "__main__":``, because worker processes import the script.

    Args:
        scheduler: ``"local"`` starts worker processes on this machine, which end with this one. An
            address such as ``tcp://host:8786`` joins a cluster that runs already; its workers need
            the same version of this package. For ``tls://`` Dask's configuration must name the
            certificates.
        n_workers: of ``"local"``; as many as there are cores by default.

    Raises:
        ParameterError: if Dask is not installed, or the scheduler or the number of workers is not
            allowed.
        SweepError: if nobody answers at the address within 20 seconds, certificates are missing,
            or no workers can be started here.
    """
    scheduler = clean("scheduler", scheduler, _Scheduler())
    if n_workers is not None:
        n_workers = clean("n_workers", n_workers, Range(1, whole=True))
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ParameterError(
            f"scheduler = {scheduler!r} needs Dask: pip install 'faithnb[cluster]'."
        ) from None
    return _running(scheduler, n_workers) or _connect(scheduler, n_workers)


def _running(scheduler: str, n_workers: int | None) -> Executor | None:
    """The executor that is there already; another one of the same cluster if it was shut down."""
    known = _known.get((scheduler, n_workers))
    client = dask_client(known)
    if client is None or client.status != "running":
        return None
    if getattr(known, "_shutdown", False):
        known = _known[scheduler, n_workers] = client.get_executor(pure=False)
    return known


def _connect(scheduler: str, n_workers: int | None) -> Executor:
    """In a thread, because Dask itself may wait for ever; what comes too late is there for the
    next call."""

    def go() -> Executor:
        client = _started(n_workers or cores()) if scheduler == "local" else _joined(scheduler)
        executor = _known[scheduler, n_workers] = client.get_executor(pure=False)
        return executor

    if scheduler == "local":
        try:
            return within(SECONDS_TO_START, go)
        except Exception as error:
            raise SweepError(
                f"Worker processes could not be started here ({_reason(error)}). In a script, call "
                'connect below if __name__ == "__main__":'
            ) from error
    _require_certificates(scheduler)
    try:
        return within(SECONDS_TO_ANSWER, go)
    except Exception as error:
        late = isinstance(error, TimeoutError)
        why = f"within {SECONDS_TO_ANSWER} seconds" if late else f"({_reason(error)})"
        raise SweepError(
            f"Nobody answers at {scheduler} {why}. Is a scheduler running there, and can it be "
            "reached from here?"
        ) from error


def _started(n_workers: int) -> Any:
    """The client of a new cluster on this machine."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )
    return Client(cluster)


def _joined(address: str) -> Any:
    """The client of a cluster that is there. A name that does not exist, a port that is closed, and
    one that accepts and says nothing are found out first, since Dask would try again and again."""
    from distributed import Client
    from distributed.comm import connect as greet

    async def greeted() -> None:
        options = _security().get_connection_args("client")
        greeting = greet(address, timeout=SECONDS_TO_ANSWER, **options)
        (await asyncio.wait_for(greeting, SECONDS_TO_ANSWER)).abort()

    socket.create_connection(host_and_port(address), timeout=SECONDS_TO_ANSWER).close()
    try:
        asyncio.run(greeted())
    except OSError:
        raise
    except Exception as error:
        raise OSError("what answers there is no Dask scheduler") from error
    return Client(address, timeout=SECONDS_TO_ANSWER)


def _require_certificates(address: str) -> None:
    """Without them, Dask would fail on a connection that is to be encrypted."""
    if not address.startswith("tls://"):
        return
    try:
        context = _security().get_connection_args("client").get("ssl_context")
    except Exception as error:
        raise SweepError(
            f"{address} cannot be reached: the certificates in Dask's configuration cannot be used "
            f"({_reason(error)})."
        ) from error
    if context is None:
        raise SweepError(
            f"{address} cannot be reached: tls:// needs certificates, and Dask's configuration "
            "names none. Set distributed.comm.tls.ca-file, distributed.comm.tls.client.cert and "
            "distributed.comm.tls.client.key there."
        )


def _security() -> Any:
    from distributed.security import Security

    return Security()


def _reason(error: Exception) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
