"""What is certified, in words, as a table and as JSON."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

from faithnb.common.errors import InputError, shown
from faithnb.common.files import read_json, write_whole
from faithnb.model.transcoder import Transcoder

WORDS = {
    "worst_error": "|ŷ − y| of any output",
    "worst_off_diagonal": "|J_T − J_M| off the diagonal",
    "worst_jacobian_error": "|J_T − J_M| of any entry",
    "mechanism": "change of an output by other coordinates than its own",
    "faithful_radius": "radius within which the tolerance holds",
}
"""What each certificate bounds."""


@dataclass(frozen=True)
class Certificate:
    """A number that nothing in a box exceeds, and the input that comes nearest.

    Of a :func:`faithnb.certify.faithful_radius` the two are the other way round: within ``bound``
    all is faithful, and ``value`` is the distance of an input that is not.

    Attributes:
        what: which question, such as ``"worst_error"``.
        bound: the certified number, ``dual_bound`` and ``slack`` together.
        value: what the witness attains, evaluated in float64 by the transcoder and the layer.
        witness: the input, ``d_in`` numbers; two of them for a mechanism.
        entry: the output, or output and input, where it is attained, from 0.
        dual_bound: what the search proves.
        slack: what rounding, or the tolerances of the solver, may hide.
        gap: how far ``dual_bound`` and ``value`` are apart.
        closed: whether that is at most 1e-6. A certificate that is not closed is valid.
        seconds: that it took; few if its searches were kept.
        low: of the box, ``d_in`` numbers.
        high: likewise.
        by_output: a bound of each output alone; all are valid, and only with ``each`` are they as
            near as that of all.
        boxes: that splitting bounded.
        programs: mixed-integer programs that were solved.
        asked: what else the question depends on, such as the margin or a tolerance.
        weights: a hash of the transcoder's weights.
        layer: its name.
        source: where the transcoder was read, for whoever checks.
    """

    what: str
    bound: float
    value: float
    witness: tuple[Any, ...]
    entry: tuple[int, ...]
    dual_bound: float
    slack: float
    gap: float
    closed: bool
    seconds: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    by_output: tuple[float, ...] = ()
    boxes: int = 0
    programs: int = 0
    asked: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    layer: str = ""
    source: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether it is within the ``epsilon`` that was asked about; ``None`` if none was asked
        about, or the gap does not tell."""
        epsilon = self.asked.get("epsilon")
        if epsilon is None:
            return None
        return True if self.bound <= epsilon else False if self.value > epsilon else None

    def __str__(self) -> str:
        return table([self])

    def to_json(self) -> dict[str, Any]:
        """Numbers that are not finite are words."""
        return {k: _worded(v) for k, v in asdict(self).items()}


def save(path: Path, certificates: list[Certificate]) -> None:
    """Write some as JSON.

    Raises:
        OSError: if the file cannot be written.
    """
    said = [c.to_json() for c in certificates]
    write_whole(path, json.dumps(said, ensure_ascii=False, indent=1) + "\n")


def read_certificates(path: Path) -> list[Certificate]:
    """Those of a file.

    Raises:
        InputError: if it does not hold any.
    """
    try:
        said = read_json(path.read_text(encoding="utf-8"))
        known = {f.name for f in fields(Certificate)}
        return [
            Certificate(**{k: _unworded(v) for k, v in one.items() if k in known}) for one in said
        ]
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{shown(str(path))} holds no certificates: {error}.") from error


def _worded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _worded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(v) for v in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _unworded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unworded(v) for v in value)
    return float(value) if value in ("inf", "-inf", "nan") else value


def digest(transcoder: Transcoder) -> str:
    """Of its weights in float64, whatever file they come from."""
    found = hashlib.sha256(repr(transcoder.own_settings()).encode())
    for name, weight in sorted(transcoder.in_float64().weights().items()):
        found.update(name.encode() + weight.cpu().numpy().tobytes())
    return found.hexdigest()


def table(certificates: list[Certificate]) -> str:
    """One row a certificate."""
    rows = [
        {
            "certified": WORDS.get(c.what, c.what),
            "bound": f"{c.bound:.6g}",
            "witness attains": f"{c.value:.6g}",
            "at": _point(c.witness),
            "entry": ", ".join(str(k + 1) for k in c.entry),
            "gap": f"{c.gap:.1e}",
            "slack": f"{c.slack:.1e}",
            "closed": "yes" if c.closed else "no",
            "seconds": f"{c.seconds:.2f}",
        }
        for c in certificates
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _point(witness: tuple[Any, ...]) -> str:
    if witness and isinstance(witness[0], tuple | list):
        return " and ".join(_point(tuple(one)) for one in witness)
    shown_of = [f"x{k + 1} = {v:.4g}" for k, v in enumerate(witness) if v != 0]
    return ", ".join(shown_of) or "0"
