"""At which settings claims were judged, said by what differs from the headline setting."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from faithnb.experiment import Experiment
from faithnb.training.trained import Trained

At: TypeAlias = Experiment | Trained | Mapping[str, "At"] | Iterable["At"]
"""Experiments, or what was trained on them, one by one or several together."""

UNTOLD = ("seed", "data", "points")
"""Fields that are no part of a setting: seeds are recorded besides, and files have paths."""

SYMBOLS = {
    "repeat_frac": "r", "sparsity_coefficient": "λ", "jacobian_matching": "matching",
    "jacobian_coefficient": "μ", "tanh_scale": "s", "target": "layer",
}  # fmt: skip
"""How the book's pages call fields; others go by their names."""

MOST_VALUES = 4
"""More values of a number are shown by the least and the largest."""

HEADLINE = "nothing"
UNTRAINED = "no transcoder is trained for it"


def described(at: At, over: Mapping[str, Iterable[Any]] | None = None) -> dict[str, Any] | None:
    """The fields that differ from the headline setting, or from one experiment to another.

    Args:
        at: what a claim was judged on.
        over: the values of fields that sweeps over these experiments have.

    Returns:
        by field, its value, or a list of its values; ``None`` without experiments.
    """
    experiments = list(_experiments(at))
    if not experiments:
        return None
    found = {}
    for field in dataclasses.fields(Experiment):
        values = [getattr(e, field.name) for e in experiments]
        values = _distinct((over or {}).get(field.name, values))
        if field.name not in UNTOLD and values != [field.default]:
            found[field.name] = values if len(values) > 1 else values[0]
    return found


def _experiments(at: At) -> Iterator[Experiment]:
    if isinstance(at, Experiment):
        yield at
    elif isinstance(at, Trained):
        yield from at.experiments
    else:
        for one in at.values() if isinstance(at, Mapping) else at:
            yield from _experiments(one)


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, as JSON can hold it; numbers in their order."""
    plain = (v.item() if hasattr(v, "item") else v for v in values)
    # 0.1 times 0.3 is to be 0.03
    found = list(dict.fromkeys(float(f"{v:.12g}") if isinstance(v, float) else v for v in plain))
    return sorted(found) if all(isinstance(v, (int, float)) for v in found) else found


def in_words(setting: Mapping[str, Any] | None) -> str:
    """What :func:`described` gives, in a line: ``"r = 0, 0.1; matching = none, plain"``."""
    if setting is None:
        return UNTRAINED
    return "; ".join(f"{SYMBOLS.get(k, k)} = {_value(v)}" for k, v in setting.items()) or HEADLINE


def _value(value: Any) -> str:
    if not isinstance(value, (list, tuple)):
        return f"{value:.3g}" if isinstance(value, float) else str(value)
    if len(value) > MOST_VALUES and all(isinstance(v, (int, float)) for v in value):
        return f"{_value(value[0])} to {_value(value[-1])}"
    return ", ".join(map(_value, value))


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table for the page: empirical claims that were judged, by their settings.

    Args:
        rows: of the ledger.
    """
    by_setting: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "empirical" and row["evidence"]:
            by_setting.setdefault(in_words(row["setting"]), []).append(row)
    body = "".join(
        f"<tr><td>{', '.join(html.escape(row['id']) for row in of)}</td>"
        f"<td>{html.escape(setting)}</td><td>{_judged_on(of)}</td></tr>"
        for setting, of in by_setting.items()
    )
    head = "<th>claims</th><th>what differs from the headline setting</th><th>judged on</th>"
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<table class="ledger settings">{inside}</table>'


def _judged_on(rows: Iterable[Mapping[str, Any]]) -> str:
    """How much of which unit the parts of claims have: ``"5 to 16 seeds"``."""
    numbers: dict[str, list[int]] = {}
    for part in (part for row in rows for part in row["evidence"]):
        if part["outcome"] not in ("reported", "missing"):
            numbers.setdefault(part["unit"], []).append(part["n"])
    found = []
    for unit, n in numbers.items():
        amount = f"{min(n)}" if min(n) == max(n) else f"{min(n)} to {max(n)}"
        found.append(f"{amount} {unit.removesuffix('s') if max(n) == 1 else unit}")
    return html.escape("; ".join(found))
