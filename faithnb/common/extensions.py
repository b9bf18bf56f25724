"""What is added to the package from outside, so that keys can tell two things of one name apart."""

from __future__ import annotations

import inspect
import textwrap
import uuid
from typing import Any

from faithnb.common.meaning import meaning

_digests: dict[tuple[str, str], str] = {}


def extend(kind: str, name: str, added: Any) -> None:
    """Note what a class or function of that name does, unless the package has it itself."""
    if added.__module__.split(".")[0] != __name__.split(".")[0]:
        _digests[kind, name] = _digest(added)


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
    """Hash of its source. Where that cannot be read it is new in every process, so that nothing is
    found that another may have kept."""
    try:
        return meaning(textwrap.dedent(inspect.getsource(added)).encode())
    except (OSError, TypeError):
        return uuid.uuid4().hex
