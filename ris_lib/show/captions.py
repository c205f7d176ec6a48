"""What a map shows, in words: for those who hear the page, and for those who are not sure what they see.

A caption names where a map is strongest and compares what lies on the target with the rest; what it says depends on
what the numbers of the map are (``ris_lib.show.views.READINGS``). Source: our decision.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

_ROWS, _COLUMNS = ("upper", "middle", "lower"), ("left", "centre", "right")


def place(at: tuple[float, float]) -> str:
    """Where a point lies, in words.

    Args:
        at: (row, column), each in [0, 1) of the picture's height and width.

    Example:
        >>> place((0.1, 0.9)), place((0.5, 0.5)), place((0.5, 0.1))
        ('at the upper right', 'in the centre', 'at the middle left')
    """
    row, column = _ROWS[int(at[0] * 3)], _COLUMNS[int(at[1] * 3)]
    if (row, column) == ("middle", "centre"):
        return "in the centre"
    return f"at the {row} {column}"


def at_size(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map on another grid, bilinear, so that it can be compared with a mask.

    Args:
        values: ``(h, w)`` float.
        size: (height, width).

    Example:
        >>> import numpy as np
        >>> at_size(np.ones((2, 3)), (4, 6)).shape
        (4, 6)
    """
    picture = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR))


def caption(label: str, values: np.ndarray, reading: str, target: np.ndarray | None) -> str:
    """Put a map into words.

    Args:
        label: The item, such as ``"red"``.
        values: ``(h, w)`` in [0, 1].
        reading: What the numbers are, a key of ``READINGS``.
        target: ``(H, W)`` bool, the right object; or None.

    Returns:
        One or two sentences.

    Example:
        >>> import numpy as np
        >>> values, target = np.array([[0.9, 0.1], [0.1, 0.1]]), np.array([[True, False], [False, False]])
        >>> caption("query 1", values, "mask", target)
        'query 1: its mask covers 25 % of the picture. IoU with the target: 1.00.'
        >>> caption("red", values, "share", target)
        'red: 0.10 to 0.90, strongest at the upper left. Takes 90 % of the pixels on the target, 10 % of the others.'
        >>> caption("red", values / 1.2, "spread", target)
        'red: strongest at the upper left. 75 % of it lies on the target, which covers 25 % of the picture.'
    """
    own = values
    if target is not None:
        target = np.asarray(target, dtype=bool)
        values = at_size(values, target.shape)
    if reading == "mask":
        return _mask_in_words(label, values > 0.5, target)
    peak = np.unravel_index(int(np.argmax(own)), own.shape)
    where = place(((peak[0] + 0.5) / own.shape[0], (peak[1] + 0.5) / own.shape[1]))
    text = f"{label}: strongest {where}."
    if reading == "share":
        digits = 2 if np.ptp(own) >= 0.02 else 4  # nearly even shares differ in later places
        text = f"{label}: {own.min():.{digits}f} to {own.max():.{digits}f}, strongest {where}."
    if target is None or not 0 < target.mean() < 1:
        return text
    if reading == "share":
        inside, outside = values[target].mean(), values[~target].mean()
        return f"{text} Takes {inside:.0%} of the pixels on the target, {outside:.0%} of the others.".replace("%", " %")
    on_target = values[target].sum() / max(float(values.sum()), 1e-9)
    return (
        f"{text} {100 * on_target:.0f} % of it lies on the target, which covers {100 * target.mean():.0f} % of the "
        "picture."
    )


def _mask_in_words(label: str, mask: np.ndarray, target: np.ndarray | None) -> str:
    """What a mask covers, and how well it fits."""
    if not mask.any():
        return f"{label}: its mask is empty."
    text = f"{label}: its mask covers {100 * mask.mean():.0f} % of the picture."
    if target is None:
        return text
    iou = (mask & target).sum() / (mask | target).sum()
    return f"{text} IoU with the target: {iou:.2f}."
