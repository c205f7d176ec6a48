"""Random numbers from raw integer bits: the same on every platform, with every version of every library.

Scenes and sentences are drawn with ``Bits``, textures and pixel noise with ``hash_grid``. Both are SplitMix64 (Steele,
Lea, Flood 2014, "Fast splittable pseudorandom number generators"), in Python integers and in numpy's wrapping uint64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

T = TypeVar("T")


def seed_of(*parts: object) -> int:
    """A 64-bit seed from names and numbers (the first bytes of their SHA-256).

    Example:
        >>> seed_of("train", 0) == seed_of("train", 0) != seed_of("train", 1)
        True
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


class Bits:
    """A stream of random integers.

    Args:
        seed: Any integer; its lowest 64 bits count.

    Example:
        >>> Bits(0).word() == 0xE220A8397B1DCDAF  # the published first output for seed 0
        True
        >>> 3 <= Bits(7).between(3, 5) <= 5
        True
    """

    def __init__(self, seed: int):
        self._state = int(seed) & _MASK

    def word(self) -> int:
        """The next 64 random bits."""
        self._state = z = (self._state + _STEP) & _MASK
        z = ((z ^ (z >> 30)) * _FIRST) & _MASK
        z = ((z ^ (z >> 27)) * _SECOND) & _MASK
        return z ^ (z >> 31)

    def below(self, count: int) -> int:
        """An integer in ``[0, count)``; the bias of the multiplication is under ``count / 2**64``."""
        return (self.word() * count) >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in ``[low, high]``, both included."""
        return low + self.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """True in ``percent`` of 100 cases."""
        return self.below(100) < percent

    def bell(self, width: int) -> int:
        """The sum of three integers in ``[-width, width]``: bell-shaped, standard deviation about ``width``."""
        return self.between(-width, width) + self.between(-width, width) + self.between(-width, width)

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``, all equally likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: Sequence[int]) -> int:
        """A position, likely in proportion to its integer weight.

        Raises:
            ValueError: No weight is positive.
        """
        rest = self.below(sum(weights))
        for position, weight in enumerate(weights):
            if rest < weight:
                return position
            rest -= weight
        raise ValueError(f"weights {list(weights)} leave nothing to choose; expected at least one positive weight.")

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different members of ``items`` in random order (all of them: a shuffle)."""
        pool = list(items)
        for position in range(count):
            other = position + self.below(len(pool) - position)
            pool[position], pool[other] = pool[other], pool[position]
        return pool[:count]


def hash_grid(seed: int, height: int, width: int) -> np.ndarray:
    """64 random bits for each cell of a grid.

    Args:
        seed: Any integer; its lowest 64 bits count.
        height: Rows.
        width: Columns.

    Returns:
        ``(height, width)`` uint64.
    """
    z = np.arange(1, height * width + 1, dtype=np.uint64)
    z *= np.uint64(_STEP)
    z += np.uint64(int(seed) & _MASK)
    z ^= z >> np.uint64(30)
    z *= np.uint64(_FIRST)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_SECOND)
    z ^= z >> np.uint64(31)
    return z.reshape(height, width)


def noise_grid(seed: int, height: int, width: int) -> np.ndarray:
    """Uniform noise.

    Returns:
        ``(height, width)`` float32 in [0, 1), multiples of 2**-24 and so exact.

    Example:
        >>> noise_grid(3, 2, 2).shape
        (2, 2)
    """
    return (hash_grid(seed, height, width) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
