"""Outlines at one reference resolution, the same to the last bit on every machine.

Whether an object can be seen decides whether a scene is kept, so it must not depend on the size at which a scene is
drawn, nor on a platform's rounding. An outline table is made once per category with exact arithmetic; a scene looks its
pixels up.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ris_lib.data.scenes.figures import parts

if TYPE_CHECKING:
    from ris_lib.data.scenes.layout import SceneObject

#: Side of the reference picture.
REFERENCE = 96
_CELLS, _REACH = 160, 1.25  # the table covers [-_REACH, _REACH] in both directions
_TURN_UNIT = 1 << 14
# round(2**14 * cos) and sine of 0 to 15 degrees
_COS = (16384, 16382, 16374, 16362, 16344, 16322, 16294, 16262, 16225, 16182, 16135, 16083, 16026, 15964, 15897, 15826)
_SIN = (0, 286, 572, 857, 1143, 1428, 1713, 1997, 2280, 2563, 2845, 3126, 3406, 3686, 3964, 4240)


def turn(degrees: int) -> tuple[float, float]:
    """Cosine and sine of -15 to 15 degrees, rounded to 14 bits and so the same everywhere."""
    return _COS[abs(degrees)] / _TURN_UNIT, (_SIN[abs(degrees)] if degrees >= 0 else -_SIN[-degrees]) / _TURN_UNIT


@cache
def outline(category: str, hat: bool) -> np.ndarray:
    """Where a figure is, ``(cells, cells)`` bool over local coordinates, rows ``v``, columns ``u``."""
    line = ((np.arange(_CELLS) + 0.5) / _CELLS * 2 - 1) * _REACH
    u, v = np.broadcast_arrays(line[None, :], line[:, None])
    inside = np.zeros((_CELLS, _CELLS), bool)
    for part in parts(category, hat, u.copy(), v.copy()):
        if part.opacity == 1:
            inside |= part.distance < 0
    inside.flags.writeable = False
    return inside


def visible_areas(objects: Sequence[SceneObject], order: Sequence[int]) -> list[tuple[int, int]]:
    """For each object its visible and its whole area, in pixels of the reference picture.

    Args:
        objects: The scene's objects.
        order: Object numbers from back to front.

    Returns:
        One ``(visible, whole)`` per object; parts outside the picture count for neither.
    """
    ids = np.full((REFERENCE, REFERENCE), -1, np.int8)
    whole = [0] * len(objects)
    for number in order:
        thing = objects[number]
        reach = thing.radius * _REACH
        x0, x1 = _window(thing.x - reach, thing.x + reach)
        y0, y1 = _window(thing.y - reach, thing.y + reach)
        across = ((np.arange(x0, x1) + 0.5) * (1000 / REFERENCE) - thing.x) / thing.radius
        down = (((np.arange(y0, y1) + 0.5) * (1000 / REFERENCE) - thing.y) / thing.radius)[:, None]
        cosine, sine = turn(thing.rotation)
        u, v = across * cosine + down * sine, down * cosine - across * sine
        cells = _CELLS / (2 * _REACH)
        column = ((-u if thing.mirrored else u) + _REACH) * cells
        row = (v + _REACH) * cells
        inside = outline(thing.category, thing.hat)[
            np.minimum(np.maximum(row, 0), _CELLS - 1).astype(np.intp),
            np.minimum(np.maximum(column, 0), _CELLS - 1).astype(np.intp),
        ]
        ids[y0:y1, x0:x1][inside] = number
        whole[number] = int(np.count_nonzero(inside))
    seen = np.bincount(ids.ravel() + 1, minlength=len(objects) + 1)[1:]
    return [(int(part), max(1, total)) for part, total in zip(seen, whole)]


def _window(low: float, high: float) -> tuple[int, int]:
    """First and past-the-last reference pixel between two positions in thousandths."""
    return max(0, int(low * REFERENCE / 1000)), min(REFERENCE, int(high * REFERENCE / 1000) + 1)
