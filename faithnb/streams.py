"""Random numbers that are the same on every device, for many seeds at once.

A number is a function of its seed, purpose, step and place, computed by integer arithmetic that
does not depend on the device or the library: a counter-based generator, as by Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3" (2011), with Wellons' 32-bit mixing function. There
is no state, so an instance draws the same alone or in company, and a training can begin anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Purpose = Literal["init", "data", "noise", "probe", "evaluation"]
"""What numbers are for; those of different purposes are independent, so that switching Jacobian
probes on leaves data and initialisation as they were."""


def mix(x: Tensor) -> Tensor:
    """Scramble int32 words in place; one to one, and every bit depends on every bit."""
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x *= -0x7B935975
    x ^= (x >> 16) & 0xFFFF
    return x


class Stream:
    """The numbers of some seeds for one purpose; each draw is ``[n_seeds, *shape]``.

    Args:
        seeds: whole numbers, at least 0.
        purpose: see :data:`Purpose`.
        device: where the numbers are drawn; it does not change them.
    """

    def __init__(self, seeds: Sequence[int], purpose: Purpose, device: torch.device | str = "cpu"):
        words = torch.tensor([[s >> 31 & 0x7FFFFFFF, s & 0x7FFFFFFF] for s in seeds])
        high, low = words.to(torch.int32).to(device).unbind(1)
        self.key = mix(mix(mix(high + 1) ^ low) ^ get_args(Purpose).index(purpose) + 1)
        self.places: dict[int, Tensor] = {}

    def words(self, step: int, n: int) -> Tensor:
        """32 random bits each, int32 ``[n_seeds, n]``."""
        if n not in self.places:
            places = torch.arange(n, dtype=torch.int32, device=self.key.device)
            self.places[n] = mix(places + 0x2545F491)
        return mix(self.places[n] + mix(self.key ^ step)[:, None])

    def uniform(
        self, step: int, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Uniform on (0, 1): odd multiples of 2⁻²⁴, exact in either floating-point type."""
        high = (self.words(step, math.prod(shape)) >> 9) & 0x7FFFFF
        return high.to(dtype).add_(0.5).mul_(2.0**-23).unflatten(1, tuple(shape))

    def normal(self, step: int, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal, by Box and Muller's transform of two uniform numbers each.

        The logarithm and the cosine may differ between devices in the last digit.
        """
        radius, angle = self.uniform(step, (2, *shape), dtype).unbind(1)
        return radius.log_().mul_(-2).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())

    def signs(self, step: int, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Rademacher: −1 or 1, each half of the time."""
        n = math.prod(shape)
        words = self.words(step, -(-n // 16))
        which = torch.arange(8, 24, dtype=torch.int32, device=words.device)
        bits = (words[..., None] >> which) & 1
        return bits.flatten(1)[:, :n].to(dtype).mul_(2).sub_(1).unflatten(1, tuple(shape))
