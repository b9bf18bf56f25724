"""What must not change when the package is rebuilt: write it down before, compare it afterwards.

``python tests/pins.py write FOLDER`` trains one small experiment for every allowed word of every
field, alone and together with every form of matching, and measures them; with ``--book``, a folder
that ``make book PROFILE=quick`` has filled, it also notes the ledger and what the chapters glued.
``python tests/pins.py compare BEFORE AFTER`` prints what differs by more than 1e-6 of its size, or
of the largest of its kind, and ends with 1 if anything does.

Weights after 200 steps follow from the processor too, so both must come from the same machine.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np

from faithnb import Experiment, ParameterError, train

TOLERANCE = 1e-6
BASE = Experiment(d_in=6, d_sae=20, steps=200, batch_size=64, repeat_frac=0.1, seed=3)
WORDS = {
    f.name: f.metadata["allowed"].choices
    for f in fields(Experiment)
    if hasattr(f.metadata["allowed"], "choices")
}


def experiments() -> dict[str, Experiment]:
    """By what they change of the base; words that refuse each other are left out."""
    found = {}
    for form in WORDS["jacobian_matching"]:
        matched = {"jacobian_matching": form, "jacobian_coefficient": 0.05 * (form != "none")}
        for name, words in WORDS.items():
            for word in words:
                try:
                    found[f"{name}={word} {form}"] = replace(BASE, **matched | {name: word})
                except ParameterError:
                    continue
    return found


def trained() -> dict[str, np.ndarray]:
    """Weights, history and measures of each."""
    every = experiments()
    runs = train(list(every.values()), device="cpu")
    values: dict[str, Any] = {}
    for i, name in enumerate(every):
        for part, weight in runs[i].state_dict().items():
            values[f"weights {name} {part}"] = weight.numpy()
    for of, table in {"history": runs.history, "measures": runs.metrics()}.items():
        for column, v in table.data_vars.items():
            for i, name in enumerate(every):
                values[f"{of} {name} {column}"] = v.isel(inst=i).values
    return values


def of_the_book(folder: Path) -> dict[str, np.ndarray]:
    """The ledger, and each value that a chapter glued, as it is printed."""
    ledger = json.loads((folder / "html" / "claims.json").read_text(encoding="utf-8"))["claims"]
    values = {f"ledger {row['id']} {key}": row[key] for row in ledger for key in row}
    for path in sorted((folder / "src" / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for output in cell.get("outputs", []):
                name = output.get("metadata", {}).get("scrapbook", {}).get("name")
                for kind, text in output.get("data", {}).items():
                    if name and kind.endswith("text/plain"):
                        values[f"glued {path.stem} {name}"] = "".join(text).strip("'")
    return {name: np.array(_number(value)) for name, value in values.items()}


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return json.dumps(value, sort_keys=True)


def differences(before: Path, after: Path) -> Iterator[str]:
    """A line for each value that is no longer what it was."""
    old, new = np.load(before), np.load(after)
    for name in sorted(set(old) - set(new)):
        yield f"gone: {name}"
    for name in sorted(set(new) - set(old)):
        yield f"new: {name}"
    for name in sorted(set(old) & set(new)):
        a, b = old[name], new[name]
        if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            yield f"{name}: {a.dtype} {a.shape} became {b.dtype} {b.shape}"
        elif a.dtype.kind == "f":
            size = np.maximum(np.abs(a), np.abs(a).max(initial=0)) + 1e-12
            with np.errstate(invalid="ignore"):
                away = np.nan_to_num(np.abs(a - b) / size, nan=0.0)
            if (away > TOLERANCE).any() or (np.isnan(a) != np.isnan(b)).any():
                yield f"{name}: {a.ravel()[:4]} became {b.ravel()[:4]} ({away.max():.1e})"
        elif (a != b).any():
            yield f"{name}: {str(a)[:90]} became {str(b)[:90]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    write = verbs.add_parser("write")
    write.add_argument("folder", type=Path)
    write.add_argument("--book", type=Path)
    compare = verbs.add_parser("compare")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)
    asked = parser.parse_args()
    if asked.verb == "write":
        asked.folder.mkdir(parents=True, exist_ok=True)
        np.savez(asked.folder / "trained.npz", **trained())
        if asked.book:
            np.savez(asked.folder / "book.npz", **of_the_book(asked.book))
        return 0
    found = [
        line
        for file in ("trained.npz", "book.npz")
        if (asked.before / file).exists() and (asked.after / file).exists()
        for line in differences(asked.before / file, asked.after / file)
    ]
    print(*found or ["nothing differs"], sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
