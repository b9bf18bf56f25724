"""What a parameter may be, and the sentence that says so."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from faithnb.common.errors import ParameterError, shown
from faithnb.common.extensions import Registry
from faithnb.common.syntax import literal


@dataclass(frozen=True)
class OneOf:
    """Allowed: one of a few words."""

    words: Any
    """Them, or a ``Literal`` of them."""

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.words) or tuple(self.words)

    def clean(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise ValueError
        return value

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.choices))


@dataclass(frozen=True, eq=False)
class Named(OneOf):
    """Allowed: the name of something in a registry, to which more may be added.

    Attributes:
        words: the registry.
        first: words besides, before these.
        last: and after these.
    """

    words: Registry[Any]
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        own = (name for name, of in self.words.items() if getattr(of, "trainable", True))
        return (*self.first, *own, *self.last)


@dataclass(frozen=True, eq=False)
class NamedOrFile(Named):
    """Allowed: the same, or the path of a file whose name ends in one of these."""

    endings: tuple[str, ...] = ()

    def clean(self, value: Any) -> str:
        if isinstance(value, str) and value.endswith(self.endings):
            return value
        return super().clean(value)

    def __str__(self) -> str:
        return (
            f"{super().__str__()}, or the path of a file that ends in {' or '.join(self.endings)}"
        )


@dataclass(frozen=True)
class Range:
    """Allowed: a finite number in an interval, whole if ``whole``."""

    low: float
    high: float = math.inf
    whole: bool = False
    open_low: bool = False

    def clean(self, value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise ValueError
        if not math.isfinite(value) or (self.whole and value != int(value)):
            raise ValueError
        number = int(value) if self.whole else float(value)
        if number > self.high or number < self.low or (self.open_low and number == self.low):
            raise ValueError
        return number

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if math.isinf(self.high):
            return f"{kind} {'above' if self.open_low else 'of at least'} {self.low:g}"
        high = f"{self.high:g}".replace("e+0", "e")
        return f"{kind} in {'(' if self.open_low else '['}{self.low:g}, {high}]"


LEAST = 1e-6
"""Size of the smallest coordinate of a point: squares of smaller ones are lost in float32."""


@dataclass(frozen=True)
class PointList:
    """Allowed: a sequence of points, each a sequence of finite numbers that are not all 0, and are
    0 or at least 1e-6 in size.

    Attributes:
        only: how many points there must be, if not any number.
        nonzero: how many coordinates of each must not be 0, at least.
    """

    only: int | None = None
    nonzero: int = 1

    def clean(self, value: Any) -> tuple[tuple[float, ...], ...]:
        coordinate = Range(-1e6, 1e6)
        try:
            points = tuple(tuple(coordinate.clean(c) for c in point) for point in value)
        except TypeError as error:
            raise ValueError from error
        if self.only is not None and len(points) != self.only:
            raise ValueError
        if any(sum(c != 0 for c in point) < self.nonzero for point in points):
            raise ValueError
        if any(0 < abs(c) < LEAST for point in points for c in point):
            raise ValueError
        if len(set(points)) < len(points):
            raise ValueError
        return points

    def __str__(self) -> str:
        many = "a sequence of" if self.only is None else str(self.only)
        return (
            f"{many} different point(s) such as [[1, 1, 1]], each with at least {self.nonzero} "
            f"coordinate(s) that are not 0, and none between 0 and {LEAST:g} in size"
        )


class YesNo:
    """Allowed: True or False."""

    def clean(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def __str__(self) -> str:
        return "True or False"


class Address:
    """Allowed: "here", "local", or the address of a scheduler."""

    def clean(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        if value not in ("here", "local"):
            host_and_port(value)
        return value

    def __str__(self) -> str:
        return (
            "'here', 'local', or the address of a Dask scheduler such as 'tcp://host:8786', with a "
            "port from 1 to 65535"
        )


def host_and_port(address: str) -> tuple[str, int]:
    """The two parts of an address such as ``tcp://host:8786``.

    Raises:
        ValueError: if it has none that there can be.
    """
    host = r"\[([0-9A-Fa-f:.%]+)\]|([\w.-]+)"
    parts = re.fullmatch(rf"(?:tcp|tls)://(?:{host}):([0-9]{{1,5}})", address, re.ASCII)
    if parts is None or not 1 <= int(parts[3]) <= 65535:
        raise ValueError(address)
    return parts[1] or parts[2], int(parts[3])


Allowed = OneOf | Range | PointList | YesNo | Address


def clean(name: str, value: Any, allowed: Allowed) -> Any:
    """The value in its normal form.

    Raises:
        ParameterError: if it is not allowed.
    """
    try:
        return allowed.clean(value)
    except (ValueError, OverflowError):
        pass
    sentence = f"{name} = {shown(value)} is not allowed: it must be {allowed}"
    if not isinstance(value, str) or isinstance(allowed, (OneOf, Address)):
        raise ParameterError(f"{sentence}.")
    if meant := _meant(value, allowed):
        meant = f" With papermill, write -y '{name}: {meant}'."
    raise ParameterError(f"{sentence}, and it arrived as text.{meant}")


def _meant(text: str, allowed: Allowed) -> str:
    """How papermill's YAML must be given what a text says; "" if it says nothing allowed."""
    try:
        value = literal({"true": "True", "false": "False"}.get(text.strip(), text.strip()))
        allowed.clean(value)
    except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError, MemoryError):
        return ""
    return _yaml(value, scientific="e" in text.lower())


def _yaml(value: Any, scientific: bool) -> str:
    """A number, True, False or lists of them in YAML 1.1, which takes 1e-3 for text."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_yaml(v, scientific) for v in value)}]"
    if isinstance(value, float) and (scientific or "e" in repr(value)):
        return np.format_float_scientific(value, trim="0", exp_digits=1)
    return repr(value)


def parameter(default: Any, allowed: Allowed) -> Any:
    """A field of a dataclass with its default and what is allowed."""
    return field(default=default, metadata={"allowed": allowed})


def unknown_name(name: str, value: Any, known: Mapping[str, Any]) -> ParameterError:
    """The error for a parameter nobody knows, with the nearest one that exists."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return ParameterError(
        f"{name} = {value!r} is not allowed: there is no parameter {name}.{hint} "
        f"Known are {', '.join(known)}."
    )
