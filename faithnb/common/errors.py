"""What is raised where an input is not allowed: one sentence, before any work."""

from __future__ import annotations

from typing import Any


class ParameterError(ValueError):
    """A parameter that does not exist or is out of range; the message says what is allowed."""


class InputError(ValueError, TypeError):
    """An argument whose type or shape is not what the function's annotation says."""


def shown(value: Any) -> str:
    """A value as Python writes it, for a message: cut off where it is long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else "a value"
    return text if len(text) <= 200 else f"{text[:200]}…"
