"""Files that are written whole or not at all, and folders that one run at a time writes to."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from faithnb.common.errors import ParameterError

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parent
"""Where the package lies, and the project with its book, unless the package was installed alone."""

DAY = 24 * 3600.0


class BusyError(Exception):
    """Another run writes to a folder; the message says which."""


def folder_named(name: str, value: str | os.PathLike[str]) -> Path:
    """An absolute folder, whoever starts in whatever place: ``~`` is the home, blanks around it
    are dropped.

    Args:
        name: of the setting, for the message.
        value: as given.

    Raises:
        ParameterError: if it is blank, or holds a character that no path can.
    """
    text = os.fspath(value).strip() if isinstance(value, (str, os.PathLike)) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise ParameterError(f"{name} = {value!r} is not allowed: it must be a folder.")
    try:
        os.fsencode(text)
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError, UnicodeEncodeError) as error:
        # a ~name that nobody has, ~ without a home, links that lead in a circle, half a character
        raise ParameterError(f"{name} = {value!r} is not allowed: {error}.") from None


def read_file(path: Path) -> bytes:
    """The content of a file. A pipe or a device is none: to open it would wait for its writer.

    Raises:
        OSError: if it cannot be read, or is no file.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    return path.read_bytes()


def digest_of(path: Path) -> str:
    """Hash of a file's content. A file that was hashed is only hashed again if it has changed."""
    about = path.stat()
    return _digest_of(path.resolve(), about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=64)
def _digest_of(path: Path, *about: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(text: str) -> Any:
    """What JSON says, if no object names anything twice.

    Raises:
        ValueError: if it is not JSON, or does.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} stands there twice")
        found[name] = value
    return found


def part_of(path: Path, suffix: str = "") -> Path:
    """Where a file is written before it takes its name: beside it, under a name that nobody else
    has. With a suffix for a writer that insists on it."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex}.part{suffix}")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the whole of it or what was there before, also after a
    crash. Text is UTF-8, line ends as they are.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    part = part_of(path)
    try:
        with part.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def clear_parts(folder: Path, older_than: float = DAY) -> None:
    """Remove what writers that were killed left behind: parts older than that many seconds."""
    with suppress(OSError):
        for part in folder.iterdir():
            # one that is being written is younger, however long the work that it holds took
            if ".part" in part.suffixes and time.time() - part.lstat().st_mtime > older_than:
                with suppress(OSError):
                    part.unlink()


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for one run. The lock ends with the process that holds it, however that ends.

    Raises:
        BusyError: if another process, or another thread, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"another {what} is writing to {folder}; wait for its end") from None
    try:
        yield
    finally:
        lock.release()
