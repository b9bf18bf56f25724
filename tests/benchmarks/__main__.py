"""Measure, print the tables, keep them as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd
import torch

from benchmarks import sizes, tables
from benchmarks.machine import write
from benchmarks.record import measure


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--size", choices=sizes.SIZES, default="normal")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=tables.TABLES, help="these tables alone")
    parser.add_argument("--out", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    record = measure(arguments.size, torch.device(arguments.device), arguments.only)
    print(json.dumps(record["machine"], indent=2))
    with pd.option_context("display.width", 160, "display.max_columns", None):
        for name, rows in record["tables"].items():
            frame = pd.DataFrame(rows)
            print(f"\n{name}\n{frame.to_string(index=False, float_format='{:.2f}'.format)}")
    write(record, arguments.out)
    print(f"\nkept in {arguments.out}")


if __name__ == "__main__":
    main()
