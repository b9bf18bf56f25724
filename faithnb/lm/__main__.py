"""Fetch the language model and the texts of the book, or study many of its layers.

``python -m faithnb.lm fetch``, ``python -m faithnb.lm scan --layers all --out FOLDER``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from faithnb.common.errors import ParameterError
from faithnb.experiment import Experiment
from faithnb.lm.errors import Unavailable
from faithnb.lm.fetched import MODEL, TEXTS, fetched
from faithnb.lm.loading import SMOLLM2, load
from faithnb.lm.scan import all_texts, scan
from faithnb.training.ensemble import device_named

SETTINGS = Experiment(
    d_in=576, batch_size=4096, steps=1200, sparsity_coefficient=0.003, tanh_scale=8.0
)
"""What :mod:`faithnb.lm.scan` trains by this command: chapter 15's penalty on more tokens."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if all is there, 1 with a sentence if not."""
    given = _parser().parse_args(arguments)
    try:
        return (_fetch if given.what == "fetch" else _scan)(given)
    except (Unavailable, ParameterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; call it again, and it goes on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faithnb.lm", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("fetch", help="the model and two texts, for later use without network")
    of = commands.add_parser("scan", help="transcoders of many layers, with and without repeats")
    of.add_argument("--layers", nargs="+", default=["all"], help="numbers, or all")
    of.add_argument("--tokens", type=int, default=5_000_000, help="of text, at most")
    of.add_argument("--d-sae", type=int, nargs="+", default=[768, 3072, 16384])
    of.add_argument("--frac", type=float, default=0.05, help="share of a window that repeats")
    of.add_argument("--seeds", type=int, nargs="+", default=[500, 501])
    of.add_argument("--set", type=fields_as_json, default={}, help="fields of Experiment, as JSON")
    of.add_argument("--model", default=SMOLLM2, help="as faithnb.lm.load takes it")
    of.add_argument("--device", default="auto", help="where model and transcoders are")
    of.add_argument("--out", type=Path, required=True, help="a folder, a file a layer")
    return parser


def fields_as_json(text: str) -> dict[str, Any]:
    """Values by the names of fields.

    Raises:
        ValueError: if it is anything else.
    """
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("no names")
    return found


def _fetch(_: argparse.Namespace) -> int:
    for wanted in (MODEL, *TEXTS.values()):
        print(fetched(wanted, show=True), flush=True)
    print("Decoding the weights …", flush=True)
    load()
    return 0


def _scan(given: argparse.Namespace) -> int:
    base, device = replace(SETTINGS, **given.set), device_named(given.device)
    m = load(given.model, device)
    layers = range(m.n_layers) if given.layers == ["all"] else [int(k) for k in given.layers]
    base = replace(base, d_in=m.d_model)
    conditions = {
        f"{width} features, {name} repeats": (replace(base, d_sae=width), frac)
        for width in given.d_sae for name, frac in (("without", 0.0), ("with", given.frac))
    }  # fmt: skip
    windows = all_texts(m, given.tokens)
    found = scan(m, windows, layers, conditions, given.seeds, given.out, device=device)
    medians = found.drop(columns="seed").groupby(["layer", "condition"]).median()
    print(medians.round(3).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
