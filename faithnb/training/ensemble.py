"""Train many small transcoders at once."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from faithnb.common.ambient import settled
from faithnb.common.errors import ParameterError
from faithnb.common.progress import progress_bar
from faithnb.data.sampling import evaluation_sample, pad_points
from faithnb.experiment import Experiment
from faithnb.measures.error import mse
from faithnb.measures.table import refuse_unlike, table
from faithnb.model.transcoder import ARCHITECTURES, AXES, Transcoder
from faithnb.training.batches import COPIES, Batches
from faithnb.training.gradients import Autograd, ClosedForm
from faithnb.training.init import settings, start
from faithnb.training.objectives import TERMS, loss_terms
from faithnb.training.store import Store

N_RECORDS = 100
"""How many steps of a training are kept in its history, at most; the first and last are."""

MAX_INSTANCES = 64
"""Instances trained side by side in one ensemble, more are trained one ensemble after the other;
on a GPU as many as its free memory holds, but at least these."""

DIVERGED_AT = 100.0
"""A last loss above this multiple of the first one (or of d_in, the most that |x|² can be on base
data, if that is larger) counts as divergence."""

SCALARS = (
    "sparsity_coefficient",
    "tanh_scale",
    "jacobian_coefficient",
    "perturbation_scale",
    "contribution_coefficient",
)
"""Fields that enter the loss as one number an instance."""

CHUNK_BYTES = {"cpu": 2**21, "cuda": 2**27}
"""Size of a hidden layer of all instances computed together: what the caches of a CPU hold, and
enough to keep a GPU busy."""

COPIES_IN_FLIGHT = 12
"""Arrays as large as that at any time, at most; `make bench` measures it."""

MAY_DIFFER = (*SCALARS, "seed", "density", "repeat_frac", "init")
"""Fields in which experiments may differ and still share an ensemble."""

MUST_AGREE = tuple(f.name for f in fields(Experiment) if f.name not in MAY_DIFFER)
"""Fields in which they may not."""


class DivergenceWarning(RuntimeWarning):
    """Some of the experiments diverged; the others are as they should be."""


@dataclass(frozen=True)
class Trained:
    """Trained transcoders with the experiments they came from, in the order these were given."""

    experiments: tuple[Experiment, ...]
    """What was trained."""
    ensembles: tuple[tuple[tuple[int, ...], Transcoder], ...]
    """The transcoders as they were trained, pairs of indices into ``experiments`` and ensemble."""
    history: xr.Dataset
    """Each term of the loss and their sum, ``loss``, over (inst, step), before each update."""
    diverged: tuple[int, ...] = ()
    """Indices of experiments whose loss or error left all bounds; their weights mean nothing."""

    def __len__(self) -> int:
        return len(self.experiments)

    @cached_property
    def transcoder(self) -> Transcoder:
        """All transcoders as one ensemble.

        Raises:
            ValueError: if their shapes differ; then use ``trained.ensembles`` or ``trained[i]``.
        """
        shapes = {(t.d_in, t.d_sae, t.d_out, t.W_enc.dtype) for _, t in self.ensembles}
        if len(shapes) > 1:
            raise ValueError(
                "these transcoders have different shapes or types and cannot be one ensemble; "
                "use trained.ensembles, or trained[i] for one of them."
            )
        order = np.argsort([i for indices, _ in self.ensembles for i in indices])
        return Transcoder.cat([t for _, t in self.ensembles])[order]

    def __getitem__(self, i: int) -> Transcoder:
        """The transcoder of experiment i, an ensemble of one."""
        i = range(len(self))[i]
        for indices, transcoder in self.ensembles:
            if i in indices:
                return transcoder[indices.index(i)]
        raise IndexError(i)

    def metrics(self) -> xr.Dataset:
        """Every metric of every transcoder over ``inst``, see
        :func:`faithnb.measures.table.table`."""
        return table(self.experiments, self.ensembles, self.diverged)


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
        progress: show one bar over all steps, with the mean loss.
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
    alike = list(groups(experiments, device, missing))
    total = sum(experiments[group[0]].steps for group in alike)
    with progress_bar(total, "step", progress, "training") as bar:
        for group in alike:
            trained = _train_ensemble([experiments[i] for i in group], device, bar)
            done.append((group, *trained))
            if store:
                store.save([keys[i] for i in group], packed(*trained))
    whole = assembled(experiments, done)
    _warn_of_divergence(experiments, whole.diverged)
    return whole


def assembled(
    experiments: Sequence[Experiment],
    parts: Sequence[tuple[Sequence[int], Transcoder, xr.Dataset]],
) -> Trained:
    """The whole from its parts: indices into ``experiments``, transcoders, histories."""
    ensembles, histories, diverged = [], [], []
    for indices, transcoder, history in parts:
        ensembles.append((tuple(indices), transcoder))
        histories.append(history.assign_coords(inst=list(indices)))
        bad = _diverged([experiments[i] for i in indices], transcoder, history)
        diverged += [i for i, is_bad in zip(indices, bad, strict=True) if is_bad]
    history = xr.concat(histories, dim="inst", join="outer").sortby("inst")
    return Trained(tuple(experiments), tuple(ensembles), history, tuple(sorted(diverged)))


def packed(transcoder: Transcoder, history: xr.Dataset) -> xr.Dataset:
    """Weights and history as one dataset, for the store."""
    weights = {
        name: (("inst", *transcoder.axes[name]), weight.numpy())
        for name, weight in transcoder.weights().items()
    }
    steps = ("step", history.step.values)
    return history.drop_vars(["step", "inst"], errors="ignore").assign(
        weights | {"recorded": steps}
    )


def refuse_other_weights(
    experiments: Sequence[Experiment], at: Sequence[int], rows: xr.Dataset
) -> None:
    """Whether kept rows are what :func:`packed` gives of those experiments.

    Raises:
        ValueError: naming what is missing, too much, or of another shape or kind.
    """
    e = experiments[at[0]]
    sizes = {"inst": len(at), "d_in": e.d_in, "d_sae": e.d_sae, "d_out": e.d_out}
    weight = "f4" if e.dtype == "float32" else "f8"
    steps = {"step": len(recorded_steps(e.steps))}
    wanted = {
        name: ({axis: sizes[axis] for axis in ("inst", *axes)}, weight)
        for name, axes in _axes(e).items()
    }
    wanted |= {name: ({"inst": len(at), **steps}, "f4") for name in (*TERMS, "loss")}
    refuse_unlike(wanted | {"recorded": (steps, "i")}, rows)


def unpacked(template: Experiment, kept: xr.Dataset) -> tuple[Transcoder, xr.Dataset]:
    """What :func:`packed` packed of experiments like the template."""
    weights = {name: torch.from_numpy(kept[name].values) for name in _axes(template)}
    transcoder = ARCHITECTURES[template.architecture](**weights, **settings(template))
    history = kept.drop_vars([*weights, "recorded"]).assign_coords(step=kept.recorded.values)
    return transcoder, history


def _axes(template: Experiment) -> dict[str, tuple[str, ...]]:
    """The weights of a template's transcoders, and their axes after that of the instances."""
    own = ARCHITECTURES[template.architecture].own_axes
    return {k: axes for k, axes in AXES.items() if template.skip or k != "W_skip"} | dict(own)


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


class Loop:
    """The training of one ensemble, to be driven step by step: ``draw``, then ``update``.

    Args:
        experiments: equal in all fields but :data:`MAY_DIFFER`.
        device: where to train.
    """

    def __init__(self, experiments: Sequence[Experiment], device: torch.device):
        self.template = template = experiments[0]
        self.target = template.make_target()
        self.batches = Batches(experiments, device)
        first = start(experiments, self.target).to(device)
        if ClosedForm.holds_for(template):
            encoder = torch.cat([first.W_enc, first.b_enc[:, None]], dim=1).detach()
            decoder = first.W_dec.detach()
            self.weights: tuple[Tensor, ...] = encoder, decoder
            self.transcoder = Transcoder(encoder[:, :-1], encoder[:, -1], decoder, first.b_dec)
        else:
            self.transcoder = first
            self.weights = tuple(w for name, w in first.weights().items() if name != "b_dec")
        self.gradients = tuple(torch.zeros_like(weight) for weight in self.weights)
        for weight, gradient in zip(self.weights, self.gradients, strict=True):
            weight.grad = gradient
        as_form: dict[str, Any] = {"dtype": template.torch_dtype, "device": device}
        self.scalars = {
            name: torch.tensor([getattr(e, name) for e in experiments], **as_form)
            for name in SCALARS
        }
        n_chunks = -(-len(experiments) // most_in_a_chunk(template, device))
        self.chunk_size = -(-len(experiments) // n_chunks)
        self.chunks = _slices(len(experiments), self.chunk_size)
        self.quarters = _slices(len(experiments), -(-self.chunk_size // 4))
        self.stages = [
            (round(template.jacobian_start * template.steps), template, self._gradient(template))
        ]
        if self.stages[0][0] > 0:
            unmatched = replace(
                template, jacobian_matching="none", jacobian_coefficient=0.0, jacobian_start=0.0,
                kink="zero",
            )  # fmt: skip
            self.stages.insert(0, (0, unmatched, self._gradient(unmatched)))
        self.optimiser = torch.optim.Adam(self.weights, lr=template.learning_rate, fused=True)

    def _gradient(self, template: Experiment) -> Callable[[], None]:
        given = template, self.target, self.scalars, self.batches, self.chunks
        if ClosedForm.holds_for(template):
            return ClosedForm(*given, self.weights, self.gradients)
        return Autograd(*given, self.transcoder, self.gradients)

    def _stage(self) -> tuple[Experiment, Callable[[], None]]:
        """The template that the present batch is trained on, and its gradient."""
        step = max(0, self.batches.step - 1)
        return [(template, gradient) for first, template, gradient in self.stages if first <= step][
            -1
        ]

    def draw(self) -> None:
        """Draw the next batch."""
        self.batches.draw()

    @torch.no_grad()
    def terms(self) -> Tensor:
        """The terms of the loss on the present batch, ``[n_terms, n_inst]``.

        A quarter of a chunk at a time: written for reading, they take much memory.
        """
        template, _ = self._stage()
        values = torch.zeros(
            len(TERMS), len(self.batches.stream), device=self.batches.weight.device
        )
        for part in self.quarters:
            scalars = {name: scalar[part] for name, scalar in self.scalars.items()}
            terms = loss_terms(
                template, self.transcoder[part], self.target,
                **self.batches.inputs(part), **scalars,
            )  # fmt: skip
            for name, value in terms.items():
                values[TERMS.index(name), part] = value
        return values

    def gradient(self) -> None:
        """Write the gradient on the present batch into ``gradients``."""
        self._stage()[1]()

    def update(self) -> None:
        """One step of Adam on the present batch. No call in it asks for a value, as :meth:`draw`
        does not, so that neither waits for a GPU."""
        self.gradient()
        now = rate(self.template, self.batches.step - 1)
        self.optimiser.param_groups[0]["lr"] = self.template.learning_rate * now
        self.optimiser.step()


def _slices(n: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def max_instances(template: Experiment, device: torch.device) -> int:
    """How many instances like a template one ensemble holds on a device."""
    if device.type != "cuda":
        return MAX_INSTANCES
    n_weights = (2 * template.d_in + 1) * template.d_sae
    weights = 8 * n_weights  # themselves, gradients, Adam's two moments, the same scaled
    seen = 6 * (template.batch_size + COPIES) * (template.d_in + 1)  # x, v, noise, and to draw them
    of_one = (weights + seen) * template.torch_dtype.itemsize
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = 0.8 * (torch.cuda.mem_get_info(device)[0] + kept)
    return max(MAX_INSTANCES, int((free - COPIES_IN_FLIGHT * CHUNK_BYTES["cuda"]) / of_one))


def most_in_a_chunk(template: Experiment, device: torch.device) -> int:
    """How many instances' hidden layers fit :data:`CHUNK_BYTES`; at least one.

    The exact form also holds a matrix of features by features.
    """
    rows = template.batch_size
    if template.jacobian_estimator == "exact":
        rows = max(rows, template.d_sae)
    hidden = rows * template.d_sae * template.torch_dtype.itemsize
    return max(1, CHUNK_BYTES.get(device.type, CHUNK_BYTES["cuda"]) // hidden)


def recorded_steps(steps: int) -> np.ndarray:
    """The steps that a history keeps."""
    return np.unique(np.linspace(0, steps - 1, N_RECORDS).astype(int))


def _train_ensemble(
    experiments: Sequence[Experiment], device: torch.device, bar: tqdm
) -> tuple[Transcoder, xr.Dataset]:
    loop = Loop(experiments, device)
    steps = experiments[0].steps
    recorded = recorded_steps(steps)
    record_of = {int(step): record for record, step in enumerate(recorded)}
    history = torch.zeros(len(recorded), len(TERMS), len(experiments), device=device)
    step = 0
    try:
        for step in range(steps):
            loop.draw()
            if (record := record_of.get(step)) is not None:
                history[record] = loop.terms()
                if not bar.disable:
                    mean_loss = history[record].sum(0).mean()
                    bar.set_postfix(loss=f"{mean_loss:.4f}", refresh=False)
            loop.update()
            bar.update()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"training was interrupted after {step} of {steps} steps of an ensemble of "
            f"{len(experiments)}; nothing half-trained was kept."
        ) from None

    history = history.cpu()
    columns = dict(zip(TERMS, history.unbind(1), strict=True)) | {"loss": history.sum(1)}
    return loop.transcoder[:].cpu(), xr.Dataset(
        {name: (("inst", "step"), values.T.numpy()) for name, values in columns.items()},
        coords={"step": recorded},
    )


def rate(experiment: Experiment, step: int) -> float:
    """The learning rate at a step, as a fraction of its height: rise, plateau, linear fall."""
    rise = experiment.warmup_frac * experiment.steps
    fall = experiment.decay_frac * experiment.steps
    up = (step + 1) / rise if rise else 1.0
    down = (experiment.steps - step) / fall if fall else 1.0
    return min(1.0, up, down)


def _diverged(
    experiments: Sequence[Experiment], transcoder: Transcoder, history: xr.Dataset
) -> list[bool]:
    """Whose weights or loss are not finite, or whose loss, or error at last, is far above the loss
    at first. A loss is recorded before its update, and says nothing of the last one."""
    loss = history.loss.values.astype(float)
    weights = torch.cat([w.reshape(len(w), -1) for w in transcoder.parameters()], dim=1)
    finite = torch.isfinite(weights).all(dim=1).cpu().numpy() & np.isfinite(loss).all(axis=1)
    target = experiments[0].make_target()
    errors = [mse(transcoder[k], target, _seen(e)).item() for k, e in enumerate(experiments)]
    ended = np.maximum(loss[:, -1], errors)
    bound = DIVERGED_AT * np.maximum(loss[:, 0], transcoder.d_in)
    return list(~finite | ~(ended <= bound))


def _seen(experiment: Experiment, n: int = 1024) -> Tensor:
    """Inputs of the kind that an experiment trains on, and its points."""
    e = experiment
    x = evaluation_sample(e.d_in, e.density, n, e.torch_dtype, e.blur)
    return torch.cat([x, pad_points(e.points, e.d_in, e.torch_dtype)])


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
