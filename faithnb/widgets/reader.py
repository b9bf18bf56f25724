"""Windows of text to read token by token: features, replaced tokens, and what the layer does."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.lm.reading import Reading, Window
from faithnb.widgets.bundle import STYLE, script

MOST_BYTES = 300_000
"""What the widget may take in a page, without its scripts."""


class Reader(anywidget.AnyWidget):
    """Point at a token: which features act there, what they predict for another token in its place,
    and what the layer does. It needs no kernel.

    Args:
        windows: from :func:`faithnb.lm.reading.read_window`.

    Raises:
        InputError: if there is no window, or the page would become too large.
    """

    _esm = script("reader.js")
    _css = STYLE

    packed: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, windows: Sequence[Window]):
        if not windows:
            raise InputError("windows = [] is not allowed: there must be at least one.")
        text = json.dumps([_page_of(w) for w in windows], separators=(",", ":"), allow_nan=False)
        packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        if len(packed) > MOST_BYTES:
            raise InputError(
                f"windows of {len(packed):,} bytes are not allowed: a page holds {MOST_BYTES:,}; "
                "replace fewer tokens, or show fewer transcoders or windows."
            )
        super().__init__(packed=packed)


def read_along(windows: Sequence[Window]) -> Reader:
    """Windows of text in a widget: see :class:`Reader`.

    Raises:
        InputError: if there is no window, or the page would become too large.
    """
    return Reader(windows)


def _page_of(window: Window) -> dict[str, Any]:
    return {
        "title": window.title,
        "tokens": window.tokens,
        "replacements": window.replacements,
        "output": _rounded(window.output),
        "change": _behind(window.change, window),
        "transcoders": [
            {"name": name} | _read(r, window) for name, r in window.transcoders.items()
        ],
    }


def _read(reading: Reading, window: Window) -> dict[str, Any]:
    squares = ("change", "change_error", "patched", "patching_error")
    return {
        "features": reading.features.tolist(),
        "contributions": [_rounded(row) for row in reading.contributions],
        "n_active": reading.n_active.tolist(),
        "output_error": _rounded(reading.output_error),
    } | {name: _behind(getattr(reading, name), window) for name in squares}


def _behind(square: Float[Tensor, "pos pos"], window: Window) -> list[Any]:
    """Rows from the replaced token on; ``None`` where none is replaced."""
    given = zip(square, window.replacements, strict=True)
    return [None if r is None else _rounded(row[k:]) for k, (row, r) in enumerate(given)]


def _rounded(values: Tensor) -> list[float | None]:
    """To three digits; ``None`` for what is no number, which JSON has no word for."""
    return [float(f"{v:.3g}") if math.isfinite(v) else None for v in values.tolist()]
