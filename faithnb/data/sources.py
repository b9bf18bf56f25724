"""Where base samples come from, one class each: the note's distribution, or a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.common.extensions import Registered, Registry
from faithnb.common.files import digest_of
from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED, evaluation_sample, sample_base

DATA: Registry[type[Data]] = Registry("source")
"""Every source that ``Experiment.data`` may name; it may be a file of activations, too."""

FILES = (".npy", ".safetensors")
"""How the name of a file of activations ends."""

READERS: dict[str, type[Data]] = {}
"""What reads a file that ``Experiment.data`` names, by how its name ends."""

FLOATS = {"F16": "<f2", "F32": "<f4"}
"""What safetensors calls the types that are read, and numpy."""


class Data(Registered):
    """Base samples, made of uniform random numbers.

    A subclass with a ``name`` can be asked for by an experiment.
    """

    registry = DATA

    d_in: int

    @classmethod
    def of_experiment(cls, experiment: Any) -> Data:
        """That of an experiment."""
        return cls(experiment.d_in)  # type: ignore[call-arg]

    @classmethod
    def of_streams(cls, experiments: Any) -> Data:
        """That of experiments that share batches, a stream each; they may differ in density."""
        return cls.of_experiment(experiments[0])

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        default = type(experiment).density
        if experiment.density != default:
            yield (
                f"density = {experiment.density:g} is not allowed with data = "
                f"{experiment.data!r}: it has one of its own, leave it at {default:g}."
            )

    @classmethod
    def files(cls, name: str) -> tuple[str, ...]:
        """The files that are read where an experiment names it so."""
        return ()

    @property
    def uniforms(self) -> int:
        """Uniform random numbers that a sample is made of."""
        return self.d_in

    def draw(self, u: Float[Tensor, "*batch uniforms"]) -> Float[Tensor, "*batch d_in"]:
        """Samples from numbers that are uniform on (0, 1), in their type."""
        raise NotImplementedError

    def evaluation(
        self, n: int = EVALUATED, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n d_in"]:
        """The fixed samples, n of them at most, that every base metric is taken on."""
        return self.draw(Stream([0], "evaluation").uniform(0, (n, self.uniforms), dtype)[0])

    def answered_by(self, layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """How the outputs of a layer follow from the numbers that samples were made of, and from
        these: by asking it, unless a source knows them."""
        return lambda u, x: layer(x)

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """E x xᵀ, in float64; by the samples that metrics are taken on, unless it is known."""
        x = self.evaluation(dtype=torch.float64)
        return x.T @ x / len(x)

    def directions(
        self, normal: Float[Tensor, "*batch d_in"], share: float | Tensor = 1.0
    ) -> Float[Tensor, "*batch d_in"]:
        """Directions v with E v vᵀ = share · E x xᵀ, from standard normal numbers."""
        share = torch.as_tensor(share, dtype=normal.dtype)
        return share.sqrt() * (normal @ self._root.to(normal))

    @cached_property
    def _root(self) -> Tensor:
        values, vectors = torch.linalg.eigh(self.covariance())
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


class Sparse(Data):
    """A source in which something acts with probability ``density``.

    Args:
        d_in: number of coordinates.
        density: one number, or one for each stream of a batch, ``[n_streams, 1, 1]``.
    """

    def __init__(self, d_in: int, density: float | Tensor = 0.1):
        self.d_in, self.density = d_in, density

    @classmethod
    def of_experiment(cls, experiment: Any) -> Data:
        """With its density."""
        return cls(experiment.d_in, experiment.density)

    @classmethod
    def of_streams(cls, experiments: Any) -> Data:
        """With the density of each."""
        dtype = experiments[0].torch_dtype
        density = torch.tensor([e.density for e in experiments], dtype=dtype)[:, None, None]
        return cls(experiments[0].d_in, density)

    def _on(self, like: Tensor) -> float | Tensor:
        """The density, where it is needed; a tensor is moved there once."""
        if isinstance(self.density, Tensor):
            self.density = self.density.to(like)
        return self.density

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """So sparse that nothing can be measured."""
        least = 10 / EVALUATED / experiment.d_in
        if experiment.density < least and experiment.blur == 0:
            yield (
                f"density = {experiment.density:g} is not allowed with d_in = {experiment.d_in}: "
                f"among the {EVALUATED} inputs that measures are taken on hardly one would not be "
                f"0. It must be at least {least:.2g}."
            )


class SparseUniform(Sparse):
    """The note's data: each coordinate U(−1, 1) with probability ``density``, else exactly 0."""

    name = "sparse_uniform"

    def draw(self, u: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """One number decides whether a coordinate is 0, and what it is."""
        return sample_base(u, self._on(u))

    def evaluation(
        self, n: int = EVALUATED, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n d_in"]:
        """Of one density."""
        return evaluation_sample(self.d_in, float(self.density), n, dtype)

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """density / 3 times the identity."""
        return float(self.density) / 3 * torch.eye(self.d_in, dtype=torch.float64)

    def directions(
        self, normal: Float[Tensor, "*batch d_in"], share: float | Tensor = 1.0
    ) -> Float[Tensor, "*batch d_in"]:
        """√(share · density / 3) times the numbers."""
        return torch.as_tensor(share * self._on(normal) / 3).sqrt() * normal


class Activations(Data):
    """Rows of a file, such as a model's activations, read as they are asked for.

    The file is mapped into memory, never loaded whole. Metrics are taken on its last rows, a fifth
    of them and :data:`faithnb.data.sampling.EVALUATED` at most; training draws from the others.

    Args:
        path: a ``.npy`` array, or a ``.safetensors`` file of one tensor, ``[n, d_in]`` in float16
            or float32.

    Raises:
        ParameterError: if it is missing, damaged, or something else.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.rows = mapped(self.path)
        n, self.d_in = self.rows.shape
        self.n_held_out = min(EVALUATED, max(1, n // 5))
        self.n_train = n - self.n_held_out

    @classmethod
    def of_experiment(cls, experiment: Any) -> Data:
        """The experiment's file, looked through once."""
        found = cls(experiment.data)
        found.digest()
        return found

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """Of another width."""
        yield from super().refusals(experiment)
        yield from of_another_width(cls(experiment.data), experiment)

    @classmethod
    def files(cls, name: str) -> tuple[str, ...]:
        """The one that is named."""
        return (name,)

    def digest(self) -> str:
        """The hash of its content, which keys hold in place of its name.

        Raises:
            ParameterError: if a number in it is not finite.
        """
        found = digest_of(self.path)
        refuse_holes(self.path, found)
        return found

    @property
    def uniforms(self) -> int:
        """Two, as one has 2²³ values, and a file may have more rows."""
        return 2

    def draw(self, u: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch d_in"]:
        """Each row as likely as any other."""
        fine = u[..., 0].double() + u[..., 1].double() * 2**-23
        return self._rows((fine * self.n_train).long().clamp(max=self.n_train - 1), u)

    def evaluation(
        self, n: int = EVALUATED, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "n d_in"]:
        """The first of the rows that are held out."""
        last = min(n, self.n_held_out)
        return self._rows(self.n_train + torch.arange(last), torch.empty(0, dtype=dtype))

    def covariance(self) -> Float[Tensor, "d_in d_in"]:
        """By 65,536 of the rows that training draws from, at most, evenly spaced."""
        index = torch.linspace(0, self.n_train - 1, min(self.n_train, 2**16)).long()
        x = self._rows(index, torch.empty(0, dtype=torch.float64))
        return x.T @ x / len(x)

    def _rows(self, index: Tensor, like: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self.rows[index.cpu().numpy()])).to(like)


@lru_cache(maxsize=64)
def refuse_holes(path: Path, digest: str) -> None:
    for first in range(0, len(rows := mapped(path)), 2**16):
        if not np.isfinite(rows[first : first + 2**16]).all():
            raise ParameterError(f"data = {str(path)!r} is not allowed: it holds NaN or infinity.")


def of_another_width(data: Data, experiment: Any) -> Iterator[str]:
    """The sentence for an experiment whose inputs are not as wide as a file's rows."""
    if data.d_in != experiment.d_in:
        yield (
            f"d_in = {experiment.d_in} is not allowed with data = {experiment.data!r}: its rows "
            f"have {data.d_in} coordinates."
        )


def mapped(path: Path) -> np.memmap:
    """The rows of a file, mapped."""
    refused = f"data = {str(path)!r} is not allowed"
    if path.suffix not in FILES:
        raise ParameterError(
            f"{refused}: it must be one of {', '.join(map(repr, DATA))}, or the path of a file "
            f"that ends in {' or '.join(FILES)}."
        )
    if not path.is_file():
        raise ParameterError(f"{refused}: there is no such file.")
    try:
        if path.suffix == ".npy":
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            rows = _mapped_safetensors(path)
    except ParameterError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, RecursionError) as error:
        raise ParameterError(f"{refused}: it cannot be read ({error}).") from None
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
        raise ParameterError(f"{refused}: its shape is {list(rows.shape)}; it must be [n, d_in].")
    if rows.dtype not in (np.float16, np.float32):
        raise ParameterError(f"{refused}: its type is {rows.dtype}; it must be float16 or float32.")
    return rows


def _mapped_safetensors(path: Path) -> np.memmap:
    """Its one tensor: a header's length in eight bytes, the header in JSON, the numbers."""
    refused = f"data = {str(path)!r} is not allowed"
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > 100_000_000:
            raise ValueError("its header has no end")
        header = json.loads(file.read(size))
    tensors = {name: about for name, about in header.items() if name != "__metadata__"}
    if len(tensors) != 1:
        raise ParameterError(f"{refused}: it holds the tensors {sorted(tensors)}, not one.")
    (about,) = tensors.values()
    if about["dtype"] not in FLOATS:
        raise ParameterError(
            f"{refused}: its type is {about['dtype']}; it must be float16 or float32."
        )
    begin, end = about["data_offsets"]
    if end - begin != np.prod(about["shape"]) * int(FLOATS[about["dtype"]][-1]):
        raise ValueError("its header does not say where its numbers are")
    kind, shape = FLOATS[about["dtype"]], tuple(about["shape"])
    return np.memmap(path, kind, "r", 8 + size + begin, shape)


READERS |= dict.fromkeys(FILES, Activations)


def source(name: str) -> type[Data]:
    """The class of that name, or what reads the file of that name."""
    return DATA.get(name) or READERS.get(Path(name).suffix, Activations)
