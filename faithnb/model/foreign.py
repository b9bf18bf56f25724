"""A module of somebody else beside a layer, asked only for what it shows by what it does.

It stands where a measure takes a transcoder, as an ensemble of one. What features write follows
from its ``decode`` or its ``W_dec``, what they read and the Jacobian from autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from faithnb.common.errors import InputError
from faithnb.model.layer import Unknown

ROUNDINGS = 32
"""How many relative roundings of the module's type two outputs may differ by and count as one."""


class Unread(AttributeError, Unknown):
    """What features read everywhere, not only where they act, is known of our own alone."""


class Foreign:
    """Anybody's module as an ensemble of one, in float64 on the CPU.

    A torch module is copied, put into its eval state and converted; where it cannot compute in
    float64 it does so in its own type, on its own device, and what it gives is converted.

    Args:
        module: maps ``[B, d_in]`` to ``[B, d_out]``, each row by itself. ``encode``, if it has one,
            gives ``[B, n_features]``; ``decode`` or ``W_dec [n_features, d_out]`` what they write.
        d_in: width of the layer's inputs.
        d_out: width of its outputs.
        x: inputs ``[B, d_in]`` that it is checked on.

    Raises:
        InputError: in a sentence, if it is no such map.
    """

    n_inst = 1
    is_relu = False

    def __init__(self, module: Any, d_in: int, d_out: int, x: Float[Tensor, "B d_in"]):
        self.d_in, self.d_out = d_in, d_out
        self.called = type(module).__name__
        if not callable(module):
            raise InputError(f"{self.called} is not allowed: it cannot be called with inputs.")
        self._probe = x[:256].double().cpu()
        self._module, self._like = self._that_runs(module)
        with torch.no_grad():
            self._check(x.double().cpu())
        self._last: tuple[Tensor, Tensor] | None = None

    def _that_runs(self, module: Any) -> tuple[Any, Tensor]:
        """The module in the best type that it computes in, and a tensor of that type."""
        for tried, like in _candidates(module):
            try:
                with torch.no_grad():
                    self._mapped(tried, self._probe[:2], like)
                return tried, like
            except InputError:
                raise
            except Exception as error:
                why = error
        said = (f"{type(why).__name__}: {why}".splitlines() or [""])[0].rstrip(".")
        raise InputError(
            f"{self.called} is not allowed: it must map [B, {self.d_in}] to [B, {self.d_out}] "
            f"({said})."
        ) from why

    def _check(self, x: Tensor) -> None:
        y, some = self._mapped(self._module, x), self._probe
        if y.shape != (len(x), self.d_out):
            raise InputError(
                f"{self.called} is not allowed: it maps {list(x.shape)} to {list(y.shape)}, and "
                f"must map it to {[len(x), self.d_out]}."
            )
        if bad := int((~torch.isfinite(y)).any(-1).sum()):
            raise InputError(
                f"{self.called} is not allowed: what it gives is not finite on {bad} of {len(x)} "
                "inputs."
            )
        if not torch.equal(again := self(some)[0], self(some)[0]):
            raise InputError(f"{self.called} is not allowed: it gives another output each time.")
        if not self._same(again[:7], self(some[:7])[0]):
            raise InputError(
                f"{self.called} is not allowed: what it gives for a row depends on the other rows."
            )
        if hasattr(self._module, "encode"):
            h = self._mapped(self._module.encode, some)
            if h.ndim != 2 or len(h) != len(some):
                raise InputError(
                    f"{self.called} is not allowed: encode maps {list(some.shape)} to "
                    f"{list(h.shape)}, and must map it to [{len(some)}, n_features]."
                )
            if not torch.isfinite(h).all():
                raise InputError(f"{self.called} is not allowed: what encode gives is not finite.")

    def _mapped(self, of: Callable[[Tensor], Any], x: Tensor, like: Tensor | None = None) -> Tensor:
        found = of(x.to(self._like if like is None else like))
        if not isinstance(found, Tensor):
            raise InputError(
                f"{self.called} is not allowed: it gives a {type(found).__name__} where a tensor "
                "is needed."
            )
        return found.to("cpu", torch.float64)

    def _same(self, a: Tensor, b: Tensor) -> bool:
        bound = max(1e-9, ROUNDINGS * torch.finfo(self._like.dtype).eps)
        return bool((a - b).abs().max() <= bound * max(1.0, float(b.abs().max())))

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Foreign:
        return self

    def cpu(self) -> Foreign:
        """Itself, which gives what it gives on the CPU."""
        return self

    def in_float64(self) -> Foreign:
        """Itself, which gives what it gives in float64."""
        return self

    def __call__(self, x: Float[Tensor, "B d_in"]) -> Float[Tensor, "1 B d_out"]:
        return self._mapped(self._module, x)[None]

    def encode(self, x: Float[Tensor, "B d_in"]) -> Float[Tensor, "1 B d_sae"]:
        """Feature activations.

        Raises:
            Unknown: if the module has no ``encode``.
        """
        if not hasattr(self._module, "encode"):
            raise Unknown(f"{self.called} has no encode.")
        if self._last is None or self._last[0] is not x:
            self._last = x, self._mapped(self._module.encode, x)[None]
        return self._last[1]

    def gate(self, x: Float[Tensor, "B d_in"]) -> Bool[Tensor, "1 B d_sae"]:
        """Which features are on, h ≠ 0."""
        return self.encode(x) != 0

    @cached_property
    def _linear(self) -> tuple[Tensor, Tensor | None]:
        """What features write, and the linear part besides; both only if together they give the
        module's output."""
        x, d = self._probe, self.d_in
        with torch.no_grad():
            W_dec = self._written(self.encode(x).shape[-1])

            def rest(inputs: Tensor) -> Tensor:
                return (self(inputs) - self.encode(inputs) @ W_dec)[0]

            at_zero = rest(x.new_zeros(1, d))
            skip = rest(torch.eye(d).to(x)) - at_zero
            if not self._same(rest(x), x @ skip + at_zero):
                raise Unknown(
                    f"what the features of {self.called} write is not known: they and a linear "
                    "part do not give its output."
                )
        none = self._same(skip, torch.zeros_like(skip))
        return W_dec[None], None if none else skip[None]

    def _written(self, n: int) -> Tensor:
        if hasattr(self._module, "decode"):
            h = torch.eye(n, dtype=torch.float64)
            found = self._mapped(self._module.decode, torch.cat([torch.zeros_like(h[:1]), h]))
            found = found[1:] - found[:1]
        else:
            held = getattr(self._module, "W_dec", None)
            if not isinstance(held, Tensor):
                raise Unknown(f"{self.called} has neither decode nor W_dec.")
            found = held.detach().to("cpu", torch.float64)
        if found.shape != (n, self.d_out):
            raise Unknown(f"{self.called} has a decoder of shape {list(found.shape)}.")
        return found

    @property
    def W_enc(self) -> Tensor:
        """This is not known, as a feature may read something else everywhere, see :meth:`reads`.

        Raises:
            Unread: always.
        """
        raise Unread(f"what the features of {self.called} read everywhere is not known.")

    @property
    def W_dec(self) -> Float[Tensor, "1 d_sae d_out"]:
        """What one unit of each feature adds to the output.

        Raises:
            Unknown: if that is not known, or features and a linear part are not the whole output.
        """
        return self._linear[0]

    @property
    def W_skip(self) -> Float[Tensor, "1 d_in d_out"] | None:
        """The linear part."""
        return self._linear[1]

    @property
    def d_sae(self) -> int:
        """How many features it has."""
        return self.encode(self._probe).shape[-1]

    def decoder_norms(self) -> Float[Tensor, "1 d_sae"]:
        """``‖W_dec,i‖``."""
        return self.W_dec.norm(dim=-1)

    def with_linear(
        self, y: Float[Tensor, "1 B d_out"], x: Float[Tensor, "B d_in"]
    ) -> Float[Tensor, "1 B d_out"]:
        """y with what the linear part makes of x."""
        return y if self.W_skip is None else y + x @ self.W_skip

    def jacobian(self, x: Float[Tensor, "B d_in"]) -> Float[Tensor, "1 B d_out d_in"]:
        """J(x) by autograd; rows are outputs, columns inputs.

        Raises:
            Unknown: if autograd does not know it, or it is not finite.
        """
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            y = self(at)[0]
            rows = [self._gradient(y[:, j].sum(), at) for j in range(self.d_out)]
        return torch.stack(rows, dim=1)[None]

    def reads(self, p: Float[Tensor, "d_in"]) -> Float[Tensor, "1 d_in d_sae"]:
        """∂h_i/∂x at p, the direction that each feature that acts there reads.

        Raises:
            Unknown: as for :meth:`jacobian`.
        """
        with torch.enable_grad():
            at = p.detach().expand(self.d_sae, -1).clone().requires_grad_()
            h = self._mapped(self._module.encode, at)
            return self._gradient(h.diagonal().sum(), at).T[None]

    def _gradient(self, of: Tensor, at: Tensor) -> Tensor:
        """Zeros where nothing depends on the inputs, as where no feature is on."""
        if not of.requires_grad:
            raise Unknown(f"autograd does not follow what {self.called} computes.")
        (found,) = torch.autograd.grad(of, at, retain_graph=True, materialize_grads=True)
        if not torch.isfinite(found).all():
            raise Unknown(f"the derivatives of {self.called} are not finite.")
        return found


def _candidates(module: Any) -> Iterator[tuple[Any, Tensor]]:
    """The module as it may compute, the most exact way first."""
    exact = torch.empty(0, dtype=torch.float64)
    if not isinstance(module, nn.Module):
        yield module, exact
        yield module, exact.float()
        return
    held = [w for w in (*module.parameters(), *module.buffers()) if w.is_floating_point()]
    try:
        copied = deepcopy(module).eval()
        yield deepcopy(copied).to("cpu", torch.float64), exact
    except (RuntimeError, TypeError, NotImplementedError):  # some weights cannot be copied
        copied = module
    yield copied, next(iter(held), exact.float()).detach()[:0]
