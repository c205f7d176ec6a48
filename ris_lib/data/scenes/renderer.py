"""From the description of a scene to pixels, at any size.

Every object is drawn inside its own window: its parts one over the other, smooth edges one pixel wide, a shadow below,
light from the upper left. Outlines use exact arithmetic only (``shapes``); colours may differ by a level or two between
platforms.
"""

from __future__ import annotations

import math

import numpy as np

from ris_lib.data.scenes.backgrounds import draw_background
from ris_lib.data.scenes.bits import Bits, hash_grid
from ris_lib.data.scenes.figures import HAIR, SKIN, Part, parts
from ris_lib.data.scenes.layout import SceneObject
from ris_lib.data.scenes.scene import Scene
from ris_lib.data.scenes.silhouettes import turn
from ris_lib.data.scenes.vocabulary import COLOURS

Array = np.ndarray
_REACH = 1.5  # half the side of an object's window, in radii: room for its shadow


def draw(scene: Scene, size: int = 96) -> tuple[Array, Array]:
    """Draw a scene.

    Args:
        scene: What ``make_scene`` returns.
        size: Height and width in pixels, 32 to 2048.

    Returns:
        The picture ``(size, size, 3)`` uint8 RGB and the id map ``(size, size)`` uint8: k + 1 where object k is seen,
        0 where the surface is.

    Raises:
        ValueError: The size is out of range.

    Example:
        >>> from ris_lib.data.scenes import make_scene
        >>> image, ids = draw(make_scene("val", 0), size=64)
        >>> image.shape, ids.shape
        ((64, 64, 3), (64, 64))
    """
    check_size(size)
    bits = Bits(scene.seed)
    picture = draw_background(scene.surface, bits, size)
    ids = np.zeros((size, size), np.uint8)
    for number in scene.order:
        _draw_object(picture, ids, scene.objects[number], number + 1)
    picture += _pixel_noise(bits.word(), size, scene.noise / 10)
    np.clip(picture, 0, 255, out=picture)
    return np.ascontiguousarray(picture.astype(np.uint8).transpose(1, 2, 0)), ids


def check_size(size: int) -> None:
    """Refuse a size that cannot be drawn.

    Raises:
        ValueError: The size is not a whole number from 32 to 2048.
    """
    if not isinstance(size, int) or not 32 <= size <= 2048:
        raise ValueError(f"size={size!r} cannot be drawn; expected a whole number from 32 to 2048 pixels, e.g. 96.")


def _pixel_noise(seed: int, size: int, strength: float) -> Array:
    """``(3, size, size)`` float32 with standard deviation ``strength``: sums of two random bytes, minus their mean."""
    raw = hash_grid(seed, size, size).view(np.uint8).reshape(size, size, 8)
    planes = raw[..., :3].astype(np.float32) + raw[..., 3:6]
    return (planes.transpose(2, 0, 1) - 255) * np.float32(strength / 104.5)


def _draw_object(picture: Array, ids: Array, thing: SceneObject, number: int) -> None:
    """Draw one object over the picture and write its number into the id map."""
    size = ids.shape[0]
    radius, centre_x, centre_y = (value * size / 1000 for value in (thing.radius, thing.x, thing.y))
    reach = radius * _REACH
    left, right = max(0, int(centre_x - reach)), min(size, int(centre_x + reach) + 2)
    top, bottom = max(0, int(centre_y - reach)), min(size, int(centre_y + reach) + 2)
    across = (np.arange(left, right, dtype=np.float32) + np.float32(0.5 - centre_x)) * np.float32(1 / radius)
    down = ((np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - centre_y)) * np.float32(1 / radius))[:, None]
    cosine, sine = turn(thing.rotation)
    u, v = across * cosine + down * sine, down * cosine - across * sine
    if thing.mirrored:
        u = -u
    colour, alpha, outline = _paint(thing, parts(thing.category, thing.hat, u, v), u, v, radius)

    window = picture[:, top:bottom, left:right]
    near = np.clip(1.15 - np.sqrt(((across - 0.10) / 0.95) ** 2 + ((down - 0.86) / 0.34) ** 2), 0, 1)
    shadow = 0.42 * near * near * (3 - 2 * near)
    contact = np.clip(np.exp(np.maximum(outline, 0) * (-1 / 0.13)) * 1.05 - 0.05, 0, 1)
    window *= 1 - np.maximum(shadow, 0.26 * contact)
    rim = np.clip(1 + outline * (1 / 0.16), 0, 1)
    shade = 1.07 - 0.12 * (down * 0.7 + across * 0.45) - 0.20 * rim * rim
    colour *= shade
    colour -= window
    colour *= alpha
    window += colour
    ids[top:bottom, left:right][outline < 0] = number


def _paint(thing: SceneObject, figure: list[Part], u: Array, v: Array, radius: float) -> tuple[Array, Array, Array]:
    """Paint the parts one over the other.

    Returns:
        Colour ``(3, height, width)``, coverage ``(height, width)`` in [0, 1], signed distance to the whole outline.
    """
    base = np.array(thing.rgb, np.float32)[:, None, None]
    fixed = {
        "main": base,
        "dark": base * 0.72,
        "light": base * 0.5 + 127,
        "skin": _rgb(SKIN[thing.skin]),
        "hair": _rgb(HAIR[thing.hair]),
        "accent": _rgb(COLOURS[thing.accent][0]) if thing.accent else base,
    }
    pattern = _pattern(thing, u, v)
    cover = base if pattern is None else base + (_rgb(COLOURS[thing.colour][1]) - base) * pattern

    def paint_of(part: Part) -> Array:
        return cover if part.textured else fixed[part.paint] if isinstance(part.paint, str) else _rgb(part.paint)

    first, *others = figure
    colour = np.broadcast_to(paint_of(first), (3, *u.shape)).copy()
    alpha, outline = np.clip(0.5 - first.distance * radius, 0, 1), first.distance.copy()
    for part in others:
        opacity = np.clip(0.5 - part.distance * radius, 0, 1)
        if part.opacity < 1:
            opacity *= part.opacity
        else:
            np.minimum(outline, part.distance, out=outline)
            np.maximum(alpha, opacity, out=alpha)
        colour += (paint_of(part) - colour) * opacity
    return colour, alpha, outline


def _rgb(levels: tuple[int, int, int]) -> Array:
    return np.array(levels, np.float32)[:, None, None]


def _pattern(thing: SceneObject, u: Array, v: Array) -> Array | None:
    """Share of the pattern's second colour, ``(height, width)`` in [0, 1]; None for plain objects."""
    if thing.texture == "striped":
        angle = math.radians(thing.angle)
        along = u * math.cos(angle) + v * math.sin(angle)
        return np.clip(0.5 + 2.16 * np.sin(along * (4.2 * math.pi) + math.radians(thing.phase)), 0, 1)
    if thing.texture == "dotted":
        across, down = u * 2.6 + 0.25, v * 2.6
        row = np.floor(down)
        across = across + 0.5 * (row % 2)
        across, down = across - np.floor(across) - 0.5, down - row - 0.5
        return np.clip((0.30 - np.sqrt(across * across + down * down)) * 9 + 0.5, 0, 1)
    if thing.texture == "checkered":
        return np.clip(0.5 + 5 * np.sin(u * (2.7 * math.pi) + 0.4) * np.sin(v * (2.7 * math.pi) + 0.4), 0, 1)
    return None
