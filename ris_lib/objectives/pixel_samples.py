"""Pixels of the target and of the rest, a bounded number of each, for losses that compare pixels with one another.

Source: our decision. All pairs of foreground and background pixels of one 120 x 120 map can be 39 million; a thousand
of each side say as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def targets_on_grid(masks: Tensor, size: Sequence[int]) -> Tensor:
    """Target masks on a feature map's grid, by nearest neighbour.

    Args:
        masks: ``(S, H, W)`` bool.
        size: ``(h, w)`` of the grid.

    Returns:
        ``(S, h * w)`` bool.

    Example:
        >>> targets_on_grid(torch.tensor([[[True, True, False, False]]]), (1, 2))
        tensor([[ True, False]])
    """
    return F.interpolate(masks[:, None].float(), size=size, mode="nearest")[:, 0].flatten(1) > 0.5


def sample_pixels(candidates: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Draw at most so many of the True positions of each row, without repetition.

    Args:
        candidates: ``(S, n)`` bool.
        limit: Most positions to draw from a row.

    Returns:
        Positions ``(S, k)`` long and which of them are real ``(S, k)`` bool, k = min(limit, n): a row with fewer than k
        candidates is filled up with positions that do not count. Drawn from torch's random numbers.

    Example:
        >>> positions, real = sample_pixels(torch.tensor([[False, True, False]]), limit=2)
        >>> positions[real].tolist(), real.sum().item()
        ([1], 1)
    """
    order = torch.rand(candidates.shape, device=candidates.device).masked_fill(~candidates, -1.0)
    scores, positions = order.topk(min(limit, candidates.shape[1]), dim=1)
    return positions, scores >= 0
