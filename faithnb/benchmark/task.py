"""What a task is: a layer whose mechanism is known, the data that it is explained on, a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from faithnb.data.rng import Stream
from faithnb.data.sampling import EVALUATED, pad_points, replace_at_random
from faithnb.experiment import Experiment
from faithnb.model.layer import Layer


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
        e = replace(self.setting, seed=seed)
        data, points = e.make_data(), pad_points(e.points, e.d_in, e.torch_dtype)
        u = Stream([seed], "data").uniform(step, (n, data.uniforms + 1), e.torch_dtype)[0]
        return replace_at_random(data.draw(u[:, :-1]), points, e.repeat_frac, u[:, -1])

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
