"""What is explained, and what explains it."""

from faithnb.model import architectures, networks

__all__ = ["architectures", "networks"]
