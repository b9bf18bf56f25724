"""Tasks that an executor was given, and waiting for them: never without an end."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, TypeVar

SECONDS_OF_SILENCE = 60
"""After which a warning says that no worker has answered; again after twice as long, and so on."""

SECONDS_OF_WORK = 600
"""The same for a result: a task may take long."""

SECONDS_WITHOUT_A_RESULT = 24 * 3600
"""After which nobody is waited for any longer."""

SECONDS_BETWEEN_LOOKS = 1.0
"""How often futures are looked at that may have ended without a word."""

T = TypeVar("T")

Outcome = tuple[list[int], tuple[Any, Exception | None]]
"""Which experiments, and their task's result or its error."""


class SweepError(RuntimeError):
    """A part of a sweep could not be done; the message says why, and what was kept."""


class Silence(SweepError):
    """Nothing more can be expected."""


class WaitedTooLong(TimeoutError):
    """Of :func:`within`; a call may raise a ``TimeoutError`` of its own."""


class Tasks:
    """What an executor was given to do, until it is done.

    Args:
        executor: who does it.
        patience: seconds without a result after which a warning says so for the first time.
    """

    def __init__(self, executor: Executor, patience: float):
        self.executor, self.patience = executor, patience
        self.pending: dict[Future[Any], list[int]] = {}
        self._ended: SimpleQueue[Future[Any]] = SimpleQueue()

    def submit(self, at: list[int], call: Callable[..., Any], *given: Any) -> None:
        """Another task, for these experiments.

        Raises:
            Silence: if the executor does not take it, and does not refuse it either.
            Exception: what the executor raises.
        """
        try:
            future = within(SECONDS_WITHOUT_A_RESULT, lambda: self.executor.submit(call, *given))
        except WaitedTooLong:
            waited = _duration(SECONDS_WITHOUT_A_RESULT)
            raise Silence(f"the executor has taken no task for {waited}") from None
        self.pending[future] = at
        future.add_done_callback(self._ended.put)

    def ended(self) -> Iterator[Outcome]:
        """Each task that has ended by now."""
        with suppress(Empty):
            while True:
                future = self._ended.get_nowait()
                if future in self.pending:
                    yield self._taken(future)

    def results(self) -> Iterator[Outcome]:
        """Each task as soon as it has ended.

        Raises:
            Silence: if nothing more can be expected; what is left is still ``pending``.
        """
        while self.pending:
            yield self._taken(self._next())

    def cancel(self) -> None:
        """Those that have not begun."""
        for future in self.pending:
            future.cancel()

    def _taken(self, future: Future[Any]) -> Outcome:
        at = self.pending.pop(future)  # a result is not held longer than it is needed
        return at, self._outcome(future)

    def _next(self) -> Future[Any]:
        began, said = monotonic(), self.patience
        while (waited := monotonic() - began) < SECONDS_WITHOUT_A_RESULT:
            future = self._look()
            if future is not None and future in self.pending:
                return future
            client = dask_client(self.executor)
            if future is None and getattr(client, "status", "") == "closed":
                raise Silence(SCHEDULER_LOST)
            if waited >= said:
                said = 2 * waited
                _warn_of_silence(waited)
        raise Silence(f"no worker has answered for {_duration(SECONDS_WITHOUT_A_RESULT)}")

    def _look(self) -> Future[Any] | None:
        """One that has ended. An executor that is shut down may cancel its tasks without a word."""
        with suppress(Empty):
            return self._ended.get(timeout=SECONDS_BETWEEN_LOOKS)
        return next((future for future in self.pending if future.done()), None)

    def _outcome(self, future: Future[Any]) -> tuple[Any, Exception | None]:
        """The worker's error is not raised: its KeyboardInterrupt would look like ours."""
        try:
            error = future.exception(timeout=0)
        except CancelledError as cancelled:
            error = cancelled
        if isinstance(error, (CancelledError, asyncio.CancelledError)):
            return None, SweepError(self._why_cancelled())
        if error is not None and not isinstance(error, Exception):
            return None, SweepError(f"a worker was stopped by {reason(error)}")
        return (future.result(), None) if error is None else (None, error)

    def _why_cancelled(self) -> str:
        if dask_client(self.executor) is None or getattr(self.executor, "_shutdown", False):
            return "the executor was shut down"
        return SCHEDULER_LOST


SCHEDULER_LOST = "the connection to the Dask scheduler was lost, or the scheduler was restarted"


def reason(error: BaseException) -> str:
    """What an error says, with its kind unless the sentence is ours."""
    said = str(error).strip().rstrip(".")
    if isinstance(error, SweepError):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _duration(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _warn_of_silence(seconds: float) -> None:
    warnings.warn(
        f"No worker has answered for {_duration(seconds)}; waiting for one.", stacklevel=6
    )


def within(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives, if it gives it in time. If not, it goes on in a thread that does not keep
    the interpreter from ending.

    Raises:
        WaitedTooLong: if it takes longer.
        BaseException: what the call raises.
    """
    ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def go() -> None:
        try:
            ended.put((call(), None))
        except BaseException as error:
            ended.put((None, error))

    here = copy_context()
    Thread(target=here.run, args=(go,), name="faithnb.within", daemon=True).start()
    try:
        value, error = ended.get(timeout=seconds)
    except Empty:
        raise WaitedTooLong(f"no answer within {_duration(seconds)}") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def dask_client(executor: Executor | None) -> Any:
    """The client behind an executor of Dask's; ``None`` behind any other."""
    return getattr(executor, "_client", None)
