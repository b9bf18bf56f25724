"""What is raised where an input is not allowed: one sentence, before any work."""

from __future__ import annotations


class ParameterError(ValueError):
    """A parameter that does not exist or is out of range; the message says what is allowed."""


class InputError(ValueError, TypeError):
    """An argument whose type or shape is not what the function's annotation says."""
