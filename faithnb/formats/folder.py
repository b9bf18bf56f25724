"""A folder with weights, before it is known whose layout it has. Nothing in it is executed."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as deserialise
from torch import Tensor

from faithnb.common.errors import shown
from faithnb.common.files import folder_named, read_json

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

CONTAINERS = {".safetensors": "safetensors", ".npz": "npz", ".pt": "pickle"}
"""What weights are kept in, by the end of a file's name."""

BESIDE = ("sparsity.safetensors", "activation_whitening.safetensors",
          "activations_store_state.safetensors")  # fmt: skip
"""Files of SAELens that are no weights of a transcoder."""

OF_MANY_LAYERS = re.compile(r"W_(enc|dec)_\d+")
"""Names of weights that are spread over files, one layer each, and belong together."""


@dataclass(frozen=True)
class Folder:
    """One file of weights and what is said beside it."""

    path: Path
    weights_file: str
    container: str
    tensors: Mapping[str, Tensor]
    digest: str = field(default="", repr=False)

    def refuse(self, reason: str) -> ValueError:
        return refused(self.path, reason)

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def text(self, name: str) -> str:
        """A file beside the weights; nothing, if there is none.

        Raises:
            ValueError: if it cannot be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8") if self.has(name) else ""
        except (ValueError, OSError) as error:
            raise self.refuse(f"{name} cannot be read ({error})") from error

    def says(self, name: str) -> Any:
        """What a JSON file beside the weights says; an empty object, if there is none.

        Raises:
            ValueError: if it cannot be read.
        """
        text = self.text(name)
        try:
            return read_json(text) if self.has(name) else {}
        except ValueError as error:
            raise self.refuse(f"{name} cannot be read ({error})") from error

    def settings(self, name: str) -> dict[str, Any]:
        """What it says, if it is an object; an empty one otherwise."""
        said = self.says(name)
        return said if isinstance(said, dict) else {}

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[name].shape) if name in self.tensors else ()

    def matrix(self, name: str) -> Tensor:
        """A weight that must have two axes.

        Raises:
            ValueError: if it has not.
        """
        if len(self.shape(name)) != 2:
            raise self.refuse(f"{name} of shape {list(self.shape(name))} is no matrix")
        return self.tensors[name]

    def number(self, name: str) -> float:
        """A weight that must be one finite number.

        Raises:
            ValueError: if it is not.
        """
        value = self.tensors[name]
        if value.numel() != 1 or value.is_complex() or not torch.isfinite(value.double()).all():
            raise self.refuse(f"{name} of shape {list(value.shape)} must be one finite number")
        return float(value.double().item())

    def positive(self, name: str, value: Any) -> float:
        """A number that is said and must be above 0.

        Args:
            name: of what is said, for the message: ``"cfg.json says k"``.
            value: what is said.

        Raises:
            ValueError: if it is not.
        """
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if plain and 0 < value <= sys.float_info.max:
            return float(value)
        raise self.refuse(f"{name} = {shown(value)}, it must be a number above 0")

    def with_others(self) -> Folder:
        """With the weights of the files beside it, where one transcoder is spread over several.

        Raises:
            ValueError: if one is damaged, or two have a weight of the same name.
        """
        tensors: dict[str, Tensor] = {}
        for file in _weights_files((self.path / self.weights_file).parent):
            found, _ = _read(self.path, file)
            if twice := sorted(set(found) & set(tensors)):
                raise self.refuse(f"{twice[0]} stands in two files")
            tensors |= found
        return replace(self, tensors=tensors)

    def require_weights(
        self,
        needed: Collection[str],
        optional: Collection[str] = (),
        beside: Collection[str] = (),
    ) -> None:
        """That these are there and no others, in types that transcoders are trained in.

        Args:
            needed: what must be there.
            optional: what may be there.
            beside: what may be there in any type, because it is no weight.

        Raises:
            ValueError: naming what is missing, or too many, or of another type.
        """
        if missing := [name for name in needed if name not in self.tensors]:
            raise self.refuse(f"{self.weights_file} lacks {', '.join(missing)}")
        if unknown := sorted(set(self.tensors) - {*needed, *optional, *beside}):
            raise self.refuse(
                f"{self.weights_file} holds more than it should: {', '.join(unknown)}"
            )
        for name in (*needed, *optional):
            if name in self.tensors and self.tensors[name].dtype not in FLOATS:
                kind = str(self.tensors[name].dtype).removeprefix("torch.")
                raise self.refuse(f"{name} is of type {kind}, which no transcoder is trained in")

    def require_settings(
        self,
        file: str,
        said: Mapping[str, Any],
        understood: Mapping[Any, tuple[Any, ...]],
        known: Collection[str],
    ) -> None:
        """That a configuration says nothing whose meaning is not known.

        Args:
            file: its name.
            said: what it says.
            understood: what may be said by name, the default first.
            known: names of which anything may be said.

        Raises:
            ValueError: naming what is said.
        """
        for name, allowed in understood.items():
            if (value := said.get(name, allowed[0])) not in allowed:
                raise self.refuse(
                    f"{file} says {name} = {shown(value)}, only "
                    f"{' or '.join(map(repr, allowed))} is understood"
                )
        if unknown := sorted(set(said) - {*understood, *known}):
            raise self.refuse(
                f"{file} says {unknown[0]} = {shown(said[unknown[0]])}, and what that means is "
                "not known here"
            )


def refused(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} does not hold a transcoder that can be read: {reason}.")


def opened(folder: str | os.PathLike[str], layer: int | None = None) -> Folder:
    """The weights in a folder, or in its ``checkpoints``.

    Args:
        folder: its name.
        layer: which, if there is a file a layer.

    Raises:
        ValueError: if there is none, more than one that could be meant, or one that is damaged.
    """
    path = folder_named("folder", folder)
    if not path.is_dir():
        raise refused(path, "there is no such folder")
    file = _chosen(path, layer)
    name, container = file.relative_to(path).as_posix(), CONTAINERS[file.suffix]
    tensors, content = _read(path, file)
    return Folder(path, name, container, tensors, hashlib.sha256(content).hexdigest())


def _read(path: Path, file: Path) -> tuple[dict[str, Tensor], bytes]:
    """The weights in a file of a folder, and its content."""
    try:
        content = file.read_bytes()
        return _tensors(content, CONTAINERS[file.suffix]), content
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        name = file.relative_to(path).as_posix()
        raise refused(path, f"{name} cannot be read ({reason})") from error


_DAMAGE = (
    ValueError, OSError, TypeError, KeyError, EOFError, RuntimeError, SafetensorError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def _chosen(path: Path, layer: int | None) -> Path:
    files = _weights_files(path) or _weights_files(path / "checkpoints")
    if not files:
        raise refused(path, f"a file of weights is missing ({', '.join(CONTAINERS)})")
    named = [re.fullmatch(r"layer_(\d+)\.safetensors", file.name) for file in files]
    layers = {int(found[1]): file for found, file in zip(named, files, strict=True) if found}
    if len(layers) == len(files) and (layer is not None or len(files) > 1):
        if layer is None or layer not in list(layers):
            raise refused(
                path,
                f"layer = {shown(layer)} is none of the layers that it holds, "
                f"{', '.join(map(str, sorted(layers)))}",
            )
        return layers[layer]
    if layer is not None:
        raise refused(path, f"layer = {shown(layer)} is asked for, and it has no file a layer")
    if len(files) > 1:
        of_many = [file for file in files if any(map(OF_MANY_LAYERS.match, _names(file)))]
        if not of_many:
            names = " and in ".join(file.name for file in files)
            raise refused(path, f"weights stand in {names}")
        files = of_many
    return files[0]


def _weights_files(path: Path) -> list[Path]:
    inside = sorted(path.iterdir()) if path.is_dir() else []
    return [p for p in inside if p.suffix in CONTAINERS and p.name not in BESIDE and p.is_file()]


def _names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as opened_file:
            return list(opened_file.keys())
    except (SafetensorError, OSError):
        return []


def _tensors(content: bytes, container: str) -> dict[str, Tensor]:
    if container == "safetensors":
        return deserialise(content)
    if container == "npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError("it is no pickle of tensors, and nothing else in one is loaded") from error
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__}, not tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"{name} is a {type(value).__name__}, not a tensor")
    return dict(state)
