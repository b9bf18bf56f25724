"""What is added to the package from outside, so that keys can tell two things of one name apart."""

from __future__ import annotations

import inspect
import sys
import textwrap
import uuid
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from faithnb.common.errors import InputError
from faithnb.common.meaning import meaning

PACKAGE = __name__.split(".")[0]

T = TypeVar("T")

_digests: dict[tuple[str, str], str] = {}


class Registry(dict[str, T]):
    """What there is of a kind, by name: the package's own, and what is added from outside.

    Args:
        kind: what it is, for messages and keys, such as ``"layer"``.
    """

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self._modules: dict[str, str] = {}
        REGISTRIES.append(self)

    def add(self, name: str, added: Any, entry: T | None = None, said: Any = None) -> None:
        """Take in a class or function; one of the same module may take its own place again.

        Args:
            name: a word.
            added: the class or function, which keys follow.
            entry: what stands in the registry, if not that itself.
            said: what was said of it besides, which keys follow too.

        Raises:
            InputError: if the name is no word, or that of another.
        """
        if not name.isidentifier():
            raise InputError(f"name = {name!r} is not allowed: a {self.kind} is named by a word.")
        if name in self and self._modules[name] != added.__module__:
            raise InputError(
                f"name = {name!r} is not allowed: there is another {self.kind} of that name."
            )
        self[name] = added if entry is None else entry
        self._modules[name] = added.__module__
        extend(self.kind, name, added, said)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        forget(self.kind, name)


class Registered:
    """A class whose subclasses are found by their names: each that says a ``name`` of its own
    stands in the registry."""

    registry: ClassVar[Registry[Any]]

    name: ClassVar[str]
    """Its name in :class:`faithnb.Experiment`."""

    def __init_subclass__(cls, **given: Any):
        super().__init_subclass__(**given)
        if "name" in vars(cls):
            cls.registry.add(cls.name, cls)

    @classmethod
    def says(cls, method: str) -> bool:
        """Whether it has a method that is not just the default of its kind. A class from outside
        must write the method itself: one that it inherits may not hold for it."""
        (base,) = (of for of in cls.__mro__ if Registered in of.__bases__)
        own = is_own(cls) and getattr(cls, method) is not getattr(base, method)
        return method in vars(cls) or own


REGISTRIES: list[Registry[Any]] = []
"""One for each kind of thing that can be added."""


def is_own(added: Any) -> bool:
    """Whether a class or function is the package's."""
    return added.__module__.split(".")[0] == PACKAGE


def extend(kind: str, name: str, added: Any, said: Any = None) -> None:
    """Note what a class or function of that name does, unless the package has it itself.

    Args:
        kind: of what, such as ``"measure"``.
        name: in the package.
        added: the class or function.
        said: what was said of it besides.
    """
    if not is_own(added):
        _digests[kind, name] = f"{_digest(added)} {said!r}"


def forget(kind: str, name: str) -> None:
    """It is no longer there."""
    _digests.pop((kind, name), None)


def digests(kind: str, name: str | None = None) -> list[str]:
    """What keys must hold of an addition, or of all of a kind; nothing of the package's own."""
    return sorted(
        f"{kind} {of} {digest}"
        for (of_kind, of), digest in _digests.items()
        if of_kind == kind and name in (None, of)
    )


def _digest(added: Any) -> str:
    """Of the files that it and its bases stand in, whole, because they may use all of them. Where
    that is not the whole story, or cannot be read, it is new in every process, so that nothing is
    found that another may have kept."""
    every = added.__mro__ if inspect.isclass(added) else (added,)
    outside = {of.__module__ for of in every if of.__module__.split(".")[0] not in STABLE}
    try:
        if added.__name__ == "<lambda>" or _holds_values(added):
            raise TypeError
        own = meaning(textwrap.dedent(inspect.getsource(added)).encode())
        files = [Path(str(sys.modules[name].__file__)) for name in sorted(outside)]
        return " ".join(
            [added.__qualname__, own, _defaults(added), *(meaning(f.read_bytes()) for f in files)]
        )
    except (AttributeError, KeyError, OSError, TypeError):
        return uuid.uuid4().hex


def _defaults(added: Any) -> str:
    """What a function's parameters are by default.

    Raises:
        TypeError: if that cannot be written down.
    """
    function = inspect.unwrap(added)
    given = (
        (getattr(function, "__defaults__", None) or ()),
        (getattr(function, "__kwdefaults__", None) or {}),
    )
    if any(not isinstance(v, PLAIN) for v in (*given[0], *given[1].values())):
        raise TypeError
    return repr(given)


PLAIN = (bool, int, float, str, type(None))

STABLE = {PACKAGE, "torch", "builtins", "abc", "typing", "collections"}


def _holds_values(added: Any) -> bool:
    """Whether a class or function that was made in a function has values of that function's."""
    members = vars(added).values() if inspect.isclass(added) else [inspect.unwrap(added)]
    cells = [getattr(of, "__closure__", None) or () for of in members]
    held = [cell.cell_contents for some in cells for cell in some]
    return any(not inspect.isclass(value) and not inspect.isroutine(value) for value in held)
