"""The scripts of the widgets, each as one module that asks for nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Colormap, to_hex

from faithnb import measures
from faithnb.figures import style
from faithnb.measures import circuits, codes
from faithnb.training import trained

PAGE = Path(__file__).parent / "js"
STYLE = (PAGE / "style.css").read_text(encoding="utf-8")

LOST = "#595959"
"""The colour of a transcoder that lost the task: a grey darker than that of the state ``other``."""

IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)


def constants() -> dict[str, Any]:
    """What the scripts share with the package: thresholds and colours."""
    return {
        "METRICS": {
            "contributes": measures.CONTRIBUTES, "aligned": measures.ALIGNED,
            "datapoint": measures.DATAPOINT, "partial": measures.PARTIAL,
            "diverged": trained.DIVERGED_AT, "lost": measures.TASK_LOST,
        },
        "CIRCUITS": {
            "thresholds": circuits.THRESHOLDS, "sparsity": codes.SPARSITY,
            "loaded": circuits.LOADED,
        },
        "COLOURS": {
            "ink": style.INK, "grey": style.GREY,
            "states": style.STATE_COLOURS | {"lost the task": LOST}, "terms": style.TERM_COLOURS,
            "series": [colour for colour, _ in style.LOOKS],
            "signed": _stops(style.SIGNED), "loading": _stops(style.LOADING),
            "share": _stops(style.SHARE),
        },
    }  # fmt: skip


def _stops(scale: Colormap, n: int = 9) -> list[str]:
    return [to_hex(scale(t)) for t in np.linspace(0, 1, n)]


def script(name: str) -> str:
    """A file of ``js/`` and all that it imports, as one module that asks for nothing else.

    ``constants.js`` is made here; its ``WORKER`` is the source of ``worker.js``, so that a page
    can start one without a server.
    """
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in texts:
            return
        source = "" if name == "constants.js" else (PAGE / name).read_text(encoding="utf-8")
        for needed in IMPORT.findall(source):
            add(needed)
        texts[name] = IMPORT.sub("", source)

    add(name)
    if "constants.js" in texts:
        known = constants()
        if any(re.search(r"\bWORKER\b", text) for text in texts.values()):
            known["WORKER"] = re.sub(r"^export ", "", script("worker.js"), flags=re.MULTILINE)
        lines = (f"const {key} = {json.dumps(value)};\n" for key, value in known.items())
        texts["constants.js"] = "".join(lines)
    return "\n".join(texts.values())
