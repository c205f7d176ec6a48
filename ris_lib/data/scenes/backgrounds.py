"""The eight surfaces that objects stand on, and the small decoration on them.

Pictures are planar here, ``(3, size, size)`` float32 with levels 0 to 255: numpy is several times faster on them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from ris_lib.data.scenes.bits import Bits, noise_grid

Array = np.ndarray
_TWO_PI = np.float32(2 * np.pi)


def draw_background(surface: str, bits: Bits, size: int) -> Array:
    """Draw a surface.

    Args:
        surface: A name of ``SURFACES``.
        bits: Where randomness comes from; the same bits give the same surface at every size.
        size: Height and width in pixels.

    Returns:
        ``(3, size, size)`` float32, levels 0 to 255, not clipped.
    """
    x, y, light = grid(size)
    coarse = smooth_noise(bits, size, (5, 11, 24))
    fine = smooth_noise(bits, size, (34, 75))
    picture = _SURFACES[surface](bits, x, y, coarse, fine)
    for colours, most, radius, strength, petals in _DECORATION.get(surface, ()):
        for _ in range(bits.between(most // 2, most)):
            centre = bits.below(1000) / 1000, bits.below(1000) / 1000
            spot = radius * bits.between(60, 140) / 100
            _decorate(picture, centre, spot, bits.pick(colours), strength, petals)
    picture *= light
    return picture


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Array, Array, Array]:
    """Pixel centres ``x (1, size)`` and ``y (size, 1)`` in [0, 1], and the light on the surface ``(size, size)``."""
    line = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    x, y = line[None, :], line[:, None]
    light = (1 - 0.3 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)) * (1.08 - 0.09 * y)
    return x, y, light


def smooth_noise(bits: Bits, size: int, cells: tuple[int, ...]) -> Array:
    """Smooth random hills: grids of random numbers, each finer and weaker than the one before, enlarged and added.

    Args:
        bits: Where randomness comes from.
        size: Side of the result.
        cells: Sides of the grids.

    Returns:
        ``(size, size)`` float32, about 0 to 1.
    """
    total, weight, weights = np.zeros((size, size), np.float32), 1.0, 0.0
    for side in cells:
        coarse = Image.fromarray(noise_grid(bits.word(), side, side))
        total += np.float32(weight) * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
        weights += weight
        weight *= 0.55
    total /= np.float32(weights)
    return total


def _mix(low: tuple[int, int, int], high: tuple[int, int, int], share: Array) -> Array:
    """From one colour to another, ``(3, size, size)``; ``share`` is clipped to [0, 1]."""
    first, second = (np.array(colour, np.float32)[:, None, None] for colour in (low, high))
    return first + (second - first) * np.clip(share, 0, 1)


def _meadow(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    picture = _mix((120, 176, 92), (170, 208, 118), coarse * 1.5 - 0.3)
    picture += (fine - 0.5) * np.array((42, 52, 31), np.float32)[:, None, None]
    return picture


def _sand(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    ripples = np.sin((y * 9 + coarse * 2.2) * _TWO_PI)
    return _mix((232, 208, 160), (246, 228, 188), coarse) + (ripples * 5 + (fine - 0.5) * 26)


def _wood(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    plank = np.floor(y * 5)
    tone = noise_grid(bits.word(), 1, 5)[0][np.minimum(plank, 4).astype(np.intp)]
    grain = np.sin((y * 34 + coarse * 7 + tone * 20 + np.sin(x * 5 + tone * 9) * 0.6) * 2)
    picture = _mix((182, 132, 86), (206, 158, 108), tone) + (grain * 7 + (fine - 0.5) * 20)
    picture *= 1 - 0.35 * np.exp(-(((y * 5 - plank) / 0.035) ** 2))
    return picture


def _snow(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    return _mix((222, 232, 244), (248, 250, 253), coarse * 1.6 - 0.3) + (fine - 0.5) * 10


def _water(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    waves = np.sin((y * 11 + coarse * 4) * _TWO_PI) * np.sin((x * 3 + coarse * 2) * _TWO_PI)
    return _mix((92, 170, 204), (146, 208, 226), coarse) + np.clip(waves, 0, 1) * 26


def _tiles(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    count = bits.between(4, 6)
    picture = _mix((214, 204, 192), (236, 230, 220), (np.floor(x * count) + np.floor(y * count)) % 2)
    picture += (coarse - 0.5) * 24 + (fine - 0.5) * 10
    seam = np.minimum(np.abs(x * count - np.round(x * count)), np.abs(y * count - np.round(y * count)))
    picture *= 1 - 0.18 * np.exp(-((seam / 0.03) ** 2))
    return picture


def _felt(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    colour = bits.pick(((176, 196, 186), (206, 186, 196), (190, 190, 214), (214, 204, 176)))
    return np.array(colour, np.float32)[:, None, None] + ((coarse - 0.5) * 26 + (fine - 0.5) * 34)


def _night(bits: Bits, x: Array, y: Array, coarse: Array, fine: Array) -> Array:
    clouds = np.clip((fine - 0.74) * 25, 0, 1)  # steep but without a jump, which rounding could move
    return _mix((40, 48, 86), (72, 70, 118), coarse) + clouds * (60 * (fine - 0.5))


_SURFACES: dict[str, Callable[..., Array]] = {
    "meadow": _meadow,
    "sand": _sand,
    "wood": _wood,
    "snow": _snow,
    "water": _water,
    "tiles": _tiles,
    "felt": _felt,
    "night": _night,
}

#: Surface -> (colours, most spots, radius in picture sides, strength, flowers instead of ovals). No object class.
_DECORATION: dict[str, tuple[tuple, ...]] = {
    "meadow": ((((255, 255, 255), (255, 226, 120), (250, 190, 210)), 14, 0.008, 0.9, True),),
    "sand": ((((250, 236, 214), (214, 180, 140), (236, 196, 176)), 10, 0.011, 0.8, False),),
    "snow": ((((255, 255, 255), (206, 220, 238)), 10, 0.012, 0.55, False),),
    "water": ((((214, 240, 248),), 8, 0.012, 0.55, False),),
    "night": ((((255, 244, 200), (200, 214, 255)), 26, 0.0045, 0.8, False),),
}


def _decorate(
    picture: Array,
    centre: tuple[float, float],
    radius: float,
    colour: tuple[int, int, int],
    strength: float,
    petals: bool,
) -> None:
    """Paint one spot or flower over the picture."""
    size = picture.shape[1]
    left, right = (int(max(0, min(size, (centre[0] + way * radius) * size + (way > 0) * 2))) for way in (-3, 3))
    top, bottom = (int(max(0, min(size, (centre[1] + way * radius) * size + (way > 0) * 2))) for way in (-3, 3))
    if left >= right or top >= bottom:
        return
    x, y, _ = grid(size)
    across, down = x[:, left:right] - centre[0], y[top:bottom] - centre[1]
    window = picture[:, top:bottom, left:right]
    distance = np.sqrt(across * across + down * down)
    if petals:
        edge = radius * (0.75 + 0.35 * np.cos(5 * np.arctan2(down, across)))
        _blend(window, colour, np.clip(0.5 - (distance - edge) * size, 0, 1) * strength)
        _blend(window, (246, 190, 60), np.clip(0.5 - (distance - radius * 0.35) * size, 0, 1))
    else:
        oval = np.sqrt(across * across + (down * 1.5) ** 2) - radius
        _blend(window, colour, np.clip(0.5 - oval * size, 0, 1) * strength)


def _blend(window: Array, colour: tuple[int, int, int], alpha: Array) -> None:
    window += (np.array(colour, np.float32)[:, None, None] - window) * alpha.astype(np.float32)
