"""A small residual network: the image tower of every ``_tiny`` recipe.

::

    image (H, W) -> stem: detail map, stride 2 -> stage 1 -> stage 2 -> stage 3 -> stage 4

Where a stage has attention, every pixel is first told where it lies, and then looks at all others: "the left one" and
"the one beside the car" cannot be answered by a pixel that knows its neighbourhood alone. In large systems Swin's
windows or CLIP's pool do that.

Source: the shape is ResNet's (He et al. 2016), with attention over its coarse maps as in BoTNet (Srinivas et al. 2021);
sizes are our decision, chosen so that a model learns the drawn scenes on two CPU cores in minutes. Normalisation: see
``ris_lib.layers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ris_lib.attention import SelfAttentionLayer
from ris_lib.encoders.recompute import run_blocks
from ris_lib.encoders.tiny_start import IMAGE, load_tiny
from ris_lib.layers import ConvNormAct, Residual, coordinates


class PixelAttention(nn.Module):
    """Tell every pixel of a map where it lies, then let all of them look at one another.

    Args:
        channels: Channels of the map.
        layers: Self-attention layers.
        heads: Heads of each.

    Shape:
        ``(B, C, h, w)`` -> the same.

    Example:
        >>> import torch
        >>> PixelAttention(8, layers=1, heads=2)(torch.zeros(1, 8, 3, 4)).shape
        torch.Size([1, 8, 3, 4])
    """

    def __init__(self, channels: int, layers: int, heads: int):
        super().__init__()
        self.position = nn.Linear(5, channels)
        self.layers = nn.ModuleList(SelfAttentionLayer(channels, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        size = (x.shape[2], x.shape[3])
        yx = coordinates(size, like=x)
        positions = self.position(torch.cat([yx, yx.square(), yx.prod(dim=1, keepdim=True)], dim=1))
        pixels = x.flatten(2).transpose(1, 2) + positions
        for layer in self.layers:
            pixels = layer(pixels, positions=positions)
        return pixels.transpose(1, 2).unflatten(2, size)


class TinyImage(nn.Module):
    """Four stages of convolutions over a stride-2 stem.

    Args:
        widths: Channels of the four stages.
        strides: Input pixels per map pixel of the four stages. The first is 2 or 4; each further one equals its
            predecessor or doubles it: a stage that keeps its stride keeps its map's size.
        depths: Residual blocks of the four stages, at least one each; the first of a stage changes size and channels.
        attention: Self-attention layers of the four stages, behind the residual blocks.
        heads: Heads of these layers.
        detail_channels: Channels of the stem, whose stride-2 map is handed on for fine edges.
        start: Weights for ``load_start``: ``"tiny_encoders"``, which ship with this package, or a folder.

    Attributes:
        channels: Channels of the four maps, for the parts that follow.
        strides: As given.
        detail_channels: As given.
        detail_stride: Always 2.
        recompute: Compute blocks again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Not four stages, a stage without a block, or strides that do not grow by 1 or 2.

    Example:
        >>> import torch
        >>> tower = TinyImage(widths=(8, 8, 16, 16), detail_channels=8)
        >>> x, detail = tower.stem(torch.zeros(1, 3, 96, 96))
        >>> detail.shape, tower.stage(0, x).shape
        (torch.Size([1, 8, 48, 48]), torch.Size([1, 8, 24, 24]))
    """

    detail_stride = 2
    recompute = False

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 96, 96),
        strides: Sequence[int] = (4, 8, 16, 16),
        depths: Sequence[int] = (1, 1, 1, 1),
        attention: Sequence[int] = (0, 0, 0, 0),
        heads: int = 4,
        detail_channels: int = 16,
        start: str | None = None,
    ):
        super().__init__()
        if not len(widths) == len(strides) == len(depths) == len(attention) == 4:
            raise ValueError(
                f"TinyImage: widths={widths}, strides={strides}, depths={depths}, attention={attention}; expected four "
                "of each."
            )
        if min(depths) < 1:
            raise ValueError(f"TinyImage: depths={tuple(depths)}; expected at least one residual block in each stage.")
        steps = [after / before for before, after in zip([2, *strides[:3]], strides)]
        if any(step not in (1, 2) for step in steps):
            raise ValueError(f"TinyImage: strides={tuple(strides)} must start at 2 or 4 and grow by 1x or 2x.")
        self.channels = tuple(widths)
        self.strides = tuple(strides)
        self.detail_channels = detail_channels
        self.start = start
        self.stem_layers = nn.Sequential(ConvNormAct(3, detail_channels, stride=2), Residual(detail_channels))
        self.stages = nn.ModuleList(
            nn.Sequential(
                Residual(before, after, int(step)),
                *(Residual(after) for _ in range(depth - 1)),
                *([PixelAttention(after, layers, heads)] if layers else []),
            )
            for before, after, step, depth, layers in zip(
                [detail_channels, *widths[:3]], widths, steps, depths, attention
            )
        )

    def stem(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What comes before the stages.

        Args:
            images: ``(I, 3, H, W)``, normalised.

        Returns:
            The input of stage 0 and the stride-2 detail map: here the same ``(I, detail_channels, H/2, W/2)``.
        """
        detail = self.stem_layers(images)
        return detail, detail

    def stage(self, k: int, x: Tensor) -> Tensor:
        """Stage ``k`` (0 to 3): ``(B, C_before, h, w)`` -> ``(B, C_k, h', w')``; it reduces the size first."""
        return run_blocks(cast(nn.Sequential, self.stages[k]), x, recompute=self.recompute)

    def load_start(self) -> None:
        """Read the weights that ``start`` names; see ``ris_lib.encoders.tiny_start``."""
        load_tiny(self, self.start, IMAGE)
