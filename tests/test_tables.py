import numpy as np
import pandas as pd
import pytest
import xarray as xr
from IPython.core.interactiveshell import InteractiveShell

from faithnb import tables


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.06319, "0.063"), (2.8041, "2.8"), (-0.05, "-0.05"), (0.0, "0"),
        (1.0, "1"), (123.4, "123"),
        (20000.0, "20,000"), (0.00001234, "1.2e-05"), (float("nan"), "–"),
        (16, "16"), (True, "True"),
        (np.float32(0.25), "0.25"), (np.int64(20000), "20,000"), ("15/16", "15/16"),
    ],
)  # fmt: skip
def test_numbers_have_two_significant_digits(value, shown):
    assert tables.in_digits(value) == shown


def test_shares_of_few_are_counts():
    hits = xr.DataArray([[True, False], [True, True]])
    shown = [tables.counted(of) for of in (hits, hits.values, pd.Series([False]), [True, True], [])]
    assert shown == ["3/4", "3/4", "0/1", "2/2", "0/0"]


def test_rows_that_are_only_counted_have_no_number():
    frame = pd.DataFrame({"FVU": [0.12345, 0.5], "form": ["none", "<b>"]})
    assert tables.as_html(frame).count("<th") == 2 + 1  # and <thead>
    named = tables.as_html(frame.set_index("form"))
    assert "<th>none</th>" in named
    assert "0.12<" in named
    assert "&lt;b&gt;" in named


def test_a_long_table_is_shown_as_pandas_does():
    assert "..." in tables.as_html(pd.DataFrame({"n": range(200)}))


def test_a_notebook_shows_data_frames_so():
    tables.show_tables_so()  # outside a notebook
    shell = InteractiveShell.instance()
    try:
        tables.show_tables_so()
        data, _ = shell.display_formatter.format(pd.DataFrame({"FVU": [0.12345]}))
        assert "<td>0.12</td>" in data["text/html"]
    finally:
        InteractiveShell.clear_instance()
