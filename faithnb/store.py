"""Results on disk: found again by what they depend on, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import xarray as xr

from faithnb.experiment import Experiment

ROOT = Path(__file__).parent.parent
TRAINED_BY = (
    "batches", "data", "experiment", "gradients", "objectives", "streams", "targets", "training",
    "transcoder",
)  # fmt: skip
SOURCES = {"trained": TRAINED_BY, "measures": (*TRAINED_BY, "metrics")}
"""The files that decide what a result is; a change in any of them makes kept results unusable."""


def default_folder() -> Path:
    """``$FAITHNB_STORE``, or ``_cache`` beside the package."""
    return Path(os.environ.get("FAITHNB_STORE") or ROOT / "_cache")


class Store:
    """Trained and measured experiments, a file for each group that was trained together.

    A file is a NumPy archive of plain arrays; reading it cannot execute anything. Several
    processes may use one folder.

    Args:
        folder: where; by default ``results`` in ``$FAITHNB_STORE``, or in ``_cache`` beside the
            package.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None):
        self.folder = Path(folder) if folder is not None else default_folder() / "results"

    def key(
        self,
        experiments: Sequence[Experiment],
        device: torch.device,
        what: Literal["trained", "measures"] = "measures",
    ) -> str:
        """What a result depends on: the experiments in order, the source, torch, the device."""
        digest = hashlib.sha256(what.encode() + b"\0")
        for experiment in experiments:
            digest.update(experiment.to_json().encode() + b"\0")
        for name in SOURCES[what]:
            digest.update((Path(__file__).parent / f"{name}.py").read_bytes() + b"\0")
        digest.update(f"{torch.__version__} {device.type}".encode())
        return digest.hexdigest()[:32]

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def save(self, key: str, columns: xr.Dataset) -> None:
        """Keep the data variables of a dataset over ``inst`` (and ``point``), with their units.

        Raises:
            OSError: if the folder cannot be written; what was there stays as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {
            str(name): {"dims": list(map(str, v.dims)), "units": v.attrs.get("units")}
            for name, v in columns.data_vars.items()
        }
        arrays = {str(name): v.values for name, v in columns.data_vars.items()}
        part = self.folder / f"{key}.{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays, _about=np.array(json.dumps(about)))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path(key))
        finally:
            part.unlink(missing_ok=True)

    def load(self, key: str) -> xr.Dataset | None:
        """What :meth:`save` kept, or ``None``. A damaged file is set aside with a warning."""
        path = self.path(key)
        if not path.exists():
            return None
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
                about: Mapping[str, Mapping] = json.loads(str(archive["_about"]))
                return xr.Dataset({
                    name: (a["dims"], archive[name], {"units": a["units"]} if a["units"] is not None
                           else {})
                    for name, a in about.items()
                })  # fmt: skip
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            warnings.warn(
                f"{path} cannot be read ({error}); it was set aside as {aside.name} and its "
                "experiments are trained again.",
                stacklevel=2,
            )
            return None
