"""What is raised where a model cannot be had."""

from faithnb.common.errors import InputError


class Unavailable(InputError):
    """A file of a model or a text cannot be had; the message says why, in one sentence."""
