"""One MLP of a language model on a text, ready to train transcoders of."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from faithnb.common.errors import InputError
from faithnb.data.selection import Selection, select
from faithnb.lm.activations import activations
from faithnb.lm.model import LanguageModel
from faithnb.model.mlp import SwiGLU, as_target

FAR = 10.0
"""A token is left out where its output is longer than so many times the median."""

AT_ONCE = 4096
"""Rows that the layer is asked about together."""


class Subject:
    """An MLP and its inputs on a text, in units in which both have size 1.

    Inputs are divided by the root of their mean square norm and outputs by that of theirs, over the
    tokens that are kept, so that settings found for the note's layer are nearly right here.

    Args:
        m: a model whose MLPs are gated.
        layer: which MLP.
        windows: tokens, each window seen by itself.
        first_kept: positions before it are left out, unless they are asked for.
        folder: where files lie, as for :func:`faithnb.lm.activations.activations`.
        progress: show a bar.

    Attributes:
        layer: the MLP in these units, on the CPU, where transcoders are measured.
        target: its name in :class:`faithnb.Experiment`.
        norms: how long its outputs are in the model's units, token by token, ``[n, length]``.
        far: which tokens are left out for their output's length, ``[n, length]``.

    Raises:
        InputError: if the MLP is not gated, or as ``activations`` does.
    """

    def __init__(
        self,
        m: LanguageModel,
        layer: int,
        windows: Int[Tensor, "n length"],
        first_kept: int = 1,
        folder: Path | None = None,
        progress: bool = True,
    ):
        own = m.layer(layer)
        if not isinstance(own, SwiGLU):
            raise InputError(
                f"{m.name} is not allowed: its MLPs must be gated, as those of SmolLM2."
            )
        self.model, self.k, self.windows, self.first_kept = m, layer, windows, first_kept
        self.kept = activations(m, windows, layer, folder, progress)
        raw = own
        inputs, outputs = self._sizes(raw)
        self.norms = outputs.view(windows.shape)
        positions = torch.arange(windows.shape[1]).expand(windows.shape)
        self.far = self.norms > FAR * self.norms[positions >= first_kept].median()
        usual = ((positions >= first_kept) & ~self.far).flatten()
        self.scale = inputs[usual].square().mean().sqrt().item()
        self.output_scale = outputs[usual].square().mean().sqrt().item()
        self.layer = raw.scaled(self.scale, self.output_scale).to(torch.device("cpu"))
        called = re.sub(r"\W", "_", f"{m.name}_{layer}").lower()
        digest = hashlib.sha256(self.layer.W_down.numpy().tobytes()).hexdigest()[:8]
        self.target = as_target(f"mlp_{called}_{digest}", self.layer, self.kept.path.parent)

    def _sizes(self, raw: SwiGLU) -> tuple[Tensor, Tensor]:
        """How long inputs and outputs are, in the model's units."""
        found = []
        for first in range(0, len(self.kept.rows), AT_ONCE):
            x = torch.from_numpy(np.array(self.kept.rows[first : first + AT_ONCE])).float()
            x = x.to(raw.W_down.device)
            found.append(torch.stack([x.norm(dim=-1), raw(x).norm(dim=-1)]))
        inputs, outputs = torch.cat(found, dim=1).cpu()
        return inputs, outputs

    def data(
        self,
        repeated: Sequence[int] = (),
        frac: float = 0.0,
        first_kept: int | None = None,
        far: bool = False,
        left_out: Sequence[int] = (),
    ) -> str:
        """What ``Experiment.data`` names: the rows that are kept, some of them repeated.

        Args:
            repeated: rows that are drawn with probability ``frac``, and not otherwise.
            frac: how much of the data they make up together.
            first_kept: another than the subject's; 0 keeps every position.
            far: whether tokens with long outputs are kept, too.
            left_out: other rows that are never drawn.
        """
        first = self.first_kept if first_kept is None else first_kept
        positions = torch.arange(self.windows.shape[1]).expand(self.windows.shape)
        out = (positions < first) | (self.far & (positions >= self.first_kept) & (not far))
        out_of_all = sorted({*out.flatten().nonzero()[:, 0].tolist(), *left_out})
        about = repr((out_of_all, list(repeated), frac, self.scale))
        name = f"{self.kept.path.stem}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.json"
        given = self.scale, out_of_all, repeated, frac
        return select(self.kept.path.with_name(name), self.kept.path, *given)

    def described(self, **given: Any) -> dict[str, Any]:
        """The fields of an experiment that say so: its target, its width, its data; there is no
        point. Arguments are those of :meth:`data`."""
        data = self.data(**given)
        d_in = self.layer.d_in
        return {"target": self.target, "d_in": d_in, "points": (), "data": data}

    def at(self, rows: Sequence[int]) -> Float[Tensor, "n d_in"]:
        """Inputs by their row, in these units."""
        return torch.from_numpy(np.array(self.kept.rows[list(rows)])).float() / self.scale

    @cached_property
    def others(self) -> Float[Tensor, "n d_in"]:
        """The tokens that are held out of every training, in these units."""
        return Selection(self.data()).evaluation()

    def replaced(
        self, window: int, first: int, last: int, n: int = 16, seed: int = 0
    ) -> tuple[Float[Tensor, "pairs d_in"], Float[Tensor, "pairs d_in"]]:
        """A part of a window, and the same with one of its tokens replaced by another of the text:
        the inputs from that token on, in these units.

        Args:
            window: which.
            first: the first position of the part.
            last: the position behind it.
            n: how many tokens are replaced, one at a time.
            seed: of which, and by what.
        """
        g = torch.Generator().manual_seed(seed)
        ids = self.windows[window].repeat(n, 1)
        places = torch.randint(first, last, (n,), generator=g)
        pool = self.windows[:, self.first_kept :].flatten()
        ids[torch.arange(n), places] = pool[torch.randint(len(pool), (n,), generator=g)]
        site = f"mlp_in.{self.k}"
        both = torch.cat([self.windows[window][None], ids])[:, :last]
        with torch.no_grad():
            found = self.model.run(both, keep=(site,), until=site)[site].cpu().float()
        after = torch.arange(last) >= places[:, None]
        changed = after & (ids[:, :last] != self.windows[window, :last]).any(1, keepdim=True)
        before = found[:1].expand(n, -1, -1)
        return before[changed] / self.scale, found[1:][changed] / self.scale

    def first_tokens(self, n: int, seed: int = 0) -> Float[Tensor, "n d_in"]:
        """Inputs at position 0 where other tokens of the text come first, in these units."""
        g = torch.Generator().manual_seed(seed)
        pool = self.windows[:, self.first_kept :].unique()
        ids = pool[torch.randperm(len(pool), generator=g)[:n]][:, None]
        site = f"mlp_in.{self.k}"
        with torch.no_grad():
            found = self.model.run(ids, keep=(site,), until=site)[site]
        return found[:, 0].cpu().float() / self.scale
