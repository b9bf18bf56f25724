"""What a process, a thread or a start-up file may have set does not decide what is computed.

Defaults of torch and numpy are set to what they are in a fresh process while something is trained,
measured or drawn, and put back afterwards. Deterministic algorithms and the random state are left
as they are, because no result depends on them, and so is the number of threads, which may change a
sum in its last bit. A transcoder's own methods compute as torch is set.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

_here = threading.local()
_everywhere = threading.Lock()
_inside = 0
_before: dict[str, Any] = {}

_TINY = 5e-324


def nested() -> bool:
    """Whether this thread is inside :func:`settled` already."""
    return getattr(_here, "depth", 0) > 0


@contextmanager
def settled() -> Iterator[None]:
    """As in a fresh process, also as a decorator: float32, the CPU, gradients recorded, products in
    full precision, no autocast and no inference mode; numpy warns as it does by default.

    What torch sets for a whole process stays so until the last thread has left.
    """
    if nested():
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(_process())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # entered only then: it slows every call down
            stack.enter_context(torch.device("cpu"))
        if _TINY * 1.0 == 0:
            torch.set_flush_denormal(False)
            stack.callback(torch.set_flush_denormal, True)
        _here.depth = 1
        stack.callback(setattr, _here, "depth", 0)
        yield


@contextmanager
def _process() -> Iterator[None]:
    """What torch keeps for the whole process: the first to enter changes it, the last puts it
    back."""
    global _inside, _before
    with _everywhere:
        if _inside == 0:
            _before = {"dtype": torch.get_default_dtype(), "precision": _precision()}
            torch.set_default_dtype(torch.float32)
            _set_precision(dict.fromkeys(_before["precision"], "ieee"))
        _inside += 1
    try:
        yield
    finally:
        with _everywhere:
            _inside -= 1
            if _inside == 0:
                torch.set_default_dtype(_before["dtype"])
                _set_precision(_before["precision"])


_BY_BACKEND = {"cpu": torch.backends.mkldnn, "cuda": torch.backends.cuda}
_FIRST_WITH_BACKENDS = hasattr(torch.backends.cuda.matmul, "fp32_precision")


def _precision() -> dict[str, str]:
    """How float32 matrices are multiplied."""
    if _FIRST_WITH_BACKENDS:
        return {name: of.matmul.fp32_precision for name, of in _BY_BACKEND.items()}
    return {"all": {"highest": "ieee"}.get(now := torch.get_float32_matmul_precision(), now)}


def _set_precision(wanted: dict[str, str]) -> None:
    for name, value in wanted.items():
        if name == "all":  # torch before 2.9
            torch.set_float32_matmul_precision({"ieee": "highest"}.get(value, value))
        elif _BY_BACKEND[name].matmul.fp32_precision != value:
            _BY_BACKEND[name].matmul.fp32_precision = value
