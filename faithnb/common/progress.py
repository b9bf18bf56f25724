"""One bar for everything long: in notebooks, terminals and logs."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm as plain
from tqdm.auto import tqdm

SECONDS_BETWEEN_LINES = 15.0


class _Lines(plain):
    """A bar for logs: now and then a line of its own, instead of one that is drawn over."""

    @staticmethod
    def status_printer(file: Any) -> Any:
        lines = 0

        def print_line(text: str) -> None:
            nonlocal lines
            if text.strip():
                file.write("\n" * (lines > 0) + text.strip())  # tqdm ends the last line itself
                file.flush()
                lines += 1

        return print_line


def progress_bar(
    total: int, unit: str, show: bool = True, desc: str | None = None, initial: int = 0
) -> plain:
    """A bar with what is done, the rate and the time left; line by line where nothing can be drawn
    over, as in a log.

    Args:
        total: how many units there are.
        unit: of what.
        show: whether to show anything.
        desc: in front of the bar.
        initial: units that were done before, which say nothing about the rate.
    """
    options: dict[str, Any] = {
        "total": total, "unit": unit, "desc": desc, "disable": not show, "initial": initial,
    }  # fmt: skip
    in_notebook = any(of.__module__ == "tqdm.notebook" for of in tqdm.__mro__)
    if sys.stderr.isatty() or in_notebook:
        return tqdm(**options)
    return _Lines(
        **options, ascii=True, ncols=0, mininterval=SECONDS_BETWEEN_LINES, miniters=1, leave=True
    )
