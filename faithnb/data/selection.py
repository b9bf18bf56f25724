"""Selected rows of a file as a source: some left out, some repeated, in other units."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.common.files import digest_of, part_of, read_json, write_whole
from faithnb.data.sampling import EVALUATED
from faithnb.data.sources import READERS, Data, mapped, of_another_width, refuse_holes

ENDING = ".json"
"""How the name of a selection ends."""

FIELDS = ("rows", "scale", "left_out", "repeated", "frac")
"""What it says."""

AT_ONCE = 4096
"""Rows that a layer is asked about together."""


class Selection(Data):
    """Rows of a file of activations that a small JSON file beside it selects.

    A sample is one of the *repeated* rows with probability ``frac``, all of them together and each
    as likely as any other, and one of all others but those *left out* otherwise. Of those, the
    ones in the last fifth of the file, or in its last
    :data:`faithnb.data.sampling.EVALUATED` rows if these are fewer, are held out for measures,
    whatever else is selected. Every row is divided by ``scale``.

    Outputs of a layer that is read from a file, too, are worked out once and kept beside the rows.

    Args:
        path: what :func:`select` wrote.

    Raises:
        ParameterError: if it, or the file of rows, is missing, damaged, or something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        said = _said(self.path)
        self.rows_path = self.path.parent / said["rows"]
        self.rows = mapped(self.rows_path)
        self.scale, self.frac = float(said["scale"]), float(said["frac"])
        n, self.d_in = self.rows.shape
        self.repeated = torch.tensor(said["repeated"], dtype=torch.long)
        others = torch.ones(n, dtype=torch.bool)
        try:
            others[torch.tensor(said["left_out"], dtype=torch.long)] = False
            others[self.repeated] = False
        except IndexError:
            raise _refused(self.path, f"it names a row beyond the {n} that there are") from None
        kept, held = others.nonzero()[:, 0], n - min(EVALUATED, max(1, n // 5))
        self.kept, self.held_out = kept[kept < held], kept[kept >= held]
        empty = not len(self.kept) or not len(self.held_out)
        if empty or not 0 <= self.frac <= 1 or self.scale <= 0:
            raise _refused(self.path, "it leaves nothing to draw from")

    @classmethod
    def of_experiment(cls, experiment: Any) -> Data:
        """The experiment's, whose file of rows was looked through once."""
        found = cls(experiment.data)
        refuse_holes(found.rows_path, digest_of(found.rows_path))
        return found

    @classmethod
    def files(cls, name: str) -> tuple[str, ...]:
        """The selection, and the rows that it selects from."""
        return (name, str(cls(name).rows_path))

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Of another width."""
        yield from super().refusals(experiment)
        yield from of_another_width(cls(experiment.data), experiment)

    @property
    def uniforms(self) -> int:
        """Three, for whether it is a repeated row, and which row it is, finely."""
        return 3

    def index(self, u: Float[Tensor, "*batch 3"]) -> Tensor:
        """Which rows of the file are drawn."""
        fine = u[..., 1].double() + u[..., 2].double() * 2**-23
        found = self._at(self.kept, fine)
        if self.frac == 0 or not len(self.repeated):
            return found
        return torch.where(u[..., 0] < self.frac, self._at(self.repeated, fine), found)

    @staticmethod
    def _at(rows: Tensor, fine: Tensor) -> Tensor:
        rows = rows.to(fine.device)
        return rows[(fine * len(rows)).long().clamp(max=len(rows) - 1)]

    def draw(self, u: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch d_in"]:
        """Rows of the file, in this source's units."""
        return self.at(self.index(u), u)

    def at(self, index: Tensor, like: Tensor) -> Float[Tensor, "*batch d_in"]:
        """Rows by their number, in this source's units."""
        rows = torch.from_numpy(np.asarray(self.rows[index.cpu().numpy()]))
        return rows.to(like) / self.scale

    def evaluation(
        self, n: int = EVALUATED, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n d_in"]:
        """The first of the rows that are held out."""
        return self.at(self.held_out[:n], torch.empty(0, dtype=dtype))

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """By 16,384 of the rows that training draws from, at most, evenly spaced."""
        some = torch.linspace(0, len(self.kept) - 1, min(len(self.kept), 2**14)).long()
        x = self.at(self.kept[some], torch.empty(0, dtype=torch.float64))
        return x.T @ x / len(x)

    def answered_by(self, layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """From a table, if the layer is one from a file; or by asking it."""
        if not hasattr(layer, "digest"):
            return super().answered_by(layer)
        table = self._table(layer)
        return lambda u, x: torch.from_numpy(table[self.index(u).cpu().numpy()]).to(x)

    def _table(self, layer: Any) -> np.ndarray:
        """A layer's outputs at every row of the file, in float32, kept beside it."""
        about = f"{self._digest} {layer.digest()} {self.scale!r}"
        return _tabled(self, layer, about)

    @cached_property
    def _digest(self) -> str:
        return digest_of(self.rows_path)

    def _answers(self, layer: Any) -> Iterator[np.ndarray]:
        for first in range(0, len(self.rows), AT_ONCE):
            index = torch.arange(first, min(first + AT_ONCE, len(self.rows)))
            yield layer(self.at(index, torch.empty(0))).cpu().numpy()


READERS[ENDING] = Selection


def select(
    path: Path,
    rows: Path,
    scale: float = 1.0,
    left_out: Sequence[int] = (),
    repeated: Sequence[int] = (),
    frac: float = 0.0,
) -> str:
    """Write a selection of rows, unless it stands there already.

    Args:
        path: where to; it ends in ``.json``.
        rows: the file of activations, in the same folder.
        scale: what every row is divided by.
        left_out: numbers of the rows that are never drawn.
        repeated: of those that are drawn with probability ``frac``, and not otherwise.
        frac: how much of the data they make up together.

    Returns:
        its name, for ``Experiment.data``.

    Raises:
        OSError: if it cannot be written.
    """
    left_out, repeated = sorted(map(int, left_out)), sorted(map(int, repeated))
    values = (rows.name, float(scale), left_out, repeated, float(frac))
    text = json.dumps(dict(zip(FIELDS, values, strict=True)))
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)
    return str(path)


def _said(path: Path) -> dict[str, Any]:
    """What a selection says."""
    if not path.is_file():
        raise _refused(path, "there is no such file")
    try:
        said = read_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(path, f"it cannot be read ({error})") from None
    if not isinstance(said, dict) or set(said) != set(FIELDS):
        raise _refused(path, f"it must say {', '.join(FIELDS)}")
    return said


def _refused(path: Path, why: str) -> ParameterError:
    return ParameterError(f"data = {str(path)!r} is not allowed: {why}.")


@lru_cache(maxsize=4)
def _kept_table(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _tabled(data: Selection, layer: Any, about: str) -> np.ndarray:
    """The table of those outputs, found or made."""
    name = hashlib.sha256(about.encode()).hexdigest()[:16]
    path = data.rows_path.with_name(f"{data.rows_path.stem}.{name}.outputs.npy")
    if not path.is_file():
        part = part_of(path, ".npy")
        try:
            shape = (len(data.rows), layer.d_out)
            table = np.lib.format.open_memmap(part, "w+", np.float32, shape)
            first = 0
            for some in data._answers(layer):
                table[first : first + len(some)] = some
                first += len(some)
            table.flush()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return _kept_table(path)
