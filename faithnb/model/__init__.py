"""What is explained, and what explains it."""

from faithnb.model import architectures

__all__ = ["architectures"]
