"""Widgets that compute in the page itself, and with torch where there is a kernel."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar

import anywidget
import numpy as np
import torch
import traitlets
import xarray as xr
from ipywidgets import GridBox, Layout
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.data.sampling import pad_points
from faithnb.experiment import Experiment
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import Trained, train
from faithnb.training.store import Store
from faithnb.widgets.bundle import STYLE, script


def _slider(name: str, label: str, low: float, high: float, step: float, live: bool = True) -> Any:
    return {"name": name, "label": label, "min": low, "max": high, "step": step, "live": live}


def _choice(name: str, label: str, *choices: str) -> Any:
    return {"name": name, "label": label, "choices": choices, "live": True}


FORMS = ("none", "plain", "smoothed", "finite")
"""The forms of Jacobian matching that a page knows."""

KNOBS: list[dict[str, Any]] = [
    {
        "group": "Data",
        "knobs": [
            _slider("density", "density", 0.02, 1, 0.02),
            _slider("repeat_frac", "repeats of p", 0, 0.5, 0.01),
        ],
    },
    {
        "group": "Sparsity",
        "knobs": [
            _choice("sparsity_penalty", "penalty", "tanh", "l1", "none"),
            _slider("sparsity_coefficient", "weight λ", 0, 0.5, 0.01),
            _slider("tanh_scale", "tanh scale s", 0.5, 16, 0.5),
        ],
    },
    {
        "group": "Jacobian matching",
        "knobs": [
            _choice("jacobian_matching", "form", *FORMS),
            _slider("jacobian_coefficient", "weight μ", 0, 1, 0.005),
            _choice("kink", "derivative at 0", "zero", "masked", "one"),
        ],
    },
    {
        "group": "Training (a change begins anew)",
        "knobs": [
            _slider("d_in", "coordinates", 4, 32, 1, live=False),
            _slider("d_sae", "features", 4, 128, 4, live=False),
            _slider("batch_size", "batch size", 32, 512, 32, live=False),
            _slider("steps", "steps", 100, 6000, 100, live=False),
            _slider("seed", "seed", 0, 999, 1, live=False),
        ],
    },
]
"""What a reader may turn; ``live`` knobs also in the middle of a training."""


def _knobs_for(longest: int) -> list[dict[str, Any]]:
    """The knobs, with room for points of so many coordinates."""
    return [
        group | {"knobs": [
            k | {"min": max(k["min"], longest)} if k["name"] == "d_in" else k
            for k in group["knobs"]
        ]}
        for group in KNOBS
    ]  # fmt: skip


HEADLINE = {"d_in": 16, "d_sae": 64, "batch_size": 256, "steps": 2000, "sparsity_coefficient": 0.1}
MATCHED = {"jacobian_coefficient": 0.1, "kink": "zero"}
STORIES: list[dict[str, Any]] = [
    {
        "name": "no repeats",
        "about": "Without repeats: does each sign of each coordinate get a feature of its own?",
        "fields": HEADLINE | {"repeat_frac": 0.0, "jacobian_matching": "none"},
    },
    {
        "name": "10 % repeats",
        "about": "One input in ten is p: does a feature for p appear that the layer lacks?",
        "fields": HEADLINE | {"repeat_frac": 0.1, "jacobian_matching": "none"},
    },
    {
        "name": "10 % repeats, Jacobians matched",
        "about": "The same data, with smoothed Jacobians matched: is there still a feature for p?",
        "fields": HEADLINE | MATCHED | {"repeat_frac": 0.1, "jacobian_matching": "smoothed"},
    },
    {
        "name": "derivative at 0 read as 0",
        "about": "No repeats. Plain matching asks for slope 0 wherever a coordinate is 0, where "
        "the layer has none: see what error (FVU) and density (L0) pay for it.",
        "fields": HEADLINE | MATCHED | {"repeat_frac": 0.0, "jacobian_matching": "plain"},
    },
    {
        "name": "small",
        "about": "Eight coordinates, 32 features, 10 % repeats, in a second. Whether it "
        "memorises depends on the seed: try several.",
        "fields": {
            "d_in": 8, "d_sae": 32, "batch_size": 128, "steps": 1500, "repeat_frac": 0.1,
            "sparsity_coefficient": 0.15, "jacobian_matching": "none",
        },
    },
]  # fmt: skip
"""The note's three stories and our own: what a button sets, and what is then to be seen."""

LEARNED = ("W_enc", "b_enc", "W_dec")
"""What a page needs of a transcoder, in this order."""

PAGE_TRAINS: dict[str, Any] = {
    "target": "abs", "sampling": "exact", "architecture": "relu", "skip": False, "k": 0,
    "point_variation": "none",
    "jacobian_estimator": "sampled", "probe": "rademacher", "matching_at": "all",
    "contribution_coefficient": 0.0, "init": "random", "jacobian_start": 0.0,
    "blur": 0.0,
}  # fmt: skip
"""The values of fields that the page's own training knows; torch knows all."""


class Explorer(anywidget.AnyWidget):
    """Knobs for an experiment and a training to watch, with or without a kernel.

    The page trains by itself, from the same random numbers to the same weights as
    :func:`faithnb.train`. Where a kernel listens, a further button trains with torch.

    Args:
        experiment: where the knobs stand at first.
        title: above the widget.

    Raises:
        ParameterError: if the page cannot train this kind of experiment.
    """

    _esm = script("explorer.js")
    _css = STYLE

    title: Any = traitlets.Unicode().tag(sync=True)
    fields: Any = traitlets.Dict().tag(sync=True)
    usual: Any = traitlets.Dict(asdict(Experiment())).tag(sync=True)
    start: Any = traitlets.Dict().tag(sync=True)
    knobs: Any = traitlets.List(KNOBS).tag(sync=True)
    presets: Any = traitlets.List(STORIES).tag(sync=True)

    def __init__(self, experiment: Experiment, title: str = "Train a transcoder in this page"):
        _refuse_what_a_page_cannot_train(experiment)
        fields = asdict(experiment)
        knobs = _knobs_for(max(map(len, experiment.points), default=0))
        super().__init__(fields=fields, start=fields, knobs=knobs, title=title)
        self.trained: Trained | None = None
        """The last result of torch, ``None`` before the first."""
        self.on_msg(lambda _, message, __: self._answer(message))

    @property
    def experiment(self) -> Experiment:
        """What the knobs describe.

        Raises:
            ParameterError: if the choices make no sense together.
        """
        return Experiment(**self.fields)

    def run(self) -> Trained:
        """Train what the knobs describe with torch, keep it as ``trained`` and show it.

        Raises:
            ParameterError: if the choices make no sense together.
        """
        fields = dict(self.fields)
        self.trained = train(self.experiment, progress=False)
        if self.trained.diverged:
            self.send({"refused": "The loss left all bounds. Try other settings."})
            return self.trained
        history = self.trained.history.isel(inst=0)
        steps = history.step.values.tolist()
        terms = {str(name): history[name].values.tolist() for name in history.data_vars}
        transcoder = self.trained.transcoder
        self.send({"fields": fields, "trained": {
            "weights": [getattr(transcoder, name)[0].flatten().tolist() for name in LEARNED],
            "history": [
                {"step": step, **{name: values[k] for name, values in terms.items()}}
                for k, step in enumerate(steps)
            ],
        }})  # fmt: skip
        return self.trained

    def _answer(self, message: Mapping[str, Any]) -> None:
        """To a page: whether a kernel is there, or a training with torch."""
        if "asks" in message:
            self.send({"kernel": True})
        elif "train" in message:
            try:
                self.run()
            except ParameterError as error:
                self.send({"refused": str(error)})
            except Exception as error:  # the page waits for an answer, whatever happens
                self.send({"refused": f"Training failed: {type(error).__name__}: {error}"})
                raise


class Mechanism(anywidget.AnyWidget):
    """Transcoders side by side under one input to move: what contributes, and the Jacobian there.

    Args:
        transcoders: by title; the first instance of each is shown.
        p: the point to start from; its coordinates that are not 0 can be moved.
    """

    _esm = script("mechanism.js")
    _css = STYLE

    transcoders: Any = traitlets.List().tag(sync=True)
    p: Any = traitlets.List().tag(sync=True)

    def __init__(self, transcoders: Mapping[str, Transcoder], p: Float[Tensor, "d_in"]):
        for name, t in transcoders.items():
            if not t.is_relu or t.W_skip is not None or t.b_dec.any():
                raise ParameterError(
                    f"transcoders[{name!r}] is not allowed: the page computes ReLU transcoders "
                    "without a linear part or a decoder bias."
                )
        shown = [
            {"name": name, "d": t.d_in, "H": t.d_sae} | {
                weight: [round(v, 5) for v in getattr(t, weight)[0].flatten().tolist()]
                for weight in LEARNED
            }
            for name, t in transcoders.items()
        ]  # fmt: skip
        super().__init__(transcoders=shown, p=p.tolist())


class PhaseDiagram(anywidget.AnyWidget):
    """A scan that the page trains itself, cell by cell, in as many workers as there are cores.

    Args:
        experiment: all that neither the axes nor the panels change.
        panels: fields that a panel changes, by its title.
        **axes: ``repeat_frac`` and ``sparsity_coefficient``, the values of each.
    """

    _esm = script("diagram.js")
    _css = STYLE

    experiment: Any = traitlets.Dict().tag(sync=True)
    panels: Any = traitlets.List().tag(sync=True)
    repeat_frac: Any = traitlets.List().tag(sync=True)
    sparsity_coefficient: Any = traitlets.List().tag(sync=True)

    def __init__(
        self, experiment: Experiment, panels: Mapping[str, Mapping[str, Any]], **axes: Any
    ):
        for fields in panels.values():
            _refuse_what_a_page_cannot_train(replace(experiment, **fields))
        super().__init__(
            experiment=asdict(experiment),
            panels=[{"name": name, "fields": dict(fields)} for name, fields in panels.items()],
            **{name: list(map(float, values)) for name, values in axes.items()},
        )


class Atlas(anywidget.AnyWidget):
    """Scans to look up: in each cell the states over seeds, and the transcoder of the first seed.

    Args:
        scans: by title, from :func:`faithnb.sweep` over ``repeat_frac``,
            ``sparsity_coefficient`` and ``seed``.
        store: where the transcoders are looked for; those that are not there are trained.
        progress: show a bar while they are.
    """

    _esm = script("atlas.js")
    _css = STYLE

    MEASURES: ClassVar = {
        "memorization": "memorization", "fvu": "FVU", "l0": "L0",
        "jacobian_error": "Jacobian error", "off_diagonal_norm": "‖offdiag J‖ at p",
    }  # fmt: skip
    """The columns of a cell's table."""

    scans: Any = traitlets.List().tag(sync=True)
    weights: Any = traitlets.Unicode().tag(sync=True)
    p: Any = traitlets.List().tag(sync=True)

    def __init__(
        self, scans: Mapping[str, xr.Dataset], store: Store | None = None, progress: bool = True
    ):
        shown: list[dict[str, Any]] = []
        packs: list[np.ndarray] = []
        for name, scan in scans.items():
            scan = scan.transpose("sparsity_coefficient", "repeat_frac", "seed")
            base = Experiment.from_json(scan.attrs["experiment"])
            cells = [
                replace(base, sparsity_coefficient=c, repeat_frac=r, seed=int(scan.seed[0]))
                for c in scan.sparsity_coefficient.values.tolist()
                for r in scan.repeat_frac.values.tolist()
            ]
            t = train(cells, store=store, progress=progress).transcoder
            weights = torch.cat([w.flatten(1) for w in (t.W_enc, t.b_enc, t.W_dec)], 1).numpy()
            scales = np.abs(weights).max(1)
            packs.append((weights / scales[:, None] * 32767).round().astype("<i2"))
            shown.append({
                "name": name, "d": t.d_in, "H": t.d_sae, "density": base.density,
                "first": sum(map(len, packs[:-1])),
                "scales": scales.reshape(scan.state.shape[:2]).tolist(),
                "states": scan.state.values.tolist(),
                "measures": [
                    {"label": label, "values": _rounded(scan[m].values)}
                    for m, label in self.MEASURES.items()
                ],
                "repeat_frac": scan.repeat_frac.values.tolist(),
                "sparsity_coefficient": scan.sparsity_coefficient.values.tolist(),
                "seeds": scan.seed.values.tolist(),
            })  # fmt: skip
        packed = base64.b64encode(zlib.compress(b"".join(pack.tobytes() for pack in packs), 9))
        point = pad_points(base.points, base.d_in)[0].tolist()
        super().__init__(scans=shown, weights=packed.decode(), p=point)


def _rounded(values: np.ndarray) -> list[Any]:
    """Nested lists of numbers; ``None`` for what is not one, which JSON has no word for."""
    return np.where(np.isfinite(values), values.round(4), np.array(None)).tolist()


def _refuse_what_a_page_cannot_train(experiment: Experiment) -> None:
    for name, known in PAGE_TRAINS.items():
        if (value := getattr(experiment, name)) != known:
            raise ParameterError(
                f"{name} = {value!r} is not allowed: a page trains {name} = {known!r} only; "
                "use faithnb.train."
            )
    if experiment.jacobian_matching not in FORMS:
        raise ParameterError(
            f"jacobian_matching = {experiment.jacobian_matching!r} is not allowed: a page trains "
            f"one of {', '.join(FORMS)}; use faithnb.train."
        )


def explore(experiment: Experiment, *title: str) -> Explorer:
    """The experiment in a widget, with a title: change it, train it, watch it. What a page cannot
    train is taken as the page can, starting from the fields that it knows; without matching, if it
    does not know its form."""
    if experiment.jacobian_matching not in FORMS:
        experiment = replace(experiment, jacobian_matching="none", jacobian_coefficient=0.0,
                             jacobian_start=0.0)  # fmt: skip
    return Explorer(replace(experiment, **PAGE_TRAINS), *title)


def side_by_side(*experiments: Experiment) -> GridBox:
    """Explorers side by side, below each other where there is no room, each titled by the fields
    in which it differs from another."""
    names = asdict(Experiment())
    different = [n for n in names if len({repr(getattr(e, n)) for e in experiments}) > 1]
    titles = [", ".join(f"{n} = {getattr(e, n)}" for n in different) for e in experiments]
    columns = "repeat(auto-fit, minmax(min(22rem, 100%), 1fr))"
    return GridBox(
        [explore(e, title) for e, title in zip(experiments, titles, strict=True)],
        layout=Layout(grid_template_columns=columns, grid_gap="0.6rem"),
    )
