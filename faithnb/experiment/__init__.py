"""One training described: its fields, what they may be, and what follows from them."""

from faithnb.common.errors import ParameterError
from faithnb.experiment.experiment import Experiment

__all__ = ["Experiment", "ParameterError"]
