"""An ensemble of transcoders: sparse layers trained to stand in for a layer of a model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from faithnb.common.ambient import settled
from faithnb.common.errors import InputError
from faithnb.common.extensions import Registry, is_own
from faithnb.formats.detection import read, write
from faithnb.formats.layout import Held
from faithnb.model.fitting import Fitting, refusals_of_fields
from faithnb.model.gating import Gating, slope_by_autograd
from faithnb.model.layer import Circuit
from faithnb.model.weights import Weights

ARCHITECTURES: Registry[type[Transcoder]] = Registry("architecture")
"""Every class of transcoders by the name of its architecture."""


ONE_FORM = ("hidden_pre", "encode", "decode", "forward", "gate", "slopes", "jvp", "jacobian")
"""What every architecture has in common."""


class Transcoder(Weights):
    """``n_inst`` transcoders side by side, each ``ŷ = h W_dec + b_dec + x W_skip``, where the
    features are ``h = activate(x W_enc + b_enc)``, here a ReLU.

    Every tensor has a leading instance axis. An input ``[B, d_in]`` is shown to every instance;
    an input ``[n_inst, B, d_in]`` gives each its own. Nothing is ever subtracted from the input.

    Another architecture is a subclass with a name, ``architecture``, and its own :meth:`activate`.
    All that is measured, trained, kept or drawn follows from that, and from :meth:`slope`, which
    autograd gives where the subclass does not. One whose features read more than once also says
    what it ``reads`` and ``writes``, see :class:`faithnb.model.architectures.Molt`.

    Args:
        W_enc: ``[n_inst, d_in, d_sae]``; feature i of an instance reads column i.
        b_enc: ``[n_inst, d_sae]``.
        W_dec: ``[n_inst, d_sae, d_out]``; feature i writes row i.
        b_dec: ``[n_inst, d_out]``, not trained (the note has none).
        W_skip: ``[n_inst, d_in, d_out]``, the linear part; 0 by default.
        **own: what the architecture has of its own: tensors by the names of ``own_axes``, and
            numbers by those of ``settings``.

    The weights ask for no gradient; to train them your own way, call ``requires_grad_()``.
    """

    architecture: ClassVar[str] = "relu"
    """Its name in :class:`faithnb.Experiment` and on disk."""

    trainable: ClassVar[bool] = True
    """Whether an experiment may name it."""

    asks: ClassVar[tuple[str, ...]] = ()
    """Fields of :class:`faithnb.Experiment` that its training reads, besides ``settings``."""

    gates_learn: ClassVar[bool] = False
    """Whether :meth:`gates` has a surrogate gradient, so that their number can be penalised."""

    fitting: Fitting | None = None
    """What its training tells it; none in use."""

    def __init_subclass__(cls, **given: Any):
        super().__init_subclass__(**given)
        made = [name for name in ONE_FORM if getattr(cls, name) is not getattr(Transcoder, name)]
        if made:
            raise TypeError(
                f"{cls.__name__} has a {made[0]} of its own: an architecture says its activate, "
                "and slope if it likes; all else follows from them."
            )
        of = {
            name: next(k for k, base in enumerate(cls.__mro__) if name in vars(base))
            for name in ("activate", "slope")
        }
        if of["activate"] < of["slope"]:
            cls.slope = slope_by_autograd  # type: ignore[method-assign]
        if "architecture" in vars(cls):
            cls._register()

    @classmethod
    def _register(cls) -> None:
        name = cls.architecture
        if not re.fullmatch(r"(?!skip(_|$))\w+(?<!_skip)", name):
            raise TypeError(
                f"architecture = {name!r} is not allowed: it must be a word that neither begins "
                "nor ends with skip."
            )
        if not is_own(cls) and (unknown := [s for s in cls.settings if s != "k"]):
            raise TypeError(f"settings = {unknown} are not allowed: an experiment has only k.")
        ARCHITECTURES.add(name, cls)

    def activate(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """Feature activations h from what the encoder reads. A feature's activation may depend on
        the others only through which of them are on."""
        return torch.relu(z)

    def slope(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """∂h_i/∂z_i: 1 where a ReLU is on, 0 elsewhere."""
        return (z > 0).to(z)

    def matched_slopes(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """Slopes as matching sees them: constants, because no gradient passes a gate."""
        return self.slope(z).detach()

    @classmethod
    def refusals(cls, experiment: Any) -> Iterator[str]:
        """A sentence for each choice of an experiment that makes no sense with it."""
        yield from refusals_of_fields(cls.architecture, (*cls.settings, *cls.asks), experiment)

    def penalised(
        self, z: Float[Tensor, "n_inst B d_sae"], h: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_sae"]:
        """The activations that a sparsity penalty sees."""
        return h

    def gates(self, z: Float[Tensor, "n_inst B d_sae"]) -> Float[Tensor, "n_inst B d_sae"]:
        """1 where a feature is on; with a surrogate gradient, if ``gates_learn``."""
        return (self.activate(z) != 0).to(z)

    def auxiliary(
        self,
        z: Float[Tensor, "n_inst B d_sae"],
        h: Float[Tensor, "n_inst B d_sae"],
        x: Float[Tensor, "*inst B d_in"],
        y: Float[Tensor, "*inst B d_out"],
    ) -> Float[Tensor, "n_inst B"] | None:
        """What its loss has besides, row by row."""
        return None

    def begin(self, experiment: Any) -> None:
        """Set what its training does not begin at 0, in place."""

    @classmethod
    def has_gating(cls, experiment: Any) -> bool:
        """Whether the gradient of its loss can be written by hand, see :mod:`faithnb.model.gating`.
        A class must say its :meth:`gating` itself: one that it inherits may not hold for it."""
        return "gating" in vars(cls)

    def gating(self, norms: Tensor | None, gradients: Sequence[Tensor]) -> Gating:
        """Which features are on, where its gradient is written by hand.

        Args:
            norms: n, ``[n_inst, d_sae]``, if features are measured in these units.
            gradients: where to write those of its own weights.
        """
        return Gating()

    def settle(self) -> None:
        """Called after each step of training: what a gradient cannot know, in place."""

    @property
    def is_relu(self) -> bool:
        """Whether its features are ReLUs; what holds for these alone asks."""
        return type(self).activate is Transcoder.activate

    @classmethod
    @settled()
    def from_circuits(cls, circuits: Sequence[Circuit], **own: Any) -> Self:
        """One hand-made instance with one feature a circuit.

        Raises:
            ValueError: if there is no circuit.
        """
        if not circuits:
            raise ValueError("circuits is empty: a transcoder has at least one feature.")
        return cls.from_arrays(
            W_enc=torch.stack([c.read for c in circuits], dim=1),
            b_enc=torch.tensor([-c.threshold for c in circuits], dtype=torch.float32, device="cpu"),
            W_dec=torch.stack([c.write for c in circuits]),
            **own,
        )

    def hidden_pre(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """z = x W_enc + b_enc, before the activation. x is cast to the weights' type and device.

        Raises:
            InputError: if x does not have d_in coordinates, or neither shape.
        """
        return self._cast(x) @ self.reads + self.offsets[:, None]

    def _cast(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = f"of type {x.dtype}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise InputError(f"x is {kind}; it must be a floating-point tensor.")
        if x.ndim not in (2, 3) or (x.ndim == 3 and len(x) not in (1, self.n_inst)):
            raise InputError(
                f"x of shape {list(x.shape)} is not allowed: it must be [B, d_in], the same for "
                f"every instance, or [n_inst, B, d_in] with n_inst = {self.n_inst}."
            )
        if x.shape[-1] != self.d_in:
            raise InputError(f"x has {x.shape[-1]} coordinates, the transcoder reads {self.d_in}.")
        return x.to(self.W_enc)

    def encode(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """Feature activations h."""
        return self.activate(self.hidden_pre(x))

    def decode(
        self, feature_acts: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """h W_dec + b_dec, all of the output but the linear part.

        Raises:
            InputError: if the activations have another shape.
        """
        shape = tuple(feature_acts.shape)
        if len(shape) != 3 or shape[::2] != (self.n_inst, self.d_sae):
            raise InputError(
                f"feature_acts of shape {list(shape)} is not allowed: it must be [n_inst, B, "
                f"d_sae] with n_inst = {self.n_inst}, d_sae = {self.d_sae}."
            )
        return feature_acts @ self.W_dec + self.b_dec[:, None]

    def forward(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_out"]:
        """ŷ, what the transcoders put in place of the layer's output."""
        return self.with_linear(self.decode(self.encode(x)), x)

    def with_linear(
        self, y: Float[Tensor, "n_inst B d_out"], x: Float[Tensor, "*inst B d_in"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """y with what the linear part makes of x; y itself, if there is none."""
        return y if self.W_skip is None else y + self._cast(x) @ self.W_skip

    def gate(self, x: Float[Tensor, "*inst B d_in"]) -> Bool[Tensor, "n_inst B d_sae"]:
        """Which features are on, h ≠ 0."""
        return self.encode(x) != 0

    def slopes(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_sae"]:
        """∂h_i/∂z_i at x."""
        return self.slope(self.hidden_pre(x))

    def push(
        self, v: Float[Tensor, "*inst B d_in"], slopes: Float[Tensor, "n_inst B d_sae"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """J v from the slopes of the features: push v through the encoder, scale, decode."""
        return self.with_linear(((self._cast(v) @ self.reads) * slopes) @ self.writes, v)

    def jvp(
        self, x: Float[Tensor, "*inst B d_in"], v: Float[Tensor, "*inst B d_in"]
    ) -> Float[Tensor, "n_inst B d_out"]:
        """J(x) v in closed form.

        Raises:
            InputError: if x or v has another shape, or they differ in their rows.
        """
        if x.shape[-2:] != v.shape[-2:]:
            raise InputError(f"v of shape {list(v.shape)} does not fit x, {list(x.shape)}.")
        return self.push(v, self.slopes(x))

    def jacobian(self, x: Float[Tensor, "*inst B d_in"]) -> Float[Tensor, "n_inst B d_out d_in"]:
        """J(x) = Σ_i s_i W_dec,i W_enc,iᵀ + W_skipᵀ in closed form; rows are outputs, columns
        inputs.

        One outer product a feature, weighted by its slope s_i: the note's canonical form of the
        weights.
        """
        outer = torch.einsum("nho,nih->nhoi", self.writes, self.reads)
        J = (self.slopes(x) @ outer.flatten(2)).unflatten(-1, (self.d_out, self.d_in))
        return J if self.W_skip is None else J + self.W_skip.mT[:, None]

    def decoder_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """‖W_dec,i‖, what one unit of activation writes."""
        return self.W_dec.norm(dim=-1)

    def write_norms(self) -> Float[Tensor, "n_inst d_sae"]:
        """What a sparsity penalty weighs an activation with."""
        return self.decoder_norms()

    def save(
        self, folder: str | os.PathLike[str], layout: str = "saelens", layer: int | None = None
    ) -> None:
        """Write it as another library keeps it; by default as SAELens does, ``cfg.json`` and
        ``sae_weights.safetensors``.

        SAELens' layout holds every architecture, and ensembles; one of a single instance is
        written without its axis. The others hold one transcoder of the architectures that their
        library has.

        Args:
            folder: made if need be.
            layout: a name from the table of layouts, such as ``"sparsify"``.
            layer: the number of its file, for ``layout = "circuit_tracer"`` alone; 0 by default.

        Raises:
            ParameterError: if ``folder`` is no folder's name, there is no such layout, or it has
                no place for this transcoder.
            OSError: if it cannot be written.
            ValueError: if its class has no name of its own, and so could not be read again.
        """
        if ARCHITECTURES.get(self.architecture) is not type(self):
            raise ValueError(
                f"{type(self).__name__} cannot be saved: give the class an architecture of its own."
            )
        weights = {k: weight.cpu() for k, weight in self.weights().items()}
        held = Held(self.architecture, weights, self.own_settings(), self.sizes, layer)
        write(folder, layout, held)

    @staticmethod
    @settled()
    def load(folder: str | os.PathLike[str], layer: int | None = None) -> Transcoder:
        """Read what :meth:`faithnb.Transcoder.save` or another library wrote: SAELens,
        dictionary_learning, sparsify, circuit-tracer, Gemma Scope, Llama Scope, Llamascopium.

        The names and shapes of the weights, and what is said beside them, tell whose they are.
        ReLU, TopK, JumpReLU and gated layers are read, BatchTopK and Matryoshka by their
        threshold, with a linear part or without; mixtures of linear transforms of one rank,
        crosscoders and cross-layer transcoders of ReLUs; others by the name of their class, once
        it is imported. What is subtracted from inputs, factors that all inputs share and decoder
        norms that count in a gate go into the weights, exactly. Nothing in the folder can execute
        code.

        Args:
            folder: with weights, and what its library writes beside them.
            layer: which, if the folder holds a file a layer.

        Raises:
            ValueError: with the reason, if the folder holds anything else, is damaged, or does not
                tell what it holds.
        """
        found = read(folder, ARCHITECTURES, layer)
        of = ARCHITECTURES[found.architecture]
        try:
            loaded = of.from_arrays(**found.arrays(), **found.settings)
        except ValueError as error:
            raise found.folder.refuse(str(error).rstrip(".")) from error
        found.require_sizes(loaded.sizes)
        weights = found.folded(loaded.weights())
        # in one order in memory, on which the last bits of products depend on some processors
        return loaded.with_weights({name: w.contiguous() for name, w in weights.items()})


ARCHITECTURES.add("relu", Transcoder)

load = Transcoder.load
