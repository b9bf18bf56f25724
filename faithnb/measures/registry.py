"""What a measure is: a function of a transcoder, and of whatever else its parameters name.

A measure is registered as a column of the table by a decorator::

    @measure("share of activations")
    def share_negative(transcoder, x):
        return (transcoder.encode(x) < 0).double().mean((1, 2))

Its parameters say what it needs: ``transcoder``, ``target`` (the layer), ``x`` (inputs,
``[B, d_in]``), ``p`` (a point, ``[d_in]``) and ``y_p`` (the layer's output there). It returns one
value an instance, ``[n_inst]``, and raises a ``ValueError`` where it is not defined; the table has
NaN there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.extensions import Registry
from faithnb.data.inputs import ball
from faithnb.experiment import Experiment
from faithnb.model.foreign import Foreign
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder

F = TypeVar("F", bound=Callable[..., Any])

PerInstance = Float[Tensor, "n_inst"]

ROUNDING = torch.finfo(torch.float32).eps
"""Relative size of differences up to which outputs count as equal."""

CONTRIBUTES = 1e-2
"""A feature counts as active where its contribution |h_i| ‖w_dec,i‖ exceeds this."""

ALIGNED = 0.9
"""Cosine above which a direction counts as another."""

At = Literal["x", "p", "ball"]
"""What ``x`` is: the inputs that were given, p alone, or a small ball around p."""


@dataclass(frozen=True)
class Measure:
    """A column of the table."""

    name: str
    unit: str
    function: Callable[..., Any]
    at: At = "x"
    words: tuple[str, ...] = ()
    """The words that it can be, where it is no number."""
    costly: bool = False
    """Whether the tables of trained experiments leave it out; :func:`faithnb.measure` does not."""

    @cached_property
    def needs(self) -> frozenset[str]:
        """The parameters of the function that have no default, or that a view can fill."""
        return frozenset(inspect.signature(self.function).parameters) & GIVEN

    @property
    def of_point(self) -> bool:
        """Whether it needs a point."""
        return self.at != "x" or bool(self.needs & {"p", "y_p"})

    def of(self, view: View) -> Any:
        """Its values.

        Raises:
            ValueError: where it is not defined.
        """
        return self.function(**{name: view.given(name, self.at) for name in self.needs})


GIVEN = frozenset({"transcoder", "target", "x", "p", "y_p"})
"""What a view can fill in."""

RESERVED = {"inst", "point", "step", *Experiment.__dataclass_fields__}
"""Names that a table has for something else."""

MEASURES: Registry[Measure] = Registry("measure")
"""Every column of the table by its name."""


def measure(
    unit: str,
    *,
    name: str | None = None,
    at: At = "x",
    words: tuple[str, ...] = (),
    costly: bool = False,
) -> Callable[[F], F]:
    """Register a function as a column of the table; it stays as it is.

    Args:
        unit: of its values, for axes and tables.
        name: of the column; the function's by default.
        at: where a parameter ``x`` is taken.
        words: what it can be, if it gives a list of words and not numbers.
        costly: leave it out of the tables of trained experiments.

    Raises:
        ValueError: if the name is taken, or a parameter without a default is none that is given.
    """

    def register(function: F) -> F:
        column = name or function.__name__
        if column in RESERVED:
            raise ValueError(f"{column} cannot be a measure: it is a field, or an axis of tables.")
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is parameter.empty and parameter.name not in GIVEN:
                raise ValueError(
                    f"{column} asks for {parameter.name}; a measure can ask for "
                    f"{', '.join(sorted(GIVEN))}."
                )
        entry = Measure(column, unit, function, at, words, costly)
        MEASURES.add(column, function, entry, said=(unit, at, words, costly))
        return function

    return register


class View:
    """A transcoder, or a module of others, beside a layer, at inputs and perhaps at a point: what
    measures ask about."""

    def __init__(
        self, transcoder: Transcoder | Foreign, target: Layer, x: Tensor, p: Tensor | None = None
    ):
        self.transcoder, self.target, self.x, self.p = transcoder, target, x, p
        self._made: dict[str, Tensor] = {}

    def given(self, name: str, at: At) -> Any:
        """What a parameter of a measure is."""
        if name == "x" and at != "x":
            return self._once(at)
        return self._once(name) if name == "y_p" else getattr(self, name)

    def _once(self, name: str) -> Tensor:
        """The same tensor each time, so that what was worked out for it is found again."""
        assert self.p is not None
        if name not in self._made:
            if name == "y_p":
                self._made[name] = outputs(self.target, self.p)
            else:
                self._made[name] = ball(self.p) if name == "ball" else self.p[None]
        return self._made[name]


def remembering(transcoder: Transcoder) -> Transcoder:
    """The same in float64, which keeps what it gave for the last inputs, as many metrics ask for
    the same one by one."""
    found = transcoder.with_weights({k: w.double() for k, w in transcoder.weights().items()})
    memory: dict[str, tuple[tuple[Any, ...], tuple[int, ...], Any]] = {}

    def ask(name: str, measure: Callable[..., Any], *inputs: Any) -> Any:
        held = (*found.parameters(), *(a for a in inputs if isinstance(a, Tensor)))
        now = tuple(a._version for a in held)  # an array may have been changed in place
        last = memory.get(name, ((), (), None))
        if last[1] != now or list(map(id, last[0])) != list(map(id, inputs)):
            last = memory[name] = inputs, now, measure(*inputs)
        return last[2]

    object.__setattr__(found, "ask", ask)
    for name in ("hidden_pre", "encode"):
        object.__setattr__(found, name, _asking(partial(ask, name), getattr(found, name)))
    object.__setattr__(found, "__deepcopy__", lambda _: found.with_weights(
        {k: w.clone() for k, w in found.weights().items()}
    ))  # fmt: skip
    return found


def _asking(ask: Callable[..., Any], measure: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    return lambda x: ask(measure, x)


def remembered(measure: Callable[..., Any]) -> Callable[..., Any]:
    """Work out what several metrics need only once, where the transcoder remembers."""

    @wraps(measure)
    def answer(transcoder: Transcoder, *inputs: Any, **named: Any) -> Any:
        if "ask" in vars(transcoder) and not named:
            ask = partial(vars(transcoder)["ask"], measure.__name__)
            return ask(partial(measure, transcoder), *inputs)
        return measure(transcoder, *inputs, **named)

    return answer


def require_square(transcoder: Transcoder) -> None:
    """That output j can be read as input j.

    Raises:
        ValueError: if there are more of the one than of the other.
    """
    if transcoder.d_in != transcoder.d_out:
        raise ValueError(
            f"d_in = {transcoder.d_in} and d_out = {transcoder.d_out} must be equal: output j is "
            "taken for input j."
        )


def outputs(target: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """f(x) in float64. A layer that is a torch module is asked in the type of its own weights."""
    of_module = target.parameters() if isinstance(target, torch.nn.Module) else iter(())
    like = next(of_module, x)
    return target(x.to(like)).to(x)
