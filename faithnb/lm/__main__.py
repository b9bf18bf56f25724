"""Fetch the language model and the texts of the book: ``python -m faithnb.lm fetch``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from faithnb.common.errors import ParameterError
from faithnb.lm.errors import Unavailable
from faithnb.lm.fetched import MODEL, TEXTS, fetched
from faithnb.lm.loading import load


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 if all is there, 1 with a sentence if not."""
    parser = argparse.ArgumentParser(prog="python -m faithnb.lm", description=__doc__)
    parser.add_argument("what", choices=["fetch"])
    parser.parse_args(arguments)
    try:
        for wanted in (MODEL, *TEXTS.values()):
            print(fetched(wanted, show=True), flush=True)
        print("Decoding the weights …", flush=True)
        load()
        return 0
    except (Unavailable, ParameterError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; call it again, and it goes on.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
