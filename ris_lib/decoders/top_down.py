"""A top-down decoder: from the coarsest map to the finest, one skip connection a level.

::

    pyramid[3] ─up─┐
    pyramid[2] ────┴─ concat, 2 x (3x3 conv, norm, ReLU) ─up─┐
    pyramid[1] ──────────────────────────────────────────────┴─ concat, 2 x conv ─up─┐
    pyramid[0] ──────────────────────────────────────────────────────────────────────┴─ concat, 2 x conv ─► finest

Source: LAVT (Yang et al. 2022), section 3.4 and its released code; group norm as the default is our decision (see
``ris_lib.layers``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, FeatureMap, PixelFeatures
from ris_lib.layers import ConvNormAct, norm_2d, resize_map


class SkipLevel(nn.Module):
    """One level: bring the coarser map up, join the skip map, convolve twice.

    Where the skip map has not met any word it is the same for all sentences of an image, so its half of the first
    convolution is computed once an image. Convolution is linear: the result is that of the concatenation.
    """

    def __init__(
        self, coarse_channels: int, skip_channels: int, width: int, norm: str, align_corners: bool, residual: bool
    ):
        super().__init__()
        self.align_corners = align_corners
        self.join = nn.Conv2d(coarse_channels + skip_channels, width, 3, padding=1, bias=False)
        self.norm = norm_2d(norm, width)
        self.refine = ConvNormAct(width, width, norm=norm)
        self.short_cut = None
        if residual:
            same = coarse_channels == width
            self.short_cut = nn.Identity() if same else nn.Conv2d(coarse_channels, width, 1, bias=False)

    def forward(self, coarse: FeatureMap, skip: FeatureMap, image_index: Tensor) -> FeatureMap:
        """Two maps to one, at the skip map's size and stride."""
        raised = replace(coarse, values=resize_map(coarse.values, skip.values.shape[-2:], self.align_corners))
        joined = self._join(raised, skip, image_index)
        values = self.refine(F.relu(self.norm(joined.values)))
        if self.short_cut is not None:
            short = replace(raised, values=self.short_cut(raised.values))
            values = values + (short.for_sentences(image_index) if joined.per_sentence else short.values)
        return replace(joined, values=values)

    def _join(self, raised: FeatureMap, skip: FeatureMap, image_index: Tensor) -> FeatureMap:
        """The first convolution, over the concatenation of both maps."""
        if raised.per_sentence == skip.per_sentence:
            return replace(skip, values=self.join(torch.cat([raised.values, skip.values], dim=1)))
        kernels = self.join.weight.split([raised.values.shape[1], skip.values.shape[1]], dim=1)
        halves = [replace(m, values=F.conv2d(m.values, w, padding=1)) for m, w in zip((raised, skip), kernels)]
        above, own = (half.for_sentences(image_index) for half in halves)
        return FeatureMap(above + own, skip.stride, per_sentence=True)


class TopDown(nn.Module):
    """Top-down decoder with skip connections over any four maps.

    Args:
        in_channels: Channels of the pyramid, fine to coarse.
        in_strides: Strides of the pyramid; equal neighbours are not resized.
        word_dim: Channels of the words. Not used: the words are in the pixels by now.
        sentence_dim: Channels of the sentence. Not used.
        width: Channels of all levels; None = half of the coarsest map's, as in LAVT.
        norm: ``"group"``, or ``"batch"`` as in LAVT's code.
        align_corners: How maps are raised; True as in LAVT's code.
        residual: Add the raised coarser map to what a level makes of it, so that words, which enter at the top, reach
            the finest map on a straight way. LAVT's code does without.

    Attributes:
        stride: Stride of ``finest``.
        channels: Channels of ``finest``.
        memory_channels: Channels of the coarser maps, coarse to fine.
        context_channels: Channels of ``context``.
        maps: Which of the encoder's four maps are read: all.

    Shape:
        ``Encoded`` -> ``PixelFeatures``: ``finest (S, width, h, w)`` on the finest map's grid; ``memory``: the fused
        coarsest map and the levels before the last; ``context``: the last of these with stride 16 or more, else the
        coarsest.

    Example:
        >>> decoder = TopDown(in_channels=(8, 8, 8, 16), in_strides=(4, 8, 16, 32), word_dim=6, sentence_dim=6)
        >>> decoder.stride, decoder.channels, decoder.memory_channels
        (4, 8, (16, 8, 8))
    """

    #: What it reads in ``Encoded`` beside the maps.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        word_dim: int,
        sentence_dim: int,
        width: int | None = None,
        norm: str = "group",
        align_corners: bool = True,
        residual: bool = True,
    ):
        super().__init__()
        width = in_channels[3] // 2 if width is None else width
        self.levels = nn.ModuleList(
            SkipLevel(in_channels[3] if k == 2 else width, in_channels[k], width, norm, align_corners, residual)
            for k in (2, 1, 0)
        )
        self.maps = (0, 1, 2, 3)
        self.stride = in_strides[0]
        self.channels = width
        self.memory_channels = (in_channels[3], width, width)
        memory_strides = (in_strides[3], in_strides[2], in_strides[1])
        self._context = max((i for i, stride in enumerate(memory_strides) if stride >= 16), default=0)
        self.context_channels = self.memory_channels[self._context]

    def forward(self, encoded: Encoded, explain: bool = False) -> PixelFeatures:
        """See the class. Nothing here is an attention, so ``explain`` has nothing to show."""
        maps = [encoded.pyramid[3]]
        for level, k in zip(self.levels, (2, 1, 0)):
            maps.append(level(maps[-1], encoded.pyramid[k], encoded.image_index))
        *memory, finest = (feature_map.for_sentences(encoded.image_index) for feature_map in maps)
        return PixelFeatures(finest=finest, stride=self.stride, memory=memory, context=memory[self._context])
