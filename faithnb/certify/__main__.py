"""Certificates from the command line.

python -m faithnb.certify FOLDER --layer abs --support 1,2,3 [--out certificate.json]
python -m faithnb.certify check certificate.json
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from faithnb.certify.certificate import Certificate, read_certificates, save, table
from faithnb.certify.checking import layer_named, wrong
from faithnb.certify.piecewise import of_layer
from faithnb.certify.questions import (
    mechanism_certificate,
    worst_error,
    worst_jacobian_error,
    worst_off_diagonal,
)
from faithnb.certify.ranges import faithful_radius
from faithnb.common.errors import InputError, ParameterError, shown
from faithnb.data.sampling import pad_points
from faithnb.model.layer import LAYERS
from faithnb.model.transcoder import load

QUESTIONS = ("worst_error", "worst_off_diagonal", "worst_jacobian_error", "mechanism", "radius")


def main(arguments: Sequence[str] | None = None) -> int:
    """What was asked for; 0 if it came out, 1 if a certificate does not hold or not all are closed,
    2 if it could not be started."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["check"]:
            return _check(_checks().parse_args(given[1:]))
        return _certify(_parser().parse_args(given))
    except (InputError, ParameterError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted. Certificates that were finished are in the file; searches and programs "
            "that had ended are kept.",
            file=sys.stderr,
        )
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faithnb.certify",
        description="The worst case of a transcoder on a box of inputs, with a proof. "
        "`python -m faithnb.certify check FILE` checks certificates by another method.",
    )
    parser.add_argument("folder", help="in any layout that faithnb.load reads")
    parser.add_argument("--layer", required=True, help=f"one of {', '.join(sorted(LAYERS))}")
    parser.add_argument("--support", help="coordinates that vary, from 1: 1,2,3 (default: all)")
    parser.add_argument("--low", type=float, default=-1.0, help="of the box (default: -1)")
    parser.add_argument("--high", type=float, default=1.0, help="of the box (default: 1)")
    parser.add_argument("--point", help="p's first coordinates (default: 1,1,1)")
    parser.add_argument("--around", action="store_true", help="bounds are distances from p")
    parser.add_argument(
        "--certify", nargs="+", choices=QUESTIONS,
        help="(default: worst_error, worst_off_diagonal, mechanism)",
    )  # fmt: skip
    parser.add_argument("--tolerance", type=float, default=0.1, help="of a radius (default: 0.1)")
    parser.add_argument("--epsilon", type=float, help="up to which a mechanism may leak")
    parser.add_argument("--instance", type=int, default=0, help="of an ensemble (default: 0)")
    parser.add_argument("--time-limit", type=float, help="seconds for each (default: 60)")
    parser.add_argument(
        "--most-boxes", type=int, help="in place of a time, the same on every machine"
    )
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, default=Path("certificate.json"), help="what to write")
    return parser


def _checks() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faithnb.certify check",
        description="Certificates against an enumeration of all patterns of activation.",
    )
    parser.add_argument("file", type=Path)
    return parser


def numbers(name: str, text: str) -> list[float]:
    """``1,2,3``.

    Raises:
        ParameterError: if it is anything else.
    """
    try:
        found = [float(one) for one in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(math.isfinite(one) for one in found):
        raise ParameterError(f"{name} = {shown(text)} is not allowed: write numbers such as 1,2,3.")
    return found


def support_of(text: str, d_in: int) -> list[int]:
    """Coordinates from 0, of coordinates from 1.

    Raises:
        ParameterError: if there are no such coordinates, or one stands there twice.
    """
    given = numbers("support", text)
    if any(k != int(k) or not 1 <= k <= d_in for k in given) or len({*given}) < len(given):
        raise ParameterError(
            f"support = {text} is not allowed: it must be different whole numbers from 1 to {d_in}."
        )
    return [int(k) - 1 for k in given]


def _certify(options: argparse.Namespace) -> int:
    every = load(options.folder)
    if not 0 <= options.instance < len(every):
        raise ParameterError(
            f"instance = {options.instance} is not allowed: there are {len(every)}, from 0."
        )
    transcoder = every[options.instance]
    d_in = transcoder.d_in
    point = [1.0] * min(3, d_in) if options.point is None else numbers("point", options.point)
    support = None if options.support is None else support_of(options.support, d_in)
    if not options.out.parent.is_dir() or options.out.is_dir():
        raise ParameterError(
            f"out = {shown(str(options.out))} is not allowed: it must be a file in a folder that "
            "is there."
        )
    layer = layer_named(options.layer, d_in, point)
    p = pad_points([tuple(point)], d_in)[0]
    time_ = {"time_limit": options.time_limit, "workers": options.workers}
    time_ |= {"most_boxes": options.most_boxes}
    box = {"support": support, "low": options.low, "high": options.high}
    box |= {"around": p if options.around else None}
    ask = {
        "worst_error": lambda: worst_error(transcoder, layer, **box, **time_),
        "worst_off_diagonal": lambda: worst_off_diagonal(transcoder, layer, **box, **time_),
        "worst_jacobian_error": lambda: worst_jacobian_error(transcoder, layer, **box, **time_),
        "mechanism": lambda: mechanism_certificate(
            transcoder, **box, epsilon=options.epsilon, **time_
        ),
        "radius": lambda: faithful_radius(
            transcoder, layer, p, options.tolerance, support=support, **time_
        ),
    }
    source = {
        "folder": str(Path(options.folder).resolve()),
        "instance": options.instance,
        "layer": options.layer,
        "point": tuple(point),
    }
    smooth = of_layer(layer).apart is not None
    usual = ["worst_error", *([] if smooth else ["worst_off_diagonal"]), "mechanism"]
    found: list[Certificate] = []
    for name in options.certify or usual:
        found.append(replace(ask[name](), source=source))
        save(options.out, found)  # each at once, so that an interruption costs the last alone
    print(table(found))
    for c in found:
        if c.holds is not None:
            print(f"mechanism within {options.epsilon:g}: {'yes' if c.holds else 'no'}")
    print(f"Written: {options.out}")
    return int(not all(c.closed or c.holds is not None for c in found))


def _check(options: argparse.Namespace) -> int:
    bad = 0
    for c in read_certificates(options.file):
        begun = time.perf_counter()
        try:
            said = list(wrong(c))
            word = "does not hold" if said else "holds"
            bad += bool(said)
        except InputError as error:
            said, word = [str(error)], "was not checked"
            bad += 1
        print(f"{c.what}: {word} ({time.perf_counter() - begun:.1f} s)")
        print("".join(f"  {one}\n" for one in said), end="")
    return int(bad > 0)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
