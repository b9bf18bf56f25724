"""The benchmark as a widget: a table to sort and filter, curves, differences in words."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from faithnb.widgets.bundle import STYLE, script


class Board(anywidget.AnyWidget):
    """All entries of the benchmark. It needs no kernel.

    Args:
        page: from :func:`faithnb.benchmark.page.page_of`.
    """

    _esm = script("board.js")
    _css = STYLE

    packed: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, page: Mapping[str, Any]):
        rows = page["differences"]
        by_column = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
        packed = dict(page) | {"differences": by_column}  # much smaller, as there are thousands
        text = json.dumps(packed, separators=(",", ":"), allow_nan=False)
        super().__init__(packed=base64.b64encode(zlib.compress(text.encode(), 9)).decode())
