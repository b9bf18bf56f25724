"""What is explained, and what explains it."""

from faithnb.model import architectures, mlp, networks, with_point

__all__ = ["architectures", "mlp", "networks", "with_point"]
