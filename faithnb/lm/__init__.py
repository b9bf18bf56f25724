"""Layers of real language models: weights, activations, hooks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faithnb.lm.errors import Unavailable
    from faithnb.lm.model import LanguageModel
    from faithnb.lm.tiny_model import tiny

_HOMES = {"Unavailable": "errors", "LanguageModel": "model", "tiny": "tiny_model"}

__all__ = ["LanguageModel", "Unavailable", "tiny"]


def __getattr__(name: str) -> Any:
    """What was asked for is loaded now."""
    if name in _HOMES:
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
