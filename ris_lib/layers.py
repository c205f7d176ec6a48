"""Small pieces that several rooms share: coordinates, resizing, convolution with its norm.

Source: coordinates as extra features follow CoordConv (Liu et al. 2018) and the first referring segmentation network
(Hu et al. 2016); group norm instead of batch norm is our decision, because then a batch of one image and a batch of
sixty-four, training and evaluation, one process and eight all compute the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def at_least_float32(x: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 stay as they are.

    Example:
        >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def masked_mean(values: Tensor, real: Tensor) -> Tensor:
    """Mean of the real entries along the second dimension; the others may hold anything.

    Args:
        values: ``(n, k)`` or ``(n, k, C)``.
        real: ``(n, k)`` bool, at least one True in each row.

    Returns:
        ``(n,)`` or ``(n, C)``.

    Example:
        >>> masked_mean(torch.tensor([[1.0, 3.0, torch.nan]]), torch.tensor([[True, True, False]]))
        tensor([2.])
    """
    real = real[..., None] if values.dim() == 3 else real
    return values.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1).to(values.dtype)


def coordinates(size: Sequence[int], like: Tensor) -> Tensor:
    """Where each cell of a map lies in the picture, independent of the map's resolution.

    Args:
        size: ``(h, w)`` of the map.
        like: A tensor whose device and dtype the result takes.

    Returns:
        ``(h * w, 2)``: the cell centre's (y, x), each in (-1, 1), row by row; (0, 0) is the picture's middle.

    Example:
        >>> coordinates((1, 2), torch.zeros(1))
        tensor([[ 0.0000, -0.5000],
                [ 0.0000,  0.5000]])
    """
    height, width = size
    y = (torch.arange(height, device=like.device, dtype=torch.float32) + 0.5) * (2 / height) - 1
    x = (torch.arange(width, device=like.device, dtype=torch.float32) + 0.5) * (2 / width) - 1
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).flatten(0, 1).to(like.dtype)


def resize_map(feature_map: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Bring a map to another size, bilinearly; a map of that size already is returned as it is.

    Args:
        feature_map: ``(B, C, h, w)``.
        size: The wanted ``(height, width)``.
        align_corners: As in ``torch.nn.functional.interpolate``; LAVT's decoder needs True.

    Returns:
        ``(B, C, height, width)``.

    Example:
        >>> resize_map(torch.ones(1, 2, 3, 3), (6, 6)).shape
        torch.Size([1, 2, 6, 6])
    """
    if tuple(feature_map.shape[-2:]) == tuple(size):
        return feature_map
    return F.interpolate(feature_map, size=size, mode="bilinear", align_corners=align_corners)


def norm_2d(kind: str, channels: int) -> nn.Module:
    """A normalisation of ``(B, C, h, w)`` maps.

    Args:
        kind: ``"group"`` (groups of 8 channels, or one group where 8 does not divide) or ``"batch"`` (the official
            decoders' choice).
        channels: Channels of the map, C.

    Raises:
        ValueError: Another kind.

    Example:
        >>> norm_2d("group", 24)
        GroupNorm(3, 24, eps=1e-05, affine=True)
    """
    if kind == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    raise ValueError(f"norm={kind!r} is unknown; expected 'group' or 'batch'.")


class ConvNormAct(nn.Sequential):
    """Convolution without bias, normalisation, ReLU.

    Args:
        in_channels: Channels that come.
        out_channels: Channels that go.
        kernel: Side of the kernel, odd; the map keeps its size at stride 1.
        stride: 1 or 2; at 2 a side of n becomes ceil(n / 2).
        norm: See ``norm_2d``.
        act: False leaves the ReLU out.

    Shape:
        ``(B, in_channels, h, w)`` -> ``(B, out_channels, ceil(h / stride), ceil(w / stride))``.

    Example:
        >>> ConvNormAct(3, 8, stride=2)(torch.zeros(1, 3, 5, 4)).shape
        torch.Size([1, 8, 3, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        stride: int = 1,
        norm: str = "group",
        act: bool = True,
    ):
        layers = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            norm_2d(norm, out_channels),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class Residual(nn.Module):
    """Two 3x3 convolutions around a short cut, as in ResNet (He et al. 2016).

    Where channels or size change, the short cut is a 1x1 convolution with its norm.

    Args:
        in_channels: Channels that come.
        out_channels: Channels that go; None = as many as come.
        stride: 1 or 2; at 2 a side of n becomes ceil(n / 2).
        norm: See ``norm_2d``.

    Example:
        >>> Residual(8, 16, stride=2)(torch.zeros(1, 8, 5, 4)).shape
        torch.Size([1, 16, 3, 2])
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, stride: int = 1, norm: str = "group"):
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        self.body = nn.Sequential(
            ConvNormAct(in_channels, out_channels, stride=stride, norm=norm),
            ConvNormAct(out_channels, out_channels, norm=norm, act=False),
        )
        self.short_cut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.short_cut = ConvNormAct(in_channels, out_channels, kernel=1, stride=stride, norm=norm, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, h, w)`` -> ``(B, out_channels, ceil(h / stride), ceil(w / stride))``."""
        return F.relu(self.short_cut(x) + self.body(x))
