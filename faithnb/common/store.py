"""Results on disk, a row a key: found by what they depend on, written whole or not at all.

A file of the store holds rows that were made together. Its name is the hash of its content, so that
damage shows, and its first line names its rows, so that each is found in whatever company it was
made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from platformdirs import user_cache_path

from faithnb.common.files import CHECKOUT, clear_parts, folder_named, write_whole

FAMILY = "faithnb results "
FORMAT = FAMILY + "1"
SUFFIX = ".results"
LONGEST_LINE = 2**26


class StoreWarning(UserWarning):
    """Something in a store cannot be used or kept; the work goes on without it."""


def default_folder() -> Path:
    """``$FAITHNB_STORE``; without it ``_cache`` in a checkout of the project, and the user's cache
    where the package was installed. It is absolute, so that a kernel in another place finds it.

    Raises:
        ParameterError: if the variable is set, but names no folder.
    """
    if (named := os.environ.get("FAITHNB_STORE")) is not None:
        return folder_named("FAITHNB_STORE", named)
    if (CHECKOUT / "pyproject.toml").exists():
        return CHECKOUT / "_cache"
    return user_cache_path("faithnb")


class Rows:
    """Rows of arrays in one folder, by their keys.

    Reading a file cannot execute anything. Any number of processes may read and write at once. A
    file that is damaged, or was not written by a store, is set aside, never deleted; one of another
    version is left alone. The numbers in a file that is whole are believed: whoever can write to
    the folder can change results.

    Args:
        folder: where; by default one of its kind in :func:`faithnb.common.store.default_folder`.

    Raises:
        ParameterError: if that is no folder's name.
    """

    kind = "rows"
    """Its folder's name, where none is given."""

    def __init__(self, folder: str | os.PathLike[str] | None = None):
        named = None if folder is None else folder_named("folder", folder)
        self.folder = named or default_folder() / self.kind
        clear_parts(self.folder)
        self._rows: dict[str, tuple[str, int]] = {}
        self._files: set[str] = set()
        self._read = lru_cache(maxsize=8)(self._read_file)

    def find(
        self, keys: Sequence[str], fits: Callable[[list[int], xr.Dataset], None] | None = None
    ) -> list[tuple[list[int], xr.Dataset]]:
        """What is kept of these: positions in ``keys``, and their rows over ``inst``, by file.

        Args:
            keys: of any kind.
            fits: is given both, and raises a ``ValueError`` if the rows are not what such keys
                must have; the file is set aside then.
        """
        self._look_for_new_files()
        by_file: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            if key in self._rows:
                by_file.setdefault(self._rows[key][0], []).append(position)
        found = []
        for name, positions in by_file.items():
            rows = [self._rows[keys[i]][1] for i in positions]
            if (whole := self._read(name)) is None:
                self._read.cache_clear()  # the same rows may be written again
                continue
            some = whole.isel(inst=rows)
            try:
                if fits:
                    fits(positions, some)
            except ValueError as error:
                self._set_aside(name, f"it holds other results than its keys say: {error}")
                continue
            found.append((positions, some))
        return found

    def holds(self, keys: Sequence[str]) -> list[bool]:
        """Which of these are kept, as far as names tell; no file is opened that was seen before."""
        self._look_for_new_files()
        return [key in self._rows for key in keys]

    def save(self, keys: Sequence[str], columns: xr.Dataset) -> None:
        """Keep the data variables of a dataset over ``inst``, a row a key, with their units.

        If the folder cannot be written, a :class:`faithnb.common.store.StoreWarning` says why,
        and nothing is kept.
        """
        about = {
            str(name): {"dims": list(map(str, v.dims)), "units": v.attrs.get("units")}
            for name, v in columns.data_vars.items()
        }
        header = {"format": FORMAT, "keys": list(keys), "columns": about}
        content = io.BytesIO()
        content.write(json.dumps(header).encode() + b"\n")
        arrays = {str(name): v.values for name, v in columns.data_vars.items()}
        np.savez(content, allow_pickle=False, **arrays)
        try:
            self._write(_name(content.getvalue()), content.getvalue())
        except OSError as error:
            warnings.warn(
                f"{self.folder} cannot be written ({error.strerror or error}). The work goes on, "
                "but what it gives is not kept: make room, or set FAITHNB_STORE to another folder.",
                StoreWarning,
                stacklevel=3,
            )

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, content)
        self._flush_folder()

    def _flush_folder(self) -> None:
        """So that a new name survives a power cut, where a system can promise that."""
        with suppress(OSError):
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _look_for_new_files(self) -> None:
        try:
            names = {  # files alone: to open a pipe would wait for whoever writes to it
                entry.name
                for entry in os.scandir(self.folder)
                if entry.name.endswith(SUFFIX) and entry.is_file()
            }
        except FileNotFoundError:
            names = set()
        except OSError as error:
            warnings.warn(f"{self.folder} cannot be read: {error}.", StoreWarning, 4)
            names = set()
        if self._files - names:
            self._files, self._rows = set(), {}
        for name in sorted(names - self._files):
            self._files.add(name)
            try:
                with (self.folder / name).open("rb") as file:
                    header = json.loads(file.readline(LONGEST_LINE))
                if _of_another_version(header):
                    self._leave_alone(name, header["format"])
                    continue
                rows = {str(key): (name, row) for row, key in enumerate(header["keys"])}
            except OSError as error:
                warnings.warn(f"{self.folder / name} cannot be read: {error}.", StoreWarning, 4)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                self._set_aside(name, f"its first line cannot be read: {error}")
            else:
                self._rows |= rows

    def _read_file(self, name: str) -> xr.Dataset | None:
        """A whole file; ``None``, and set aside, if it is not what its name says."""
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            warnings.warn(f"{self.folder / name} cannot be read: {error}.", StoreWarning, 5)
            return None
        if _name(content) != name:
            self._set_aside(name, "its content is not what its name says")
            return None
        try:
            return _unpack(content)
        except Exception as error:  # whatever a foreign archive makes its readers raise
            self._set_aside(name, f"it holds no results: {error}")
            return None

    def _leave_alone(self, name: str, written: str) -> None:
        warnings.warn(
            f"{self.folder / name} was written by another version of faithnb (its format is "
            f"{written!r}, here it is {FORMAT!r}); it is left alone, and not used.",
            StoreWarning,
            stacklevel=5,
        )

    def _set_aside(self, name: str, reason: str) -> None:
        self._rows = {key: at for key, at in self._rows.items() if at[0] != name}
        self._files.discard(name)
        aside = f"{name}.{uuid.uuid4().hex[:8]}.damaged"
        try:
            (self.folder / name).replace(self.folder / aside)
            done = f"it was set aside as {aside}"
        except OSError:
            done = "it is ignored"
        warnings.warn(
            f"{self.folder / name} is damaged or no file of a store ({reason}); {done}, and what "
            "it may have held is computed again.",
            StoreWarning,
            stacklevel=6,
        )


def _of_another_version(header: Any) -> bool:
    """Whether a first line is that of another version's file."""
    written = header.get("format") if isinstance(header, dict) else None
    return isinstance(written, str) and written.startswith(FAMILY) and written != FORMAT


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32] + SUFFIX


def _unpack(content: bytes) -> xr.Dataset:
    first, _, rest = content.partition(b"\n")
    header = json.loads(first)
    if header["format"] != FORMAT:
        raise ValueError(f"its format is {header['format']!r}, known is {FORMAT!r}")
    about: Mapping[str, Mapping[str, Any]] = header["columns"]
    with np.load(io.BytesIO(rest), allow_pickle=False) as archive:
        columns = xr.Dataset({
            name: (a["dims"], archive[name], {} if a["units"] is None else {"units": a["units"]})
            for name, a in about.items()
        })  # fmt: skip
    if columns.sizes["inst"] != len(header["keys"]):
        raise ValueError("it names other rows than it has")
    return columns
