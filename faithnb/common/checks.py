"""The public face: arguments are what their annotations say, or one sentence says what they are.

Shapes are checked at runtime by jaxtyping, everything else by beartype, once a call from outside:
what the package calls itself, in loops, is not checked again.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from beartype import BeartypeConf
from beartype.door import is_bearable
from jaxtyping import AbstractArray, Float, jaxtyped
from torch import Tensor

from faithnb.common.ambient import nested, settled
from faithnb.common.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])

RULES: Any = BeartypeConf(is_pep484_tower=True)
"""Where a float is wanted an int will do."""


NOT_CHECKED = ("target", "layer")
"""Whoever offers a layer need not offer all of it."""

AXES: dict[str, Any] = {axis: Float[Tensor, axis] for axis in ("d_in", "d_out")}
"""Sizes that a transcoder and a layer have, as annotations; to make one takes beartype a while."""


def checked(function: F) -> F:
    """Check the arguments' types and shapes, then call in a settled state.

    A layer's widths are checked, not its type.

    Raises:
        InputError: naming the argument, what it is and what it must be.
    """

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if nested():
            return function(*args, **kwargs)
        _check(function, args, kwargs)
        with settled():
            return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def exact(function: F) -> F:
    """As :func:`checked`; besides, transcoders and tensors are taken to float64, so that a result
    does not depend on the type of the weights, tensors to the transcoder's device, and no gradient
    is recorded."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        weights = (getattr(value, "W_enc", None) for value in (*args, *kwargs.values()))
        device = next((w.device for w in weights if w is not None), None)
        given = [in_float64(value, device) for value in args]
        named = {name: in_float64(value, device) for name, value in kwargs.items()}
        with torch.no_grad():
            return function(*given, **named)

    return checked(call)  # type: ignore[return-value]


def in_float64(value: Any, device: torch.device | None) -> Any:
    """A floating-point tensor, on that device, or a transcoder in float64; anything else as it
    is."""
    if isinstance(value, Tensor):
        return value.to(device, torch.float64) if value.is_floating_point() else value
    return value.in_float64() if hasattr(value, "in_float64") else value


@cache
def _known(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """A function's signature, and the annotations that are checked."""
    hints = get_type_hints(function)
    names = inspect.signature(function).parameters
    return inspect.signature(function), {
        name: hints[name] for name in names if name in hints and name not in NOT_CHECKED
    }


def _check(function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    signature, hints = _known(function)
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:  # which the call itself says better
        return
    sizes: dict[str, int] = {}
    with jaxtyped("context"):  # type: ignore[call-overload]
        for name, value in given.items():
            _agree(name, value, sizes)
        for name, hint in hints.items():
            if name not in given:
                continue
            value = given[name]
            if not is_bearable(value, hint, conf=RULES):
                raise InputError(
                    f"{name} = {_said(value)} is not allowed: it must be {_wanted(hint, sizes)}."
                )
            if isinstance(value, Tensor):
                sizes |= _sizes(value, hint)
                if value.numel() == 0:
                    raise InputError(f"{name} = {_said(value)} is not allowed: it is empty.")
            if not _finite(value):
                raise InputError(
                    f"{name} = {_said(value)} is not allowed: it holds values that are not finite."
                )


def _finite(value: Any) -> bool:
    """Whether no number in it is NaN or infinite; a comparison with NaN would count as no."""
    if isinstance(value, (list, tuple)):
        return all(map(_finite, value))
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value.double()).all())
    return not isinstance(value, float) or math.isfinite(value)


def _agree(name: str, value: Any, sizes: dict[str, int]) -> None:
    """A transcoder and a layer read and write as many coordinates, and so do the tensors."""
    for axis, hint in AXES.items():
        size = getattr(value, axis, None)
        if not isinstance(size, int):
            continue
        if sizes.setdefault(axis, size) != size:
            raise InputError(
                f"{name} has {axis} = {size}, what comes before it {axis} = {sizes[axis]}: they "
                "must be equal."
            )
        is_bearable(torch.empty(size, device="meta"), hint)  # tells jaxtyping


def _arrays(hint: Any) -> list[Any]:
    """The array types of an annotation, one or several in a union."""
    found = [h for h in (hint, *get_args(hint)) if inspect.isclass(h)]
    return [h for h in found if issubclass(h, AbstractArray)]


def _sizes(value: Tensor, hint: Any) -> dict[str, int]:
    """The sizes of named dimensions, for messages."""
    for array in _arrays(hint):
        names = array.dim_str.split()
        if len(names) == value.ndim and all(name.isidentifier() for name in names):
            return dict(zip(names, value.shape, strict=True))
    return {}


def _wanted(hint: Any, sizes: dict[str, int]) -> str:
    if not (arrays := _arrays(hint)):
        words = [repr(word) for word in get_args(hint)] if get_origin(hint) is Literal else []
        return "one of " + ", ".join(words) if words else _NAMES.get(hint, _name(hint))
    shapes = " or ".join(f"[{', '.join(a.dim_str.split())}]" for a in arrays)
    used = {name for a in arrays for name in a.dim_str.split()}
    known = ", ".join(f"{name} = {size}" for name, size in sizes.items() if name in used)
    kind = "tensor" if arrays[0].array_type is Tensor else "array"
    return f"a floating-point {kind} of shape {shapes}" + (f" with {known}" if known else "")


_NAMES = {float: "a number", int: "a whole number", bool: "True or False", str: "a word"}


def _name(hint: Any) -> str:
    return hint.__name__ if inspect.isclass(hint) else str(hint).replace("typing.", "")


def _said(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        kind = "tensor" if isinstance(value, Tensor) else "numpy array"
        dtype = str(value.dtype).removeprefix("torch.")
        return f"a {kind} of shape {list(value.shape)} and type {dtype}"
    text = repr(value)
    return text if len(text) < 80 else f"a {type(value).__name__}"
