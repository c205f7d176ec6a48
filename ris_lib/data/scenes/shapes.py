"""Signed distances of simple shapes: negative inside, positive outside, in the units of the coordinates.

All functions work on arrays of one shape and float type, with ``+ - * /``, square roots and comparisons only: those are
rounded in the same way on every platform, so outlines are the same everywhere. The formulas are the usual ones of
drawing with distance fields, our own writing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray as Array


def circle(u: Array, v: Array, x: float, y: float, radius: float) -> Array:
    """Distance to a circle around (x, y)."""
    u, v = u - x, v - y
    return np.sqrt(u * u + v * v) - radius


def ellipse(u: Array, v: Array, x: float, y: float, half_width: float, half_height: float) -> Array:
    """About the distance to an ellipse: exact on its outline, to first order near it (value over slope)."""
    u, v = (u - x) * (1 / half_width), (v - y) * (1 / half_height)
    level = np.sqrt(u * u + v * v)
    u, v = u * (1 / half_width), v * (1 / half_height)
    slope = np.sqrt(u * u + v * v)
    return (level - 1) * (level + 1e-6) / (slope + 1e-6)


def box(u: Array, v: Array, x: float, y: float, half_width: float, half_height: float, corner: float = 0.0) -> Array:
    """Distance to an upright box around (x, y) whose corners are rounded with radius ``corner``."""
    across = np.abs(u - x) - (half_width - corner)
    down = np.abs(v - y) - (half_height - corner)
    outside_u, outside_v = np.maximum(across, 0), np.maximum(down, 0)
    outside = np.sqrt(outside_u * outside_u + outside_v * outside_v)
    return outside + np.minimum(np.maximum(across, down), 0) - corner


def capsule(u: Array, v: Array, start: tuple[float, float], end: tuple[float, float], radius: float) -> Array:
    """Distance to a line from ``start`` to ``end``, drawn with a round pen."""
    u, v = u - start[0], v - start[1]
    along_u, along_v = end[0] - start[0], end[1] - start[1]
    length = along_u * along_u + along_v * along_v
    share = np.minimum(np.maximum((u * along_u + v * along_v) * (1 / length), 0), 1)
    u, v = u - along_u * share, v - along_v * share
    return np.sqrt(u * u + v * v) - radius


def polygon(u: Array, v: Array, corners: Sequence[tuple[float, float]], radius: float = 0.0) -> Array:
    """Distance to a polygon that is grown by ``radius`` and so has round corners.

    The nearest point is sought on every edge; the sign flips at every edge that a ray to the left crosses.
    """
    nearest = np.full(u.shape, 1e9, u.dtype)
    inside = np.zeros(u.shape, bool)
    for (start_u, start_v), (end_u, end_v) in zip(corners, [*corners[1:], corners[0]]):
        along_u, along_v = end_u - start_u, end_v - start_v
        from_u, from_v = u - start_u, v - start_v
        share = np.minimum(np.maximum((from_u * along_u + from_v * along_v) * (1 / (along_u**2 + along_v**2)), 0), 1)
        off_u, off_v = from_u - along_u * share, from_v - along_v * share
        np.minimum(nearest, off_u * off_u + off_v * off_v, out=nearest)
        left_of_edge = (from_u * along_v < from_v * along_u) if along_v < 0 else (from_u * along_v > from_v * along_u)
        inside ^= ((v >= start_v) != (v >= end_v)) & left_of_edge
    return np.where(inside, -1, 1).astype(u.dtype) * np.sqrt(nearest) - radius


def ring(distance: Array, half_width: float) -> Array:
    """Distance to a line of ``2 * half_width`` along the outline of the shape with this distance."""
    return np.abs(distance) - half_width


def cut(distance: Array, remove: Array) -> Array:
    """About the distance to the first shape without the second."""
    return np.maximum(distance, -remove)


def common(distance: Array, other: Array) -> Array:
    """About the distance to what lies in both shapes."""
    return np.maximum(distance, other)
