"""What a task is: a layer whose mechanism is known, the data that it is explained on, a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.benchmark.points import Draw, as_points, of_coordinates
from faithnb.common.errors import InputError
from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED, replace_at_random
from faithnb.data.turning import rotation
from faithnb.data.variations import VARIATIONS
from faithnb.experiment import Experiment
from faithnb.model.layer import Layer
from faithnb.model.transcoder import Transcoder
from faithnb.model.turning import upright


@dataclass(frozen=True)
class Task:
    """A layer, its data, and how many samples of them a recipe may see.

    A task never changes: one that differs in anything has another name.
    """

    name: str
    """With its version, as ``"abs-v1"``."""

    setting: Experiment
    """Its layer, its data and its repeated points, as an experiment says them. How a recipe trains
    is its own affair; recipes of this package begin with this experiment."""

    twin: str
    """The task beside it, whose layer differs in whether it has a mechanism for the point."""

    has_mechanism: bool = False
    """Whether the layer has a mechanism of its own for the point, so that a feature for it is
    faithful."""

    samples: int = 3000 * 512
    """How many samples a recipe may see."""

    about: str = ""
    """What its layer computes and what its data are, in a sentence."""

    draw_point: Draw = of_coordinates
    """Where the point of a hidden variant comes from."""

    @property
    def layer(self) -> Layer:
        """What is to be explained."""
        return self.setting.make_target()

    @property
    def d_in(self) -> int:
        """Width of the inputs."""
        return self.setting.d_in

    @property
    def d_out(self) -> int:
        """Width of the outputs."""
        return self.setting.d_out

    def sample(self, n: int, seed: int, step: int = 0) -> Float[Tensor, "n d_in"]:
        """Inputs to train on, the repeated points among them.

        Args:
            n: how many.
            seed: of the recipe.
            step: samples of different steps are independent.
        """
        e = replace(self.setting, seed=seed, turn=0)
        data, points = e.make_data(), e.make_points()
        u = Stream([seed], "data").uniform(step, (n, data.uniforms + 1), e.torch_dtype)[0]
        x = replace_at_random(data.draw(u[:, :-1]), points, e.repeat_frac, u[:, -1])
        if e.point_variation != "none":
            vary, stream = VARIATIONS[e.point_variation], Stream([seed], "variation")
            varied = vary(x, e.variation_scale, stream, step)[0]
            x = torch.where(u[:, -1:] < e.repeat_frac, varied, x)
        return x @ self._rotation(e.d_in).to(x) if self.setting.turn else x

    def batches(self, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of inputs and the layer's outputs, ``[batch_size, d_in]`` and
        ``[batch_size, d_out]``, until the budget is spent."""
        layer = self.layer
        for step in range(self.samples // batch_size):
            x = self.sample(batch_size, seed, step)
            yield x, layer(x)

    def held_out(self, n: int = EVALUATED) -> Float[Tensor, "n d_in"]:
        """Fixed base samples without the repeated points, which no recipe sees."""
        return self.setting.evaluation_inputs(n)

    def hidden(self, seed: int) -> Task:
        """The same task with inputs and outputs rotated at random, and another point of the same
        kind: nobody can have tuned to it. ``"abs-v1+7"`` is that of seed 7.

        Args:
            seed: of rotation and point, at least 0.

        Raises:
            InputError: if the seed is below 0, or the task is hidden already.
        """
        if seed < 0 or self.setting.turn:
            what = f"seed = {seed}" if seed < 0 else f"hidden({seed}) of {self.name}"
            raise InputError(f"{what} is not allowed: take a task as it is, and a seed from 0 up.")
        points = as_points(self.draw_point(seed, self.d_in))
        return replace(
            self, name=f"{self.name}+{seed}", twin=f"{self.twin}+{seed}",
            setting=replace(self.setting, points=points, turn=seed + 1),
        )  # fmt: skip

    @property
    def upright(self) -> Task:
        """The task before its rotation, which measures are taken on: of a hidden variant the same
        layer, data and point, of any other itself."""
        return replace(self, setting=replace(self.setting, turn=0))

    def canonical(self, module: Any) -> Any:
        """What a module that was trained on this task is on :attr:`upright`: a transcoder with
        other weights, any other module with the rotation before and after it; itself where there is
        none."""
        if self.setting.turn == 0:
            return module
        if isinstance(module, Transcoder):
            return upright(module, self.setting.turn, self.setting.target_layers)
        return Canonical(module, self._rotation(self.d_in), self._rotation(self.d_out))

    def _rotation(self, d: int) -> Float[Tensor, "d d"]:
        return rotation(self.setting.turn, d, self.setting.target_layers)


class Canonical(torch.nn.Module):
    """``x ↦ module(x R) Rᵀ``, and the module's own ``encode``, if it has one.

    Args:
        module: maps ``[B, d_in]`` to ``[B, d_out]``.
        of_inputs: ``[d_in, d_in]``.
        of_outputs: ``[d_out, d_out]``.
    """

    of_inputs: Tensor
    of_outputs: Tensor

    def __init__(self, module: Any, of_inputs: Tensor, of_outputs: Tensor):
        super().__init__()
        self.module = module
        self.register_buffer("of_inputs", of_inputs, persistent=False)
        self.register_buffer("of_outputs", of_outputs, persistent=False)
        if hasattr(module, "encode"):
            self.encode = self._encode

    def forward(self, x: Float[Tensor, "B d_in"]) -> Float[Tensor, "B d_out"]:
        """The module's output, rotated back."""
        y = self.module(x @ self.of_inputs.to(x))
        return y @ self.of_outputs.T.to(y)

    def _encode(self, x: Float[Tensor, "B d_in"]) -> Tensor:
        """The module's features."""
        return self.module.encode(x @ self.of_inputs.to(x))
