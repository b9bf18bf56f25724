"""Linear transforms of low rank, each behind a gate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from faithnb.common.errors import ParameterError
from faithnb.model.transcoder import Transcoder


class Molt(Transcoder):
    """A mixture of linear transforms, ``ŷ = Σ_t ReLU(z_t) U_t V_t x + b_dec``, with gates ``z = x
    W_gate + b_gate``; every transform has rank ``rank``.

    After Lindsey et al., "Sparse mixtures of linear transforms" (2025). A feature is a component
    of a transform, feature i of transform ``i // rank``: V_t has its column of W_enc as a row, U_t
    its row of W_dec as a column, and its activation is ``h_i = ReLU(z_t) (x W_enc)_i``, which may
    be below 0. So L0 and every measure of features count components. The sparsity penalty sees
    transforms, ReLU(z_t) ‖U_t V_t‖_F.

    Its Jacobian has two terms, of the transforms and of their gates: ``Σ_t ReLU(z_t) U_t V_t +
    1[z_t > 0] (U_t V_t x) w_tᵀ``. Both change with the weights, and matching follows them.

    Args:
        W_gate: ``[n_inst, d_in, transforms]`` with ``transforms = d_sae / rank``.
        b_gate: ``[n_inst, transforms]``.
        b_enc: not trained (the architecture has none).
    """

    architecture = "molt"
    own_axes: ClassVar = {"W_gate": ("d_in", "transforms"), "b_gate": ("transforms",)}
    drawn = ("W_gate",)
    held = ("b_dec", "b_enc")
    settings: ClassVar = ("rank",)

    W_gate: torch.nn.Parameter
    b_gate: torch.nn.Parameter
    rank: int

    def __init__(self, *weights: Tensor, **given: Any):
        super().__init__(*weights, **given)
        is_whole = isinstance(self.rank, int) and not isinstance(self.rank, bool)
        if not is_whole or self.rank < 1 or self.d_sae != self.rank * self.W_gate.shape[-1]:
            raise ParameterError(
                f"rank = {self.rank!r} is not allowed: d_sae = {self.d_sae} must be the rank times "
                f"the number of transforms, {self.W_gate.shape[-1]}."
            )

    @classmethod
    def own_sizes(cls, d_sae: int, **settings: Any) -> dict[str, int]:
        """The number of transforms."""
        return {"transforms": d_sae // settings["rank"]}

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A rank that does not fit, and what is about features with one reading."""
        yield from super().refusals(experiment)
        of = f"is not allowed with architecture = {cls.architecture!r}"
        if experiment.d_sae % experiment.rank:
            yield (
                f"rank = {experiment.rank} {of} and d_sae = {experiment.d_sae}: it must divide "
                "d_sae."
            )
        if experiment.init != "random":
            yield f"init = {experiment.init!r} {of}: no transform is a circuit of the target."
        if experiment.aux_coefficient > 0:
            yield (
                f"aux_coefficient = {experiment.aux_coefficient:g} {of}: a component that is off "
                "has a closed gate, and nothing to fit what the others leave."
            )

    @property
    def reads(self) -> Float[Tensor, "n_inst d_in 2*d_sae"]:
        """The gate's column of W_gate for each component, then W_enc."""
        return torch.cat([self.W_gate.repeat_interleave(self.rank, dim=-1), self.W_enc], dim=-1)

    @property
    def offsets(self) -> Float[Tensor, "n_inst 2*d_sae"]:
        """b_gate for each component, then b_enc."""
        return torch.cat([self.b_gate.repeat_interleave(self.rank, dim=-1), self.b_enc], dim=-1)

    @property
    def writes(self) -> Float[Tensor, "n_inst 2*d_sae d_out"]:
        """W_dec twice: what a component writes changes with its gate and with what it reads."""
        return torch.cat([self.W_dec, self.W_dec], dim=1)

    def activate(self, z: Float[Tensor, "n_inst B 2*d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """What a component reads, times its gate."""
        gate, read = z.chunk(2, dim=-1)
        return torch.relu(gate) * read

    def slope(self, z: Float[Tensor, "n_inst B 2*d_sae"]) -> Float[Tensor, "n_inst B 2*d_sae"]:
        """By the gate's reading, then by what a component reads."""
        gate, read = z.chunk(2, dim=-1)
        return torch.cat([(gate > 0) * read, torch.relu(gate)], dim=-1)

    def matched_slopes(
        self, z: Float[Tensor, "n_inst B 2*d_sae"]
    ) -> Float[Tensor, "n_inst B 2*d_sae"]:
        """Slopes that change with the weights."""
        return self.slope(z)

    def penalised(
        self, z: Float[Tensor, "n_inst B 2*d_sae"], h: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B transforms"]:
        """ReLU(z_t)."""
        return torch.relu(z[..., : self.d_sae : self.rank])

    def write_norms(self) -> Float[Tensor, "n_inst transforms"]:
        """‖U_t V_t‖_F."""
        V = self.W_enc.mT.unflatten(1, (-1, self.rank))
        U = self.W_dec.unflatten(1, (-1, self.rank))
        return (U.mT @ V).flatten(2).norm(dim=-1)
