"""A study of many layers on much text, one after the other; it can be interrupted and goes on."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.common.files import write_whole
from faithnb.experiment import Experiment
from faithnb.lm.activations import activations_key
from faithnb.lm.fetched import TEXTS, prose
from faithnb.lm.model import LanguageModel
from faithnb.lm.study import Study
from faithnb.lm.subject import Subject
from faithnb.lm.windows import standard_library, windows_of

Conditions = Mapping[str, tuple[Experiment, float]]


def scan(
    m: LanguageModel,
    windows: Int[Tensor, "n length"],
    layers: Sequence[int],
    conditions: Conditions,
    seeds: Sequence[int],
    folder: Path,
    **training: Any,
) -> pd.DataFrame:
    """What :meth:`faithnb.lm.study.Study.measured` says of each layer, condition and seed.

    A layer's rows are written as soon as it is done, and found again. Its activations are as large
    as the text is long, 1.2 kB a token for SmolLM2 and twice as much for its outputs, and are
    removed behind it.

    Args:
        m: the model; its MLPs must be gated.
        windows: tokens.
        layers: which MLPs.
        conditions: as :meth:`faithnb.lm.study.Study.train` takes them.
        seeds: of each condition.
        folder: where results lie, and activations meanwhile.
        training: as :func:`faithnb.train` takes it.

    Raises:
        InputError: if a layer is none, or not gated.
        ParameterError: if there are fewer windows than seeds need.
    """
    for layer in layers:
        m.layer(layer)
    if len(windows) < len(seeds) + 4:
        raise ParameterError(
            f"windows = {len(windows)} of them is not allowed: {len(seeds)} seeds take at least "
            f"{len(seeds) + 4}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    found = [_found(m, windows, layer, conditions, seeds, folder, training) for layer in layers]
    return pd.concat(found, ignore_index=True)


def _found(
    m: LanguageModel, windows: Tensor, layer: int, conditions: Conditions, seeds: Sequence[int],
    folder: Path, training: Mapping[str, Any],
) -> pd.DataFrame:  # fmt: skip
    about = repr((activations_key(m, windows, layer), list(seeds), [
        (name, e.identity(), frac) for name, (e, frac) in conditions.items()
    ]))  # fmt: skip
    name = f"layer-{layer:02d}-{hashlib.sha256(about.encode()).hexdigest()[:12]}"
    path, rows = folder / f"{name}.csv", folder / name
    if not path.is_file():
        subject = Subject(m, layer, windows, folder=rows, progress=training.get("progress", True))
        tables = Study(subject, seeds, training=training).tables(conditions)
        table = pd.concat(tables, names=["condition"]).reset_index()
        table.insert(0, "layer", layer)
        write_whole(path, table.to_csv(index=False))
    shutil.rmtree(rows, ignore_errors=True)
    return pd.read_csv(path)


def all_texts(m: LanguageModel, n_tokens: int, length: int = 128) -> Int[Tensor, "n length"]:
    """Windows of the prose that is at hand and then of Python's standard library, each behind the
    begin token, as many as hold so many tokens or as there are."""
    begin = m.encode("<|endoftext|>")[0]
    found: list[Tensor] = []
    missing = -(-n_tokens // length)
    for text in _texts():
        if missing <= 0:
            break
        ids = m.encode(text[: 8 * length * missing])
        if len(ids) >= length - 1:
            found.append(windows_of(ids, length, begin)[:missing])
            missing -= len(found[-1])
    return torch.cat(found)


def _texts() -> Iterator[str]:
    yield from (prose(name) for name in TEXTS)
    folders = ("", "asyncio", "collections", "concurrent/futures", "email", "encodings", "html",
               "http", "importlib", "json", "logging", "multiprocessing", "unittest", "urllib",
               "xml/dom", "xml/etree", "idlelib", "lib2to3", "test", "tkinter")  # fmt: skip
    for folder in folders:
        yield "\n".join(standard_library([folder]).values())
