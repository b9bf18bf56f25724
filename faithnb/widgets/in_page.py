"""HTML that stands by itself, and a script that moves it where scripts run: no kernel, no library.

A widget of Jupyter's needs two megabytes of scripts before it shows anything. The first pages of
the book show something at once, also where no script runs, and these scripts change what is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from faithnb.widgets.bundle import PAGE, STYLE, script

FRONT = (PAGE / "front.css").read_text(encoding="utf-8")


class InPage:
    """What stands in a page, with a script of ``js/`` that is given it and some data.

    The script is one of the widgets': its ``render`` is given ``el``, the element around the HTML,
    and ``model``, whose ``get`` gives the data by name.

    Args:
        html: what stands there without scripts.
        module: the script's name, such as ``"slides.js"``; none if nothing moves.
        data: what the script is given.
    """

    def __init__(self, html: str, module: str = "", data: Mapping[str, Any] | None = None):
        self.html, self.module, self.data = html, module, dict(data or {})

    def _repr_html_(self) -> str:
        style = FRONT + (STYLE if self.module == "mechanism.js" else "")
        text = json.dumps(self.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
        name = "fn-" + hashlib.sha256((self.html + text).encode()).hexdigest()[:12]
        stands = f'<style>{style}</style><div class="fn-front" id="{name}">{self.html}</div>'
        if not self.module:
            return stands
        moves = script(self.module).replace("export default", "const widget =")
        start = (
            f'const data = JSON.parse(document.getElementById("{name}-data").textContent);'
            "const model = { get: (key) => data[key] };"
            f'widget.render({{ model, el: document.getElementById("{name}") }});'
        )
        return (
            f'{stands}<script type="application/json" id="{name}-data">{text}</script>'
            f'<script type="module">{moves}\n{start}</script>'
        )
