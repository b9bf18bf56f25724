"""faithnb: does a sparse transcoder compute the way the layer does, or only give the same outputs?

The executable companion of Chris Olah's "A Toy Model of Mechanistic (Un)Faithfulness" (2025).
"""

from faithnb import figures, metrics
from faithnb.circuits import CircuitMap, circuit_match
from faithnb.errors import InputError, ParameterError
from faithnb.experiment import Experiment
from faithnb.explorer import explore
from faithnb.notebook import read_parameters
from faithnb.store import Store
from faithnb.sweeps import sweep, train_arms
from faithnb.targets import AbsoluteValue
from faithnb.training import Trained, train
from faithnb.transcoder import Transcoder

__version__ = "0.1.0"

__all__ = [
    "AbsoluteValue",
    "CircuitMap",
    "Experiment",
    "InputError",
    "ParameterError",
    "Store",
    "Trained",
    "Transcoder",
    "circuit_match",
    "explore",
    "figures",
    "metrics",
    "read_parameters",
    "sweep",
    "train",
    "train_arms",
]
