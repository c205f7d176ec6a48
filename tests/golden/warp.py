"""OpenCV's affine warp, for comparing with code that uses it (CRIS); OpenCV itself is no dependency.

Source: OpenCV's documentation of ``warpAffine``, ``INTER_LINEAR`` and ``INTER_CUBIC``; the cubic kernel is that of Keys
1981 with a = -0.75. Positions are exact here. Older versions of OpenCV round them to 1/32 of a pixel; the golden
numbers come from one that does not (the warped maps agree to 3e-6, rounding would change them by 1e-2).
"""

from __future__ import annotations

import numpy as np


def warp(image: np.ndarray, forward: np.ndarray, size: tuple[int, int], kernel: str, border: float = 0.0) -> np.ndarray:
    """Read an image at ``scale * p + offset`` for each output pixel p; rows and columns separately (no rotation).

    Args:
        image: (H, W) float.
        forward: (2, 3), output pixel to input pixel, in OpenCV's order x, y.
        size: (height, width) of the output.
        kernel: ``cubic`` or ``linear``.
        border: Value of everything outside the image.

    Returns:
        (height, width) float64.
    """
    if forward[0, 1] or forward[1, 0]:
        raise ValueError(f"the matrix {forward.tolist()} turns the image; expected scale and offset only.")
    weigh = _linear if kernel == "linear" else _cubic
    rows = _matrix(forward[1, 1] * np.arange(size[0]) + forward[1, 2], image.shape[0], weigh)
    columns = _matrix(forward[0, 0] * np.arange(size[1]) + forward[0, 2], image.shape[1], weigh)
    return rows @ (image.astype(np.float64) - border) @ columns.T + border


def _matrix(where: np.ndarray, length: int, weigh) -> np.ndarray:
    """(outputs, length): how much each input pixel gives to each output pixel; nothing comes from outside."""
    base = np.floor(where).astype(np.int64)
    weights = np.zeros((len(where), length))
    for tap, weight in weigh(where - base).items():
        inside = (base + tap >= 0) & (base + tap < length)
        weights[np.flatnonzero(inside), (base + tap)[inside]] += weight[inside]
    return weights


def _linear(t: np.ndarray) -> dict[int, np.ndarray]:
    return {0: 1 - t, 1: t}


def _cubic(t: np.ndarray, a: float = -0.75) -> dict[int, np.ndarray]:
    """Keys' kernel at the distances of the four neighbours."""

    def near(d: np.ndarray) -> np.ndarray:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
