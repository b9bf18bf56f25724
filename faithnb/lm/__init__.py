"""Layers of real language models: weights, activations, hooks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faithnb.lm.errors import Unavailable
    from faithnb.lm.fetched import prose
    from faithnb.lm.loading import load
    from faithnb.lm.model import LanguageModel
    from faithnb.lm.tiny_model import tiny

_HOMES = {
    "LanguageModel": "model",
    "Unavailable": "errors",
    "load": "loading",
    "prose": "fetched",
    "tiny": "tiny_model",
}

__all__ = ["LanguageModel", "Unavailable", "load", "prose", "tiny"]


def __getattr__(name: str) -> Any:
    """What was asked for is loaded now."""
    if name in _HOMES:
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
