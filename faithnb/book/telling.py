"""What a build says while it runs: one bar over all of it, a first page, and how long it takes."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from nbformat import NotebookNode
from tqdm import tqdm

from faithnb.book.costs import Cost
from faithnb.book.processes import say_at_once
from faithnb.book.so_far import SoFar

BAR = "{percentage:3.0f} % |{bar}| {desc}"
RENDERING = "rendering"
SECONDS_BETWEEN_PAGES = 2.0
SURE = 0.1
"""Share of the work after which the time left follows from the time so far alone."""


class Silent:
    """Says nothing but lines, as where one notebook runs."""

    def say(self, line: str) -> None:
        """A line about what is done."""
        say_at_once(line)

    def begins(self, name: str) -> None:
        """A notebook, or the rendering, begins."""

    def reaches(self, name: str, n_cells: int, of: int, stage: str) -> None:
        """A notebook has run so many of its cells with code, the next of them in this section."""

    def ends(self, name: str, notebook: NotebookNode | None = None) -> None:
        """A notebook has ended, and can be read."""


class Telling(Silent):
    """A bar in a terminal, lines elsewhere, and a first page that follows."""

    def __init__(
        self,
        weights: Mapping[str, float],
        costs: Mapping[str, Cost],
        expected: float,
        page: SoFar | None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
            weights: seconds of each notebook and of the rendering; 0 if it is kept.
            costs: what notebooks were recorded to take, by cells.
            expected: seconds of the whole build; 0 if that is not known.
            page: the first page, if there is one.
            clock: in seconds.
        """
        self._weights, self._costs, self._expected = weights, costs, expected
        self._clock, self._page = clock, page
        self._lock = threading.RLock()
        self._done = dict.fromkeys(weights, 0.0)
        self._running: dict[str, str] = {}
        self._states = {
            name: "waits" if weight else "kept"
            for name, weight in weights.items() if name != RENDERING
        }  # fmt: skip
        self._started, self._written = clock(), -SECONDS_BETWEEN_PAGES
        self._bar: tqdm | None = None

    def __enter__(self) -> Telling:
        if sys.stderr.isatty():
            self._bar = tqdm(total=100, bar_format=BAR, dynamic_ncols=True, leave=False)
        self._show(at_once=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.close()
                self._bar = None
            if self._page is not None:
                states = {n: "waits" if n in self._running else s for n, s in self._states.items()}
                self._page.write(states, self.share, "", _ended(kind))

    @property
    def share(self) -> float:
        """The share of the work that is done."""
        total = sum(self._weights.values())
        return (
            sum(w * self._done[name] for name, w in self._weights.items()) / total if total else 0
        )

    @property
    def left(self) -> float:
        """Seconds that are left: first as foretold, then more and more as the work goes."""
        share = self.share
        if not share:
            return self._expected
        so_far = (self._clock() - self._started) / share * (1 - share)
        trust = min(1.0, share / SURE) if self._expected else 1.0
        return trust * so_far + (1 - trust) * self._expected * (1 - share)

    def say(self, line: str) -> None:
        with self._lock:
            if self._bar is None:
                say_at_once(line)
            else:
                self._bar.write(line)

    def begins(self, name: str) -> None:
        with self._lock:
            self._running[name] = ""
            if name in self._states and self._weights[name]:
                self._states[name] = "runs"
            self._show()

    def reaches(self, name: str, n_cells: int, of: int, stage: str) -> None:
        with self._lock:
            self._done[name] = self._costs.get(name, Cost(0)).done(n_cells, of)
            self._running[name] = stage
            self._states[name] = f"runs: {stage}" if stage else "runs"
            self._show()

    def ends(self, name: str, notebook: NotebookNode | None = None) -> None:
        if self._page is not None and notebook is not None:
            self._page.finished(name, notebook)
        with self._lock:
            self._done[name] = 1.0
            self._running.pop(name, None)
            if name in self._states:
                self._states[name] = "finished" if self._weights[name] else "kept"
            if self._bar is None and self._weights[name] and name != RENDERING:
                say_at_once(f"{self.share:.0%} done, {in_minutes(self.left)} left")
            self._show(at_once=True)

    def _show(self, at_once: bool = False) -> None:
        said = f"{in_minutes(self.left)} left" if self.share or self._expected else ""
        if self._bar is not None:
            runs = " · ".join(f"{_short(n)} {s}".strip() for n, s in self._running.items())
            self._bar.n = round(100 * self.share, 1)
            self._bar.set_description_str(f"{said}  {runs}")
        now = self._clock()
        if self._page is not None and (at_once or now - self._written >= SECONDS_BETWEEN_PAGES):
            self._written = now
            self._page.write(self._states, self.share, said)


def _ended(by: type[BaseException] | None) -> str:
    """What the first page says at the end of a build."""
    if by is None:
        return '<p><a href="../html/index.html">The finished book</a></p>'
    how = "was interrupted" if by is KeyboardInterrupt else "stopped"
    return f"<p>The build {how}. Chapters that had finished are kept.</p>"


def _short(name: str) -> str:
    """A chapter's number, or its name where it has none."""
    number = name.partition("_")[0]
    return number if number.isdigit() else name.replace("_", " ")


def in_minutes(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 50:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
