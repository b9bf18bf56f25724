"""Train many small transcoders at once."""

from __future__ import annotations

import threading
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import fields
from functools import partial

import torch
import xarray as xr
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.errors import ParameterError
from faithnb.common.progress import progress_bar
from faithnb.experiment import Experiment
from faithnb.model.transcoder import Transcoder
from faithnb.training.batches import COPIES, DRAWN_AT_ONCE
from faithnb.training.loop import CHUNK_BYTES, SCALARS, Loop
from faithnb.training.objectives import TERMS
from faithnb.training.side_by_side import divided, side_by_side
from faithnb.training.store import Store
from faithnb.training.trained import (
    Trained,
    assembled,
    packed,
    recorded_steps,
    refuse_other_weights,
    unpacked,
)

MAX_INSTANCES = 64
"""Instances trained side by side in one ensemble, more are trained one ensemble after the other;
on a GPU as many as its free memory holds, but at least these."""

LARGE = 2**24
"""Multiplications of one product from which on several threads share it."""

COPIES_IN_FLIGHT = 12
"""Arrays as large as that at any time, at most; `make bench` measures it."""

MAY_DIFFER = (*SCALARS, "seed", "density", "repeat_frac", "init")
"""Fields in which experiments may differ and still share an ensemble."""

MUST_AGREE = tuple(f.name for f in fields(Experiment) if f.name not in MAY_DIFFER)
"""Fields in which they may not."""


class DivergenceWarning(RuntimeWarning):
    """Some of the experiments diverged; the others are as they should be."""


@settled()
def train(
    experiments: Experiment | Sequence[Experiment],
    device: str | torch.device = "auto",
    progress: bool = True,
    store: Store | None = None,
) -> Trained:
    """Train one transcoder an experiment.

    Experiments that can share an ensemble do, whatever their order; mixed structures are fine. An
    instance's result depends on its own experiment alone, not on its company.

    Args:
        experiments: one experiment or many.
        device: ``"cpu"``, ``"cuda"``, … or ``"auto"``: a GPU when there is one. The result comes
            back on the CPU.
        progress: show one bar over all steps, with the mean loss and the share of features that are
            on somewhere in the batch.
        store: where trained ensembles are kept and looked for; ``None`` keeps nothing.

    Raises:
        ParameterError: if an argument is not what it must be.
        ValueError: if there is nothing to train, or no such device.
        KeyboardInterrupt: when interrupted; nothing half-trained is returned.
    """
    if store is not None and not isinstance(store, Store):
        raise ParameterError(f"store = {store!r} is not allowed: it must be a faithnb.Store.")
    if not isinstance(experiments, (Experiment, Iterable)):
        raise ParameterError(
            f"experiments = {experiments!r} is not allowed: it must be an Experiment, or several."
        )
    experiments = (experiments,) if isinstance(experiments, Experiment) else tuple(experiments)
    if not experiments:
        raise ValueError("experiments is empty: there is nothing to train.")
    if strangers := [e for e in experiments if not isinstance(e, Experiment)]:
        raise ValueError(f"experiments holds {strangers[0]!r}, which is not an Experiment.")
    device = device_named(device)

    keys = store.keys(experiments, device, "trained") if store else []
    kept = store.find(keys, partial(refuse_other_weights, experiments)) if store else []
    done = [(at, *unpacked(experiments[at[0]], rows)) for at, rows in kept]
    found = {i for at, _, _ in done for i in at}
    missing = [i for i in range(len(experiments)) if i not in found]
    n_threads = torch.get_num_threads() if device.type == "cpu" else 1
    alike = divided(list(groups(experiments, device, missing)), n_threads)
    large = any(e.batch_size * e.d_in * e.d_sae >= LARGE for e in experiments)
    with Steps(sum(experiments[group[0]].steps for group in alike), progress) as steps:

        def trained_together(
            group: list[int], stop: threading.Event
        ) -> tuple[Transcoder, xr.Dataset]:
            return _train_ensemble([experiments[i] for i in group], device, steps, stop)

        for group, trained in side_by_side(trained_together, alike, n_threads, large):
            done.append((group, *trained))
            if store:
                store.save([keys[i] for i in group], packed(*trained))
    whole = assembled(experiments, done)
    _warn_of_divergence(experiments, whole.diverged)
    return whole


def device_named(device: str | torch.device) -> torch.device:
    """The device, if it can be used here; ``"auto"`` is a GPU when there is one.

    Raises:
        ValueError: if it cannot.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        if torch.empty(0, device=device).is_meta or device is None:
            raise RuntimeError("nothing can be trained there")
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"device = {device!r} cannot be used here: {reason}.") from None
    return torch.device(device)


def groups(
    experiments: Sequence[Experiment],
    device: torch.device,
    which: Iterable[int] | None = None,
    most: int | None = None,
) -> Iterator[list[int]]:
    """Indices of experiments that can share an ensemble, as many as the device takes at a time.

    Those that share a seed stand together, so that fewer ensembles draw the same data.

    Args:
        experiments: of any kind.
        device: where they are to be trained.
        which: indices of those that are; all by default.
        most: the size of a group, where it is not the device that decides.
    """
    alike = defaultdict(list)
    for i in range(len(experiments)) if which is None else which:
        experiment = experiments[i]
        template = tuple(getattr(experiment, name) for name in MUST_AGREE)
        alike[template, experiment.contribution_coefficient > 0].append(i)
    for members in alike.values():
        members.sort(key=lambda i: (experiments[i].seed, experiments[i].density))
        size = most or max_instances(experiments[members[0]], device)
        for first in range(0, len(members), size):
            yield members[first : first + size]


def max_instances(template: Experiment, device: torch.device) -> int:
    """How many instances like a template one ensemble holds on a device."""
    if device.type != "cuda":
        return MAX_INSTANCES
    n_weights = (2 * template.d_in + 1) * template.d_sae
    weights = 8 * n_weights  # themselves, gradients, Adam's two moments, the same scaled
    seen = 6 * (template.batch_size + COPIES) * (template.d_in + 1)  # x, v, noise, and to draw them
    size = template.torch_dtype.itemsize
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = 0.8 * (torch.cuda.mem_get_info(device)[0] + kept)
    free -= COPIES_IN_FLIGHT * CHUNK_BYTES["cuda"] + DRAWN_AT_ONCE["cuda"] * seen * size
    return max(MAX_INSTANCES, int(free / ((weights + seen) * size)))


class Steps:
    """Counts the steps of all ensembles, from any thread, and shows one bar over them.

    Args:
        total: how many there will be.
        progress: whether to show the bar.

    Raises:
        KeyboardInterrupt: on leaving after an interruption, with how many steps were done.
    """

    def __init__(self, total: int, progress: bool):
        self.total, self.done = total, 0
        self._bar, self._lock = progress_bar(total, "step", progress, "training"), threading.Lock()

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bar.close()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"training was interrupted after {self.done} of {self.total} steps; nothing "
                "half-trained was kept."
            ) from None

    def count(self, loss: Tensor | None = None, alive: Tensor | None = None) -> None:
        """One more step is done; of some, loss and active features are shown.

        Args:
            loss: of each instance, ``[n_inst]``.
            alive: the share of features that are on somewhere in the batch, ``[n_inst]``.
        """
        with self._lock:
            self.done += 1
            if not self._bar.disable and loss is not None and alive is not None:
                said = {"loss": f"{loss.mean():.4f}", "alive": f"{alive.mean():.0%}"}
                self._bar.set_postfix(said, refresh=False)
            self._bar.update()


@settled()
def _train_ensemble(
    experiments: Sequence[Experiment], device: torch.device, steps: Steps, stop: threading.Event
) -> tuple[Transcoder, xr.Dataset]:
    loop = Loop(experiments, device)
    recorded = recorded_steps(experiments[0])
    record_of = {int(step): record for record, step in enumerate(recorded)}
    history = torch.zeros(len(recorded), len(TERMS), len(experiments), device=device)
    alive = torch.zeros(len(recorded), len(experiments), device=device)
    for step in range(experiments[0].steps):
        if stop.is_set():
            raise CancelledError
        loop.draw()
        now: tuple[Tensor, ...] = ()
        if (record := record_of.get(step)) is not None:
            history[record], alive[record] = loop.terms()
            now = history[record].sum(0), alive[record]
        loop.update()
        steps.count(*now)

    history = history.cpu()
    columns = dict(zip(TERMS, history.unbind(1), strict=True))
    columns |= {"loss": history.sum(1), "alive": alive.cpu()}
    return loop.transcoder[:].cpu(), xr.Dataset(
        {name: (("inst", "step"), values.T.numpy()) for name, values in columns.items()},
        coords={"step": recorded},
    )


def _warn_of_divergence(experiments: Sequence[Experiment], diverged: Sequence[int]) -> None:
    if not diverged:
        return
    named = "; ".join(f"{i}: {experiments[i].unusual()}" for i in diverged[:8])
    more = f"; and {len(diverged) - 8} more" if len(diverged) > 8 else ""
    warnings.warn(
        f"{len(diverged)} of {len(experiments)} experiments diverged ({named}{more}). Their "
        "weights mean nothing and their metrics are NaN; the others are not affected. A lower "
        "learning_rate may help.",
        DivergenceWarning,
        stacklevel=4,
    )
