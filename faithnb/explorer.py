"""Widgets: train one transcoder live and see its figures again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as widgets
from IPython.display import display

from faithnb import figures
from faithnb.circuits import CircuitMap
from faithnb.data import evaluation_sample, pad_points
from faithnb.experiment import Experiment, ParameterError
from faithnb.training import Trained, train

CHOICES: dict[str, Sequence[str]] = {
    "sparsity_penalty": ("tanh", "l1", "none"),
    "jacobian_matching": ("none", "plain", "smoothed", "finite"),
    "kink": ("zero", "masked", "one"),
}
SLIDERS: dict[str, dict[str, Any]] = {
    "density": {"min": 0.02, "max": 1.0, "step": 0.02},
    "repeat_frac": {"min": 0.0, "max": 0.5, "step": 0.01},
    "sparsity_coefficient": {"min": 0.0, "max": 0.5, "step": 0.01},
    "tanh_scale": {"min": 0.5, "max": 16.0, "step": 0.5},
    "jacobian_coefficient": {"min": 0.0, "max": 1.0, "step": 0.01},
}
WHOLE: dict[str, dict[str, int]] = {
    "d_sae": {"min": 4, "max": 256, "step": 4},
    "steps": {"min": 100, "max": 12000, "step": 100},
    "seed": {"min": 0, "max": 999, "step": 1},
}


class Explorer(widgets.VBox):
    """Sliders for an experiment, a button that trains it, and its figures.

    Attributes:
        trained: the last result, ``None`` before the first.
    """

    def __init__(self, experiment: Experiment):
        self.base = experiment
        self.trained: Trained | None = None
        style = {"style": {"description_width": "11em"}, "layout": {"width": "26em"}}
        self.controls: dict[str, widgets.Widget] = {}
        for name, options in SLIDERS.items():
            self.controls[name] = widgets.FloatSlider(
                description=name,
                readout_format=".2f",
                **_fitting(options, experiment, name),
                **style,
            )
        for name, whole in WHOLE.items():
            self.controls[name] = widgets.IntSlider(
                description=name, **_fitting(whole, experiment, name), **style
            )
        for name, choices in CHOICES.items():
            self.controls[name] = widgets.Dropdown(
                description=name, options=choices, value=getattr(experiment, name), **style
            )
        self.button = widgets.Button(description="train", button_style="primary", icon="play")
        self.button.on_click(lambda _: self.run())
        self.message = widgets.HTML("Choose, then train. It takes a few seconds.")
        self.output, self.pictures = widgets.Output(), widgets.Output()
        grid = widgets.GridBox(
            list(self.controls.values()),
            layout={"grid_template_columns": "repeat(auto-fit, minmax(27em, 1fr))"},
        )
        super().__init__(
            [grid, widgets.HBox([self.button, self.message]), self.output, self.pictures]
        )

    @property
    def experiment(self) -> Experiment:
        """What the sliders describe.

        Raises:
            ParameterError: if the choices make no sense together.
        """
        return replace(self.base, **{name: c.value for name, c in self.controls.items()})

    def run(self) -> None:
        """Train the experiment and draw its figures; a bad choice is said, not raised."""
        try:
            experiment = self.experiment
        except ParameterError as error:
            self.message.value = f"<b>{error}</b>"
            return
        self.button.disabled = True
        try:
            self.output.clear_output()
            with self.output:
                self.trained = train(experiment)
            self.output.clear_output()
            self._draw(experiment, self.trained)
        finally:
            self.button.disabled = False

    def _draw(self, experiment: Experiment, trained: Trained) -> None:
        measured = trained.metrics().isel(inst=0)
        transcoder, target = trained.transcoder, experiment.make_target()
        points = list(pad_points(experiment.points, experiment.d_in))
        summary = f"FVU {measured.fvu:.4f}, L0 {measured.l0:.2f}"
        drawn = [figures.history(trained.history)]
        x = evaluation_sample(experiment.d_in, experiment.density)
        drawn.append(figures.circuit_map(CircuitMap.of(transcoder, target, x, points)))
        if len(points) == 1:
            summary += f", memorization {measured.memorization:.3f}: <b>{measured.state.item()}</b>"
            chosen = figures.selected_features(transcoder, points[0])
            drawn.append(figures.feature_weights(transcoder, chosen))
            drawn.append(figures.portrait(transcoder, points[0], "at p"))
        self.message.value = summary
        self.pictures.clear_output(wait=True)
        with self.pictures:
            display(*drawn)


def _fitting(options: dict[str, Any], experiment: Experiment, name: str) -> dict[str, Any]:
    """The slider's options, its range widened to hold the experiment's value."""
    value = getattr(experiment, name)
    low, high = min(options["min"], value), max(options["max"], value)
    return {**options, "min": low, "max": high, "value": value}


def explore(experiment: Experiment) -> Explorer:
    """Sliders for the experiment just read: change it, train it live, see its figures."""
    return Explorer(experiment)
