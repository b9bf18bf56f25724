"""What is explained, and what explains it."""

from faithnb.model import architectures, networks, with_point

__all__ = ["architectures", "networks", "with_point"]
