"""What a training step does, counted from the shapes of its arrays: bytes moved, arithmetic done,
calls made.

Every call reads each of its arrays once and writes each of its results once, and an array that is
the same for all instances is read once for all. Caches may save some of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from faithnb.training.loop import Loop

PARTS = ("products", "passes", "Adam", "data")
"""Of a step: matrix products, passes over arrays, the optimiser, drawing the batch."""

PRODUCTS = ("mm", "bmm", "addmm", "addmm_", "baddbmm", "baddbmm_")
ADAM = ("_fused_adam_", "_foreach_add_")

ADAM_ARITHMETIC, ADAM_NUMBERS = 13, 7
"""Of each weight: m ← m + (1 − β₁)(g − m) takes 3 operations, v ← β₂v + (1 − β₂)g² takes 4,
s ← √v / c + ε takes 3 and w ← w − am / s takes 3. It reads w, g, m and v, and writes w, m and v."""

MOVES = (
    "copy_", "clone", "_to_copy", "fill_", "zero_", "zeros", "zeros_like", "ones", "arange",
    "index_select", "index", "gather", "cat", "stack", "repeat", "constant_pad_nd",
)  # fmt: skip
"""They compute nothing."""

OVERWRITES = ("copy_", "fill_", "zero_")
"""They do not read what they change."""

FREE = ("empty", "empty_like", "new_empty", "detach", "lift_fresh", "_unsafe_view",
        "_local_scalar_dense")  # fmt: skip
"""They touch no numbers, and neither do views."""


class Work(NamedTuple):
    """Of a call, or of many."""

    bytes: float
    arithmetic: float
    """Additions and multiplications of products and of Adam, one for each number of all else."""
    calls: float = 1


def total(done: Sequence[Work]) -> Work:
    """Of many calls."""
    return Work(*(sum(amounts) for amounts in zip(Work(0, 0, 0), *done, strict=True)))


class Counter(TorchDispatchMode):
    """Notes the work of each call within it, in ``parts``.

    Args:
        data: whether all of it is drawing data.
    """

    def __init__(self, data: bool = False):
        super().__init__()
        self.data = data
        self.parts: dict[str, list[Work]] = {part: [] for part in PARTS}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        made = function(*args, **given)
        name = function.overloadpacket.__name__
        if function.namespace == "aten" and name not in FREE and not _is_view(function):
            part = "products" if name in PRODUCTS else "Adam" if name in ADAM else "passes"
            part = "data" if self.data else part
            self.parts[part].append(of_call(name, function, args, given, made))
        return made


def of_call(
    name: str, function: Any, args: Sequence[Any], given: Mapping[str, Any], made: Any
) -> Work:
    """Of one call of a torch operation.

    Args:
        name: of the operation.
        function: what was called, with its schema.
        args: it was given.
        given: by name.
        made: what it returned.
    """
    reads, writes = _read_and_written(name, function, args, given, made)
    if name == "_fused_adam_":
        weights = [*_tensors(args[0])]
        n = sum(w.numel() for w in weights)
        return Work(ADAM_NUMBERS * sum(map(_bytes, weights)), ADAM_ARITHMETIC * n)
    moved = sum(map(_bytes, (*reads, *writes)))
    if name in PRODUCTS:
        a, b = [t for t in args if isinstance(t, Tensor)][-2:]
        return Work(moved, 2 * a.numel() * b.shape[-1])
    numbers = max((t.numel() for t in (*reads, *writes)), default=0)
    return Work(moved, 0 if name in MOVES else numbers)


def of_step(loop: Loop) -> dict[str, list[Work]]:
    """Of the calls of one step, by part; of batches that are drawn together, a step's share."""
    ahead = loop.batches.ahead
    while loop.batches.step % ahead:
        loop.draw()
    with Counter(data=True) as drawing:
        for _ in range(ahead):
            loop.draw()
    with Counter() as updating:
        loop.update()
    shares = [Work(*(amount / ahead for amount in call)) for call in drawing.parts["data"]]
    return updating.parts | {"data": shares}


def _read_and_written(
    name: str, function: Any, args: Sequence[Any], given: Mapping[str, Any], made: Any
) -> tuple[list[Tensor], list[Tensor]]:
    arguments = function._schema.arguments
    named = dict(zip((a.name for a in arguments), args, strict=False)) | given
    reads, writes = [], []
    for argument in arguments:
        tensors = [*_tensors(named.get(argument.name))]
        written = argument.alias_info is not None and argument.alias_info.is_write
        unread = name in OVERWRITES or argument.kwarg_only or named.get("beta") == 0
        writes += tensors if written else []
        reads += tensors if not (written and unread) else []
    return reads, writes or [*_tensors(made)]


def _is_view(function: Any) -> bool:
    returned = [r.alias_info for r in function._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those of an argument; numbers that are kept as tensors move nothing."""
    if isinstance(value, Tensor):
        yield from [value] if value.ndim else []
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)


def _bytes(array: Tensor) -> int:
    """Of what differs in memory: an axis along which an array is expanded has stride 0."""
    axes = zip(array.shape, array.stride(), strict=True)
    return math.prod(n for n, stride in axes if stride) * array.element_size()
