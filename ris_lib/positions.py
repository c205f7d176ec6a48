"""Sine positions: where a pixel or a word stands, told in sines and cosines of many wave lengths.

Channels 2i and 2i + 1 hold the sine and the cosine of ``position / 10000^(2i / C)``. In two dimensions half of the
channels encode the row and half the column.

Source: Vaswani et al. 2017, section 3.5. Two forms are in use for maps. The *normalised* one (DETR, Carion et al. 2020;
the released code of MagNet and LGFormer) counts from 1 and scales every axis to 2 pi, so that maps of different sizes
agree about where the middle is; rows come first. The plain one (the released code of CRIS) counts cells from 0, columns
first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: The longest wave is this many times as long as the shortest.
TEMPERATURE = 10000.0
#: Keeps the division of the normalised form finite; the value of DETR's code.
EPSILON = 1e-6


def sine_1d(length: int, channels: int, like: Tensor) -> Tensor:
    """Positions 0, 1, 2, ... of a sequence.

    Args:
        length: Number of positions.
        channels: Channels of the result, even.
        like: A tensor whose device and dtype the result takes. Sines are computed in float32 at least.

    Returns:
        ``(length, channels)``: sine and cosine by turns.

    Raises:
        ValueError: ``channels`` is odd.

    Example:
        >>> sine_1d(2, 2, torch.zeros(1))
        tensor([[0.0000, 1.0000],
                [0.8415, 0.5403]])
    """
    if channels % 2:
        raise ValueError(f"sine_1d: channels={channels}; expected an even number (a sine and a cosine per wave).")
    return _waves(_count(length, like), channels).to(like.dtype)


def sine_2d(
    size: Sequence[int], channels: int, like: Tensor, normalised: bool = True, column_first: bool = False
) -> Tensor:
    """Positions of the cells of a map.

    Args:
        size: ``(height, width)`` of the map.
        channels: Channels of the result, a multiple of 4.
        like: A tensor whose device and dtype the result takes. Sines are computed in float32 at least.
        normalised: Rows and columns run to 2 pi (up to ``EPSILON``), whatever the size: row i of h is at
            ``2 pi (i + 1) / h``. False: row i is at i.
        column_first: The first half of the channels encodes the column, the second the row; False: the other way round.

    Returns:
        ``(height * width, channels)``, row by row.

    Raises:
        ValueError: ``channels`` is no multiple of 4.

    Example:
        >>> sine_2d((1, 2), 4, torch.zeros(1), normalised=False)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.0000, 1.0000, 0.8415, 0.5403]])
    """
    if channels % 4:
        raise ValueError(f"sine_2d: channels={channels}; expected a multiple of 4 (sine and cosine for two axes).")
    height, width = size
    row, column = (_count(n, like) for n in size)
    if normalised:
        row, column = ((axis + 1) * (2 * math.pi / (n + EPSILON)) for axis, n in ((row, height), (column, width)))
    row = _waves(row, channels // 2)[:, None].expand(-1, width, -1)
    column = _waves(column, channels // 2)[None].expand(height, -1, -1)
    halves = (column, row) if column_first else (row, column)
    return torch.cat(halves, dim=-1).flatten(0, 1).to(like.dtype)


def _count(length: int, like: Tensor) -> Tensor:
    """0, 1, 2, ... in float32, or in float64 where that is asked for: half precision cannot tell 257 from 256."""
    return torch.arange(length, device=like.device, dtype=torch.promote_types(like.dtype, torch.float32))


def _waves(position: Tensor, channels: int) -> Tensor:
    """``(n,)`` -> ``(n, channels)``."""
    step = torch.arange(0, channels, 2, device=position.device, dtype=position.dtype) / channels
    angle = position[:, None] * TEMPERATURE**-step
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
