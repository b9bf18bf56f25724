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
from faithnb.measures.memorization import lost
from faithnb.model.transcoder import Transcoder
from faithnb.training.ensemble import train
from faithnb.training.store import Store
from faithnb.training.trained import Trained
from faithnb.widgets.bundle import STYLE, script
from faithnb.widgets.knobs import (
    FORMS,
    KEPT,
    KNOBS,
    LEARNED,
    MATCHED,
    PAGE_TRAINS,
    RELU,
    STORIES,
    knobs_for,
    refuse_what_a_page_cannot_train,
)


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
    weight: Any = traitlets.Float().tag(sync=True)
    k: Any = traitlets.Int(KEPT).tag(sync=True)

    def __init__(self, experiment: Experiment, title: str = "Train a transcoder in this page"):
        refuse_what_a_page_cannot_train(experiment)
        fields = asdict(experiment)
        knobs = knobs_for(max(map(len, experiment.points), default=0))
        weight = experiment.jacobian_coefficient or MATCHED["jacobian_coefficient"]
        super().__init__(fields=fields, start=fields, knobs=knobs, title=title, weight=weight)
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
            "weights": [
                getattr(transcoder, name)[0].flatten().tolist()
                for name in LEARNED[transcoder.architecture]
            ],
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
        super().__init__(**mechanism(transcoders, p))


def mechanism(
    transcoders: Mapping[str, Transcoder], p: Float[Tensor, "d_in"]
) -> dict[str, list[Any]]:
    """What the page's script of :class:`Mechanism` is given.

    Raises:
        ParameterError: if the page cannot compute one of the transcoders.
    """
    for name, t in transcoders.items():
        if t.architecture not in LEARNED or t.W_skip is not None or t.b_dec.any():
            raise ParameterError(
                f"transcoders[{name!r}] is not allowed: the page computes {', '.join(LEARNED)} "
                "without a linear part or a decoder bias."
            )
    shown = [
        {"name": name, "d": t.d_in, "H": t.d_sae, "k": getattr(t, "k", 0)} | {
            weight: [round(v, 5) for v in getattr(t, weight)[0].flatten().tolist()]
            for weight in LEARNED[t.architecture]
        }
        for name, t in transcoders.items()
    ]  # fmt: skip
    return {"transcoders": shown, "p": p.tolist()}


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
            refuse_what_a_page_cannot_train(replace(experiment, **fields))
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
                "states": scan.state.values.tolist(), "lost": lost(scan).values.tolist(),
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


def explore(experiment: Experiment, *title: str) -> Explorer:
    """The experiment in a widget, with a title: change it, train it, watch it. What a page cannot
    train is taken as the page can, starting from the fields that it knows; without matching, if it
    does not know its form, and as a ReLU, if it does not know its architecture."""
    if experiment.architecture not in LEARNED:
        experiment = replace(experiment, **RELU | PAGE_TRAINS)
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
