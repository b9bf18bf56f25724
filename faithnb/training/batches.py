"""What an ensemble sees at each step: base samples, repeated points, probes and noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.data.rng import Purpose, Stream
from faithnb.data.sampling import mixture, pad_points, replace_at_random
from faithnb.data.sources import Data, source
from faithnb.data.turning import rotation, turned
from faithnb.data.variations import VARIATIONS
from faithnb.experiment import Experiment
from faithnb.matching.probes import PROBES, Drawing

COPIES = 16
"""Rows a repeated point is split over when each row is drawn (probes, smoothing, variation)."""

DRAWN_AT_ONCE = {"cpu": 16, "cuda": 256}
"""Batches drawn together, of several streams and, if these are few, several steps: so many that
calls do not cost more than numbers, so few that they stay in a CPU's cache."""


class Batches:
    """The batches of an ensemble, drawn once for all the instances that see the same.

    Instances with the same seed and density see the same base samples, probes and noise: one
    *stream*. A batch is ``batch_size`` base samples, then the repeated points, unless these are
    drawn into the base samples (``sampling="bernoulli"``; then a stream has one ``repeat_frac``, as
    it has where the probes' covariance depends on it).

    Inputs are in homogeneous coordinates: a point ends in 1 and a direction in 0, so that one
    matrix, the encoder with its bias as last row, acts on both as it should.

    Args:
        experiments: those of an ensemble; they differ only in
            :data:`faithnb.training.ensemble.MAY_DIFFER`.
        device: where to draw.

    Attributes:
        stream: which stream an instance sees.
        weight: ``[n_inst, rows]``, the weight of each row in an instance's mean; all of the first
            ``batch_size`` weigh the same, and so do all others.
        lightest: the smallest of these weights that is not 0.
        now: the present batch of every stream, each ``[n_streams, rows, d_in+1]``: points ``x``,
            and where the experiments need them directions ``v`` (probes) and ``noise`` (N(0, I));
            and ``y``, ``[n_streams, rows, d_out]``, the target at x. These arrays stay where they
            are; ``draw`` writes into them.
    """

    @torch.no_grad()
    def __init__(self, experiments: Sequence[Experiment], device: torch.device):
        self.template = template = experiments[0]
        self.target = template.make_target().to(device)
        self.step = 0
        self._seen_by: dict[tuple[Any, Any], slice | Tensor] = {}
        self.literal = template.sampling == "bernoulli"
        self.points = template.make_points().to(device)
        self.upright = pad_points(template.points, template.d_in, template.torch_dtype).to(device)
        turn = rotation(template.turn, template.d_in, template.target_layers)
        self.turn = turn.to(self.points)

        self.probe = PROBES[template.probe]()
        own_frac = self.literal or self.probe.of_mixture
        keys = [(e.seed, e.density, e.repeat_frac if own_frac else None) for e in experiments]
        number = {key: k for k, key in enumerate(dict.fromkeys(keys))}
        self.stream = [number[key] for key in keys]
        of_stream = [experiments[self.stream.index(k)] for k in range(len(number))]
        as_form: dict[str, Any] = {"dtype": template.torch_dtype, "device": device}
        fracs = [e.repeat_frac if own_frac else 0.0 for e in of_stream]
        self.drawn_frac = torch.tensor(fracs, **as_form)[:, None]

        at_once = DRAWN_AT_ONCE.get(device.type, DRAWN_AT_ONCE["cuda"])
        self.ahead = min(max(1, at_once // len(number)), template.steps)
        purposes: tuple[Purpose, ...] = ("data", "probe", "noise", "variation", "blur")
        self.blocks = []
        for block in (slice(k, k + at_once) for k in range(0, len(number), at_once)):
            seeds = [e.seed for e in of_stream[block]]
            streams = {name: Stream(seeds, name, device) for name in purposes}
            data = source(template.data).of_streams(of_stream[block])
            data = turned(data, template.turn, template.target_layers)
            self.blocks.append((block, data, streams))
        self.answers = [data.answered_by(self.target) for _, data, _ in self.blocks]

        needs = template.matching.needs if template.matching else ()
        base = torch.zeros(template.batch_size, template.d_in, **as_form)
        points = self.points[:0] if self.literal else self.points
        weighed = [0.0 if self.literal else e.repeat_frac for e in experiments]
        self.varied = template.point_variation != "none" and len(points) > 0
        copies = COPIES if needs or self.varied else 1
        of_each = torch.tensor(weighed, dtype=torch.float64)
        rows, weight = mixture(base, points, of_each, copies)
        self.weight: Float[Tensor, "n_inst rows"] = weight
        shares = torch.stack([(1 - of_each) / len(base), of_each / max(1, len(rows) - len(base))])
        self.lightest = shares[shares > 0].min().item()
        ones = torch.nn.functional.pad(rows, (0, 1), value=1.0)
        x = ones.repeat(self.ahead, len(number), 1, 1)
        self.drawn = {"x": x, "y": self.target(x[..., :-1])}
        self.drawn |= {name: torch.zeros_like(x) for name in needs}
        self.now = {name: part[0] for name, part in self.drawn.items()}
        if self.ahead > 1:
            self.now = {name: part.clone() for name, part in self.now.items()}

    @torch.no_grad()
    def draw(self) -> None:
        """Go on to the next batch. Batches of several steps are drawn together."""
        k = self.step % self.ahead
        if k == 0:
            steps = range(self.step, self.step + self.ahead)
            for (block, data, streams), answer in zip(self.blocks, self.answers, strict=True):
                self._draw_block(steps, block, data, streams, answer)
        if self.ahead > 1:
            for name, part in self.drawn.items():
                self.now[name].copy_(part[k])
        self.step += 1

    def _draw_block(
        self,
        steps: range,
        block: slice,
        data: Data,
        streams: dict[Purpose, Stream],
        answer: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        template, dtype = self.template, self.template.torch_dtype
        B, d = template.batch_size, template.d_in
        u = streams["data"].uniform(steps, (B, data.uniforms + self.literal), dtype)
        drawn = base = data.draw(u[..., : data.uniforms])
        if template.blur > 0:
            base = base + template.blur * streams["blur"].normal(steps, (B, d), dtype)
        if self.literal:
            base = replace_at_random(base, self.points, self.drawn_frac[block], u[..., -1])
        x, y = self.drawn["x"][:, block, :, :-1], self.drawn["y"][:, block]
        x[..., :B, :] = base
        as_drawn = base is drawn
        y[..., :B, :] = answer(u[..., : data.uniforms], base) if as_drawn else self.target(base)
        if self.varied:
            vary, repeated = VARIATIONS[template.point_variation], self.upright.repeat(COPIES, 1)
            varied = vary(repeated, template.variation_scale, streams["variation"], steps)
            x[..., B:, :] = varied @ self.turn if template.turn else varied
            y[..., B:, :] = self.target(x[..., B:, :])
        if "v" in self.drawn:
            r = self.drawn_frac[block, None]
            on = Drawing(streams["probe"], steps, x, self.target, data, self.points, r)
            self.drawn["v"][:, block, :, :-1] = self.probe.draw(on)
        if "noise" in self.drawn:
            noise = streams["noise"].normal(steps, tuple(x.shape[-2:]), dtype)
            self.drawn["noise"][:, block, :, :-1] = noise

    def inputs(self, chunk: slice) -> dict[str, Tensor]:
        """The present batch of a chunk, as :func:`faithnb.training.objectives.loss_terms` takes
        it."""
        streams = self.seen_by(chunk)
        names = [name for name in self.now if name != "y"]
        seen = {name: self.now[name][streams][..., :-1] for name in names}
        return {"weight": self.weight[chunk], **seen}

    def seen_by(self, chunk: slice) -> slice | Tensor:
        """Which streams the instances of a chunk see: one stream for all, or one for each.

        A slice where possible, which copies nothing, otherwise indices.
        """
        if (chunk.start, chunk.stop) not in self._seen_by:
            self._seen_by[chunk.start, chunk.stop] = self._streams(self.stream[chunk])
        return self._seen_by[chunk.start, chunk.stop]

    def _streams(self, streams: list[int]) -> slice | Tensor:
        first = streams[0]
        if streams == [first] * len(streams):
            return slice(first, first + 1)
        if streams == list(range(first, first + len(streams))):
            return slice(first, first + len(streams))
        return torch.tensor(streams, device=self.weight.device)
