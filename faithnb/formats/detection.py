"""Whose layout a folder has, and a transcoder into a folder of a layout."""

from __future__ import annotations

import os
from collections.abc import Mapping

from faithnb.common.errors import ParameterError, shown
from faithnb.common.files import folder_named, write_whole
from faithnb.formats.folder import Folder, opened
from faithnb.formats.layout import LAYOUTS, Found, Held, Kind, Layout, Match, kind_of


def read(
    folder: str | os.PathLike[str], kinds: Mapping[str, Kind], layer: int | None = None
) -> Found:
    """What a folder holds, whichever layout it has.

    Args:
        folder: its name.
        kinds: the architectures that there are, by name.
        layer: which, if there is a file a layer.

    Raises:
        ValueError: with the reason, if it is damaged, ambiguous or of no layout that is known.
    """
    path = opened(folder, layer)
    found = layout_of(path).read(path, kinds)
    kind_of(path, found.architecture, kinds)
    return found


def layout_of(folder: Folder) -> type[Layout]:
    """Whose layout it is.

    Raises:
        ValueError: if it is nobody's, or that of more than one.
    """
    matches = {name: layout.match(folder) for name, layout in LAYOUTS.items()}
    surest = max(matches.values())
    names = sorted(name for name, match in matches.items() if match == surest)
    if surest == Match.NO:
        held = ", ".join(sorted(folder.tensors)[:8]) or "nothing"
        raise folder.refuse(
            f"{folder.weights_file} holds {held}, which is no layout that is known here "
            f"({', '.join(LAYOUTS)})"
        )
    if len(names) > 1:
        raise folder.refuse(
            f"neither the names nor the shapes of its weights nor a configuration tell whether it "
            f"is of {' or '.join(names)}"
        )
    return LAYOUTS[names[0]]


def write(folder: str | os.PathLike[str], layout: str, held: Held) -> None:
    """A transcoder in a layout.

    Args:
        folder: made if need be.
        layout: the layout's name.
        held: the transcoder.

    Raises:
        ParameterError: if there is no such layout, or it has no place for the transcoder.
        OSError: if it cannot be written.
    """
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ParameterError(
            f"layout = {shown(layout)} is not allowed: it must be one of {', '.join(LAYOUTS)}."
        )
    of, path = LAYOUTS[layout], folder_named("folder", folder)
    if held.layer is not None and not (of.by_layer and type(held.layer) is int and held.layer >= 0):
        a_number = "a whole number of at least 0" if of.by_layer else "left out"
        raise ParameterError(
            f"layer = {shown(held.layer)} is not allowed with layout = {layout!r}: it must be "
            f"{a_number}."
        )
    if (reason := next(of.refusals(held), None)) is not None:
        raise ParameterError(f"layout = {layout!r} cannot hold this transcoder: {reason}.")
    for name, content in of.files(held).items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(path / name, content)
