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

from faithnb.common.ambient import settled

Purpose = Literal["init", "data", "noise", "probe", "evaluation", "variation", "blur", "rotation"]
"""What numbers are for; those of different purposes are independent, so that switching Jacobian
probes on leaves data and initialisation as they were."""


def _word(value: int) -> Tensor:
    """A constant: torch casts a Python number anew at every use, a tensor it takes as it is."""
    return torch.tensor(value - (value >> 31 << 32), dtype=torch.int32)


with settled():  # wherever the process that imports this makes its tensors
    SHIFT_15, SHIFT_16, LOW_16, LOW_17 = map(_word, (15, 16, 0xFFFF, 0x1FFFF))
    FACTORS = _word(0x7FEB352D), _word(0x846CA68B)
    SHIFT_9, MANTISSA, ONE, MINUS_ONE = map(_word, (9, 0x7FFFFF, 0x3F800000, 0xBF800000))
    SIGN = _word(0x80000000)


def mix(x: Tensor) -> Tensor:
    """Scramble int32 words in place; one to one, and every bit depends on every bit."""
    x ^= (x >> SHIFT_16).bitwise_and_(LOW_16)
    x *= FACTORS[0]
    x ^= (x >> SHIFT_15).bitwise_and_(LOW_17)
    x *= FACTORS[1]
    x ^= (x >> SHIFT_16).bitwise_and_(LOW_16)
    return x


class Stream:
    """The numbers of some seeds for one purpose.

    Each draw is ``[n_seeds, *shape]`` for one step, ``[n_steps, n_seeds, *shape]`` for a range of
    steps, which gives the same numbers at less cost.

    Args:
        seeds: whole numbers, at least 0.
        purpose: see :data:`Purpose`.
        device: where the numbers are drawn; it does not change them.
    """

    def __init__(self, seeds: Sequence[int], purpose: Purpose, device: torch.device | str = "cpu"):
        words = torch.tensor([[s >> 31 & 0x7FFFFFFF, s & 0x7FFFFFFF] for s in seeds], device="cpu")
        high, low = words.to(torch.int32).to(device).unbind(1)
        self.key = mix(mix(mix(high + 1) ^ low) ^ get_args(Purpose).index(purpose) + 1)
        self.places: dict[int, Tensor] = {}

    def words(self, step: int | range, n: int) -> Tensor:
        """32 random bits each, int32 ``[n_seeds, n]`` or ``[n_steps, n_seeds, n]``."""
        if n not in self.places:
            places = torch.arange(n, dtype=torch.int32, device=self.key.device)
            self.places[n] = mix(places + 0x2545F491)
        steps = range(step, step + 1) if isinstance(step, int) else step
        # made on the device: a copy from the host would wait for all that was asked of it before
        at = torch.arange(steps.start, steps.stop, dtype=torch.int32, device=self.key.device)
        words = mix(self.places[n] + mix(self.key ^ at[:, None])[..., None])
        return words[0] if isinstance(step, int) else words

    def uniform(
        self, step: int | range, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Uniform on (0, 1): odd multiples of 2⁻²⁴, exact in either floating-point type."""
        bits = (self.words(step, math.prod(shape)) >> SHIFT_9).bitwise_and_(MANTISSA)
        from_one_to_two = bits.bitwise_or_(ONE).view(torch.float32)
        return (from_one_to_two - (1 - 2.0**-24)).to(dtype).unflatten(-1, tuple(shape))

    def normal(
        self, step: int | range, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal, by Box and Muller's transform of two uniform numbers each.

        The logarithm and the cosine may differ between devices in the last digit.
        """
        radius, angle = self.uniform(step, (2, math.prod(shape)), dtype).unbind(-2)
        values = radius.log_().mul_(-2).sqrt_().mul_(angle.mul_(2 * math.pi).cos_())
        return values.unflatten(-1, tuple(shape))

    def signs(
        self, step: int | range, shape: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Rademacher: −1 or 1, each half of the time."""
        n = math.prod(shape)
        words = self.words(step, -(-n // 16))
        to_the_sign = torch.arange(23, 7, -1, dtype=torch.int32, device=words.device)
        signed = (words[..., None] << to_the_sign).bitwise_and_(SIGN).bitwise_xor_(MINUS_ONE)
        values = signed.view(torch.float32).flatten(-2)[..., :n]
        return values.to(dtype).unflatten(-1, tuple(shape))
