"""The decoder of CRIS: the sentence gates a map, three maps become one, pixels ask words, and up to stride 4.

::

    coarse (32) * sentence ─ up ─┐
    middle (16) ─────────────────┴─ join ─┬───────────┐
    fine (8) ─ pooled ────────────────────┴─ join ─┐  │
    coarse, middle, fine, each refined ────────────┴──┴─ gather ─ coordinates ─► context
    context ─ pixel-word transformer ─► memory ─ up 2x ─ up 2x ─► finest

All of it works on the grid of the middle map.

Source: CRIS (Wang et al. 2022), sections 3.2 and 3.3 and its released code: its neck, its vision-language decoder, and
the visual half of its projector. Our EAVL takes the same (of EAVL itself only the module names could be read). Group
norm for tiny models, and working once per image where no word has come in, are our decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, FeatureMap, PixelFeatures, check_word_mask
from ris_lib.decoders.pixel_words import PixelWordDecoder
from ris_lib.layers import ConvNormAct, norm_2d, resize_map


def append_coordinates(x: Tensor) -> Tensor:
    """Append where each cell lies, as CRIS does: x, then y, from -1 to 1 with both ends on the outermost cells.

    Args:
        x: ``(B, C, h, w)``.

    Returns:
        ``(B, C + 2, h, w)``.

    Example:
        >>> append_coordinates(torch.zeros(1, 1, 1, 3))[0, 1, 0].tolist()
        [-1.0, 0.0, 1.0]
    """
    height, width = x.shape[-2:]
    exact = {"dtype": torch.promote_types(x.dtype, torch.float32), "device": x.device}
    rows, columns = (torch.linspace(-1, 1, n, **exact) for n in (height, width))
    y, across = torch.meshgrid(rows, columns, indexing="ij")
    return torch.cat([x, torch.stack([across, y]).to(x.dtype).expand(len(x), -1, -1, -1)], dim=1)


def to_grid(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a map to another grid: bilinearly up, by averaging down.

    Args:
        x: ``(B, C, h, w)``.
        size: The wanted ``(height, width)``.

    Returns:
        ``(B, C, height, width)``; twice as large a map is averaged over 2x2 cells, an odd last row or column falling
        away as in CRIS.

    Example:
        >>> to_grid(torch.tensor([[[[1.0, 3.0, 8.0]]]]), (1, 1)).item()
        4.0
    """
    height, width = x.shape[-2:]
    if height < size[0] or width < size[1]:
        return resize_map(x, size)
    factor = (height // size[0], width // size[1])
    if (height // factor[0], width // factor[1]) == tuple(size):
        return x if factor == (1, 1) else F.avg_pool2d(x, factor)
    return F.adaptive_avg_pool2d(x, size)


class SplitJoin(nn.Module):
    """A 1x1 convolution over two maps, norm, ReLU, where the first may be the same for all sentences of an image.

    Its share is then computed once an image. Convolution is linear: the result is that of the concatenation.

    Args:
        first_channels: Channels of the map that may be per image.
        second_channels: Channels of the map that is per sentence.
        width: Channels that go.
        norm: See ``ris_lib.layers.norm_2d``.

    Example:
        >>> join, index = SplitJoin(4, 6, 8, "group"), torch.tensor([0, 0, 1])
        >>> join(FeatureMap(torch.zeros(2, 4, 5, 5), 16), torch.zeros(3, 6, 5, 5), index).shape
        torch.Size([3, 8, 5, 5])
    """

    def __init__(self, first_channels: int, second_channels: int, width: int, norm: str):
        super().__init__()
        self.conv = nn.Conv2d(first_channels + second_channels, width, 1, bias=False)
        self.norm = norm_2d(norm, width)

    def forward(self, first: FeatureMap, second: Tensor, image_index: Tensor) -> Tensor:
        """``(I or S, first_channels, h, w)`` and ``(S, second_channels, h, w)`` -> ``(S, width, h, w)``."""
        if first.per_sentence:
            joined = self.conv(torch.cat([first.values, second], dim=1))
        else:
            kernels = self.conv.weight.split([first.values.shape[1], second.shape[1]], dim=1)
            joined = F.conv2d(first.values, kernels[0])[image_index] + F.conv2d(second, kernels[1])
        return F.relu(self.norm(joined))


class FusionNeck(nn.Module):
    """Three maps and the sentence become one map on the grid of the middle one.

    Args:
        in_channels: Channels of the fine, the middle and the coarse map.
        sentence_dim: Channels of the sentence.
        width: Channels of the result.
        coarse_width: Channels in which coarse map and sentence meet.
        fine_width: Channels of the fine map before it joins.
        norm: ``"batch"`` as in CRIS, or ``"group"`` (and a layer norm on the sentence).
        residual: Add to what each of the last convolutions makes what it was made from; CRIS does without.

    Raises:
        ValueError: One sentence alone in training with batch norm: over one vector its variance is zero.

    Example:
        >>> neck = FusionNeck((4, 8, 8), sentence_dim=6, width=8, coarse_width=16, fine_width=4, norm="group")
        >>> maps = [FeatureMap(torch.zeros(1, c, s, s), 64 // s) for c, s in ((4, 8), (8, 4), (8, 2))]
        >>> neck(*maps, torch.zeros(3, 6), torch.tensor([0, 0, 0])).shape
        torch.Size([3, 8, 4, 4])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        sentence_dim: int,
        width: int,
        coarse_width: int,
        fine_width: int,
        norm: str,
        residual: bool = False,
    ):
        super().__init__()
        fine, middle, coarse = in_channels
        self.residual = residual
        self.sentence_in = nn.Linear(sentence_dim, coarse_width, bias=False)
        self.sentence_norm = nn.BatchNorm1d(coarse_width) if norm == "batch" else nn.LayerNorm(coarse_width)
        self.coarse_in = ConvNormAct(coarse, coarse_width, kernel=1, norm=norm)
        self.coarse_norm = norm_2d(norm, coarse_width)
        self.middle_in = ConvNormAct(middle, width, norm=norm)
        self.middle_join = SplitJoin(width, coarse_width, width, norm)
        self.fine_in = ConvNormAct(fine, fine_width, norm=norm)
        self.fine_join = SplitJoin(fine_width, width, width, norm)
        self.coarse_out = ConvNormAct(coarse_width, width, norm=norm)
        self.middle_out = ConvNormAct(width, width, norm=norm)
        self.fine_out = ConvNormAct(width, width, norm=norm)
        self.gather = ConvNormAct(3 * width, width, kernel=1, norm=norm)
        self.locate = ConvNormAct(width + 2, width, norm=norm)
        self.settle = ConvNormAct(width, width, norm=norm)

    def forward(
        self, fine: FeatureMap, middle: FeatureMap, coarse: FeatureMap, sentence: Tensor, image_index: Tensor
    ) -> Tensor:
        """Maps ``(I or S, C, h, w)`` and sentence ``(S, sentence_dim)`` -> ``(S, width, h, w)``."""
        if self.training and isinstance(self.sentence_norm, nn.BatchNorm1d) and len(sentence) < 2:
            raise ValueError(
                "ClipNeck: batch norm over the sentences of a batch needs at least two of them in training, got "
                f"{len(sentence)}. Take larger batches, or norm='group'."
            )
        size = (middle.values.shape[2], middle.values.shape[3])
        gate = F.relu(self.sentence_norm(self.sentence_in(sentence)))[..., None, None]
        asked = replace(coarse, values=self.coarse_in(coarse.values)).for_sentences(image_index) * gate
        top = F.relu(self.coarse_norm(asked))
        own = replace(middle, values=self.middle_in(middle.values))
        centre = self.middle_join(own, to_grid(top, size), image_index)
        own = replace(fine, values=to_grid(self.fine_in(fine.values), size))
        bottom = self.fine_join(own, centre, image_index)
        bottom, centre = self._refine(self.fine_out, bottom), self._refine(self.middle_out, centre)
        gathered = self.gather(torch.cat([bottom, centre, to_grid(self.coarse_out(top), size)], dim=1))
        settled = self.settle(self.locate(append_coordinates(gathered)))
        return gathered + settled if self.residual else settled

    def _refine(self, layer: nn.Module, x: Tensor) -> Tensor:
        return x + layer(x) if self.residual else layer(x)


class Upsampler(nn.Module):
    """To four times the size in two steps, each bilinear and followed by a convolution.

    Args:
        in_channels: Channels that come.
        out_channels: Channels that go.
        norm: See ``ris_lib.layers.norm_2d``.
        residual: Add to what each convolution makes what it was made from; CRIS does without.

    Shape:
        ``(B, in_channels, h, w)`` and, to be added half way, ``(B, in_channels, 2 h, 2 w)`` or None -> ``(B,
        out_channels, 4 h, 4 w)``.

    Example:
        >>> Upsampler(8, 4)(torch.zeros(1, 8, 3, 5)).shape
        torch.Size([1, 4, 12, 20])
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = "group", residual: bool = False):
        super().__init__()
        self.first = ConvNormAct(in_channels, in_channels, norm=norm)
        self.second = ConvNormAct(in_channels, out_channels, norm=norm)
        self.out = nn.Conv2d(out_channels, out_channels, 1)
        self.residual = residual
        self.short_cut = nn.Conv2d(in_channels, out_channels, 1, bias=False) if residual else None

    def forward(self, x: Tensor, half_way: Tensor | None = None) -> Tensor:
        """See the class."""
        x = self._twice(x) if half_way is None else self._twice(x) + half_way
        x = self.first(x) + x if self.residual else self.first(x)
        if self.short_cut is None:
            return self.out(self.second(self._twice(x)))
        # A 1x1 convolution and a bilinear resize may change places; here it has a quarter of the pixels.
        return self.out(self.second(self._twice(x)) + self._twice(self.short_cut(x)))

    @staticmethod
    def _twice(x: Tensor) -> Tensor:
        return resize_map(x, (2 * x.shape[-2], 2 * x.shape[-1]))


class ClipNeck(nn.Module):
    """Fusion neck, pixel-word transformer and upsampling, over any four maps; in CRIS the finest is not read.

    Args:
        in_channels: Channels of the pyramid, fine to coarse.
        in_strides: Strides of the pyramid.
        word_dim: Channels of the words.
        sentence_dim: Channels of the sentence.
        width: Channels of the neck and of the transformer.
        layers: Layers of the transformer.
        heads: Heads of the transformer; must divide ``width``.
        feed_forward: Channels inside its feed-forward networks.
        dropout: Share that training drops in the transformer.
        norm: ``"batch"`` as in CRIS, which needs two sentences in a training batch, or ``"group"``.
        out_channels: Channels of ``finest``.
        coarse_width: Channels in which coarsest map and sentence meet; None = twice ``width``, as in CRIS.
        fine_width: Channels of the fine map before it joins; None = half of ``width``, as in CRIS.
        residual: Short cuts around the convolutions of neck and upsampling, so that what the encoders know reaches the
            head on a straight way before these have learnt anything. CRIS does without.
        centred: See ``PixelWordLayer``. CRIS does without.
        outlines: Add, half way up, the encoder's map of that grid: where objects are a cell or two wide, outlines must
            come from a finer map. CRIS does without.

    Attributes:
        stride: Stride of ``finest``: a quarter of the middle map's.
        channels: ``out_channels``.
        memory_channels: One map, the transformer's.
        context_channels: Channels of ``context``, what the transformer was given.
        maps: Which of the encoder's four maps are read: the last three, and that of the outlines.

    Shape:
        ``Encoded`` -> ``PixelFeatures``: ``finest (S, out_channels, 4 h, 4 w)``, ``memory`` = [``(S, width, h, w)``],
        ``context (S, width, h, w)``, where h, w are the middle map's. With ``explain`` one ``word_pixel_attention``, of
        the last layer.

    Raises:
        ValueError: The middle map's stride is no multiple of 4, or no map has half of it for the outlines; sizes that
            do not fit one another; and in ``forward`` other channels than declared, a word mask that is not boolean or
            hides a sentence.

    Example:
        >>> neck = ClipNeck((8, 8, 16, 16), (4, 8, 16, 32), word_dim=6, sentence_dim=4, width=8, heads=2)
        >>> neck.stride, neck.channels, neck.memory_channels, neck.context_channels
        (4, 256, (8,), 8)
    """

    #: What it reads in ``Encoded`` beside the maps.
    reads: ClassVar[frozenset[str]] = frozenset({"words", "sentence"})

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        word_dim: int,
        sentence_dim: int,
        width: int = 512,
        layers: int = 3,
        heads: int = 8,
        feed_forward: int = 2048,
        dropout: float = 0.1,
        norm: str = "batch",
        out_channels: int = 256,
        coarse_width: int | None = None,
        fine_width: int | None = None,
        residual: bool = False,
        centred: bool = False,
        outlines: bool = False,
    ):
        super().__init__()
        if in_strides[2] % 4:
            raise ValueError(
                f"ClipNeck: in_strides={tuple(in_strides)}; the third must be a multiple of 4, because the result has "
                "a quarter of it."
            )
        self.outline_map = None
        if outlines:
            if in_strides[2] // 2 not in in_strides:
                raise ValueError(
                    f"ClipNeck: in_strides={tuple(in_strides)}; outlines need a map of stride {in_strides[2] // 2}, "
                    "half of the third map's. Take outlines=False."
                )
            self.outline_map = list(in_strides).index(in_strides[2] // 2)
            self.outline = nn.Conv2d(in_channels[self.outline_map], width, 3, padding=1, bias=False)
            self.outline_norm = norm_2d(norm, width)
        self.maps = (1, 2, 3) if self.outline_map is None else tuple(sorted({self.outline_map, 1, 2, 3}))
        self.stride = in_strides[2] // 4
        self.channels = out_channels
        self.memory_channels = (width,)
        self.context_channels = width
        self._expected = (*in_channels[1:], word_dim, sentence_dim)
        coarse_width = 2 * width if coarse_width is None else coarse_width
        fine_width = width // 2 if fine_width is None else fine_width
        self.neck = FusionNeck(in_channels[1:], sentence_dim, width, coarse_width, fine_width, norm, residual)
        self.pixel_words = PixelWordDecoder(width, word_dim, layers, heads, feed_forward, dropout, centred)
        self.upsampler = Upsampler(width, out_channels, norm, residual)

    def forward(self, encoded: Encoded, explain: bool = False) -> PixelFeatures:
        """See the class."""
        check_word_mask(encoded.word_mask, encoded.words.shape[:2], "ClipNeck")
        maps = encoded.pyramid[1:]
        came = (*(m.values.shape[1] for m in maps), encoded.words.shape[-1], encoded.sentence.shape[-1])
        if came != self._expected:
            raise ValueError(
                f"ClipNeck: the last three maps, words and sentence have {came} channels; it was built for "
                f"{self._expected}."
            )
        context = self.neck(*maps, encoded.sentence, encoded.image_index)
        asked, attention = self.pixel_words(context, encoded.words, encoded.word_mask, explain)
        return PixelFeatures(
            finest=self.upsampler(asked, self._half_way(encoded)),
            stride=self.stride,
            memory=[asked],
            context=context,
            explanation={} if attention is None else {"word_pixel_attention": [attention]},
        )

    def _half_way(self, encoded: Encoded) -> Tensor | None:
        """The outlines, ``(S, width, 2 h, 2 w)``."""
        if self.outline_map is None:
            return None
        feature_map = encoded.pyramid[self.outline_map]
        outlines = self.outline_norm(self.outline(feature_map.values))
        return replace(feature_map, values=outlines).for_sentences(encoded.image_index)
