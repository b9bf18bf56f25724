"""How tables look in a notebook: two significant digits, and no index that only counts rows."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import pandas as pd

MOST_ROWS = 60
"""Longer tables are shown as pandas shows them, with their middle left out."""


def in_digits(value: Any) -> str:
    """A value in a table: a number that is no whole one with two significant digits, from 100 on
    without decimals; a dash where there is none."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        return str(value)
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    number = float(value)
    if np.isnan(number):
        return "–"
    return f"{number:,.0f}" if 100 <= abs(number) < 1e7 else f"{float(f'{number:.2g}'):g}"


def counted(hits: Any) -> str:
    """How many booleans of an array are True, and of how many, for a table: ``"15/16"``."""
    values = np.asarray(hits, dtype=bool)
    return f"{values.sum()}/{values.size}"


def as_html(frame: pd.DataFrame) -> str:
    """A table for a page; rows that are only counted have no number."""
    if len(frame) > MOST_ROWS:
        return frame._repr_html_()
    counted = isinstance(frame.index, pd.RangeIndex)
    return frame.map(in_digits).to_html(index=not counted, border=0)


def show_tables_so() -> None:
    """From now on a notebook shows data frames so; outside a notebook nothing happens."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is not None:
        formatter = shell.display_formatter.formatters["text/html"]
        formatter.for_type(pd.DataFrame, as_html)
