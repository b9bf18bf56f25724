"""faithnb: does a sparse transcoder compute the way the layer does, or only give the same outputs?

The executable companion of Chris Olah's "A Toy Model of Mechanistic (Un)Faithfulness" (2025).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faithnb import figures, measures
    from faithnb.common.errors import InputError, ParameterError
    from faithnb.experiment import Experiment
    from faithnb.measures.circuits import CircuitMap, circuit_match
    from faithnb.measures.table import measure
    from faithnb.model.layers import AbsoluteValue
    from faithnb.model.transcoder import Transcoder, load
    from faithnb.notebook import read_parameters
    from faithnb.sweeps.comparison import Comparison, compare
    from faithnb.sweeps.sweep import sweep
    from faithnb.training.ensemble import train
    from faithnb.training.store import Store
    from faithnb.training.trained import Trained
    from faithnb.widgets.explorer import explore

__version__ = "0.1.0"

_HOMES = {
    "common.errors": ("InputError", "ParameterError"),
    "experiment": ("Experiment",),
    "measures.circuits": ("CircuitMap", "circuit_match"),
    "measures.table": ("measure",),
    "model.layers": ("AbsoluteValue",),
    "model.transcoder": ("Transcoder", "load"),
    "notebook": ("read_parameters",),
    "sweeps.comparison": ("Comparison", "compare"),
    "sweeps.sweep": ("sweep",),
    "training.ensemble": ("train",),
    "training.trained": ("Trained",),
    "training.store": ("Store",),
    "widgets.explorer": ("explore",),
}
_ROOMS = ("claims", "figures", "lm", "measures")

__all__ = [
    "AbsoluteValue",
    "CircuitMap",
    "Comparison",
    "Experiment",
    "InputError",
    "ParameterError",
    "Store",
    "Trained",
    "Transcoder",
    "circuit_match",
    "compare",
    "explore",
    "figures",
    "load",
    "measure",
    "measures",
    "read_parameters",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """What was asked for is loaded now: figures and widgets take a second that training does not
    need."""
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
