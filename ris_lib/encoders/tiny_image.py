"""A small residual network that is trained from scratch: the image tower of every ``_tiny`` recipe.

::

    image (H, W) -> stem: detail map, stride 2 -> stage 1 -> stage 2 -> stage 3 -> stage 4

Source: the shape is ResNet's (He et al. 2016); sizes are our decision, chosen so that a model learns the drawn scenes
on two CPU cores in minutes. Normalisation: see ``ris_lib.layers``.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ris_lib.layers import ConvNormAct, Residual


class TinyImage(nn.Module):
    """Four stages of convolutions over a stride-2 stem.

    Args:
        widths: Channels of the four stages.
        strides: Input pixels per map pixel of the four stages. The first is 2 or 4; each further one equals its
            predecessor or doubles it: a stage that keeps its stride keeps its map's size.
        depths: Residual blocks of the four stages, at least one each; the first of a stage changes size and channels.
        detail_channels: Channels of the stem, whose stride-2 map is handed on for fine edges.

    Attributes:
        channels: Channels of the four maps, for the parts that follow.
        strides: As given.
        detail_channels: As given.
        detail_stride: 2.

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

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 96, 96),
        strides: Sequence[int] = (4, 8, 16, 16),
        depths: Sequence[int] = (1, 1, 1, 1),
        detail_channels: int = 16,
    ):
        super().__init__()
        if not len(widths) == len(strides) == len(depths) == 4:
            raise ValueError(f"TinyImage: widths={widths}, strides={strides}, depths={depths}; expected four of each.")
        if min(depths) < 1:
            raise ValueError(f"TinyImage: depths={tuple(depths)}; expected at least one residual block in each stage.")
        steps = [after / before for before, after in zip([2, *strides[:3]], strides)]
        if any(step not in (1, 2) for step in steps):
            raise ValueError(f"TinyImage: strides={tuple(strides)} must start at 2 or 4 and grow by 1x or 2x.")
        self.channels = tuple(widths)
        self.strides = tuple(strides)
        self.detail_channels = detail_channels
        self.stem_layers = nn.Sequential(ConvNormAct(3, detail_channels, stride=2), Residual(detail_channels))
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(before, after, int(step)), *(Residual(after) for _ in range(depth - 1)))
            for before, after, step, depth in zip([detail_channels, *widths[:3]], widths, steps, depths)
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
        return self.stages[k](x)
