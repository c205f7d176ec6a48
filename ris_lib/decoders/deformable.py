"""The deformable decoder: the levels of a pyramid exchange what they know through deformable attention.

::

    pyramid ─ 1x1 conv, norm ─► all levels as one sequence ─► layers x [ deformable attention, feed-forward
                                                                         (words: attention to the words, feed-forward) ]
    levels = 4:  finest = 1x1 conv of the finest level
    levels = 3:  finest = 1x1 conv of 3x3 conv ( 1x1 conv of pyramid[0]  +  the finest level raised to its size )

Every layer is post-norm: x = norm(x + f(x)).

Source: the pixel decoder of Mask2Former (Cheng et al. 2022) on deformable DETR (Zhu et al. 2021), as the released code
of two of our systems uses it. MagNet: four levels, no words. LGFormer, whose form our AlignFormer takes over: three
levels, words after every layer, computed in float32 under autocast too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.contract import Encoded, FeatureMap, PixelFeatures, check_word_mask
from ris_lib.decoders.deformable_attention import DeformableAttention, cell_centres
from ris_lib.layers import resize_map
from ris_lib.positions import sine_2d


class DeformableLayer(nn.Module):
    """Deformable attention among the levels, then a feed-forward network on each cell."""

    def __init__(self, dim: int, levels: int, heads: int, points: int, feed_forward: int):
        super().__init__()
        self.attention = DeformableAttention(dim, levels, heads, points)
        self.attention_norm = nn.LayerNorm(dim)
        self.forward_net = nn.Sequential(nn.Linear(dim, feed_forward), nn.ReLU(), nn.Linear(feed_forward, dim))
        self.forward_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, positions: Tensor, references: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """``(B, N, dim)`` -> the same; positions (N, dim) are added where a cell asks, not to what it is told."""
        x = self.attention_norm(x + self.attention(x + positions, references, x, sizes))
        return self.forward_norm(x + self.forward_net(x))


class WordLayer(nn.Module):
    """Each cell gathers the words that describe it, then a feed-forward network on each cell.

    A cell asks with its place, and a word answers with its place in the sentence; what is told is the meaning alone.
    """

    def __init__(self, dim: int, word_dim: int, heads: int, feed_forward: int):
        super().__init__()
        self.attention = MultiHeadAttention(dim, word_dim, heads)
        self.attention_norm = nn.LayerNorm(dim)
        self.forward_net = nn.Sequential(nn.Linear(dim, feed_forward), nn.ReLU(), nn.Linear(feed_forward, dim))
        self.forward_norm = nn.LayerNorm(dim)

    def forward(
        self, x: Tensor, positions: Tensor, words: Tensor, located: Tensor, word_mask: Tensor, explain: bool
    ) -> tuple[Tensor, Tensor | None]:
        """``(S, N, dim)`` -> the same, and with ``explain`` the attention ``(S, N, L)``, mean over the heads.

        Beside cells and their positions it takes the words, and the words with theirs, ``(S, L, word_dim)``.
        """
        mixed, weights = self.attention(x + positions, located, words, mask=word_mask, explain=explain)
        x = self.attention_norm(x + mixed)
        return self.forward_norm(x + self.forward_net(x)), weights


class Deformable(nn.Module):
    """Deformable pixel decoder over any four maps, with or without words.

    Args:
        in_channels: Channels of the pyramid, fine to coarse.
        in_strides: Strides of the pyramid.
        word_dim: Channels of the words; used with ``words`` only.
        sentence_dim: Channels of the sentence. Not used.
        width: Channels of all levels, a multiple of ``groups``, of ``heads`` and of 4.
        channels: Channels of ``finest``; None = ``width``.
        layers: Number of layers; 4 in MagNet, 6 in LGFormer.
        heads: Heads of the deformable attention.
        points: Places that a head reads in each level.
        feed_forward: Hidden channels of the network after the deformable attention.
        levels: 4: all maps take part in the attention (MagNet). 3: the three coarse ones do, and the finest joins
            afterwards, over a lateral convolution (LGFormer).
        words: Let every cell attend to the words after each layer (LGFormer). The decoder then reads
            ``Encoded.words``, and computes in its parameters' precision, also under autocast, as released.
        word_heads: Heads of that attention; None = ``heads``.
        word_feed_forward: Hidden channels of the network after it.
        length: The longest sentence in tokens, with ``words``: their positions are a learned table of this length.
        groups: Groups of the group norms; 32 in the released code.

    Attributes:
        stride: Stride of ``finest``.
        channels: Channels of ``finest``.
        memory_channels: Channels of the coarser maps, coarse to fine.
        context_channels: Channels of ``context``.
        maps: Which of the encoder's four maps are read: all.
        reads: ``{"words"}`` with ``words``, else empty.

    Shape:
        ``Encoded`` -> ``PixelFeatures``: ``finest (S, channels, h, w)`` on the finest map's grid; ``memory``: the other
        three levels ``(S, width, h_k, w_k)``; ``context``: the last of these with stride 16 or more, else the coarsest.
        With ``explain`` and ``words``: ``word_pixel_attention``, one map (S, L, h, w) on the grid of the finest level
        that attends to words (stride 8 with ``levels=3``), of the last layer, mean over the heads.

    Raises:
        ValueError: Options that do not fit together; maps, words or word mask of other shapes than announced; a
            sentence longer than ``length``.

    Example:
        >>> decoder = Deformable((8, 8, 16, 16), (4, 8, 16, 32), 6, 6, width=16, layers=1, heads=2, groups=4)
        >>> decoder.stride, decoder.channels, decoder.memory_channels, sorted(decoder.reads)
        (4, 16, (16, 16, 16), [])
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        word_dim: int,
        sentence_dim: int,
        width: int = 256,
        channels: int | None = None,
        layers: int = 4,
        heads: int = 8,
        points: int = 4,
        feed_forward: int = 1024,
        levels: int = 4,
        words: bool = False,
        word_heads: int | None = None,
        word_feed_forward: int = 2048,
        length: int = 20,
        groups: int = 32,
    ):
        super().__init__()
        if levels not in (3, 4):
            raise ValueError(
                f"Deformable: levels={levels}; expected 4 (all maps attend) or 3 (the finest joins later)."
            )
        if layers < 1:
            raise ValueError(f"Deformable: layers={layers}; expected at least 1.")
        if width % groups or width % 4:
            raise ValueError(f"Deformable: width={width}; expected a multiple of groups={groups} and of 4.")
        self.in_channels, self.length = tuple(in_channels), length
        self.coarse_to_fine = tuple(range(3, 3 - levels, -1))
        self.project = nn.ModuleList(
            nn.Sequential(nn.Conv2d(in_channels[k], width, 1), nn.GroupNorm(groups, width)) for k in self.coarse_to_fine
        )
        self.level = nn.Parameter(torch.randn(levels, width))
        self.layers = nn.ModuleList(DeformableLayer(width, levels, heads, points, feed_forward) for _ in range(layers))
        self.word_layers = nn.ModuleList()
        if words:
            self.word_position = nn.Parameter(torch.randn(length, word_dim))
            self.word_layers.extend(
                WordLayer(width, word_dim, word_heads or heads, word_feed_forward) for _ in range(layers)
            )
        if levels == 3:
            self.lateral = nn.Sequential(nn.Conv2d(in_channels[0], width, 1, bias=False), nn.GroupNorm(groups, width))
            self.merge = nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.GroupNorm(groups, width), nn.ReLU()
            )
        self.channels = width if channels is None else channels
        self.out = nn.Conv2d(width, self.channels, 1)
        for block in self.project:
            nn.init.xavier_uniform_(block.get_parameter("0.weight"))
            nn.init.zeros_(block.get_parameter("0.bias"))

        self.maps = (0, 1, 2, 3)
        self.reads: frozenset[str] = frozenset({"words"} if words else ())
        self.stride = in_strides[0]
        self.memory_channels = (width,) * 3
        self._context = max((i for i, k in enumerate((3, 2, 1)) if in_strides[k] >= 16), default=0)
        self.context_channels = width

    def forward(self, encoded: Encoded, explain: bool = False) -> PixelFeatures:
        """See the class."""
        self._check(encoded)
        if not self.reads:
            return self._forward(encoded, explain)
        with torch.autocast(self.level.device.type, enabled=False):
            return self._forward(encoded, explain)

    def _forward(self, encoded: Encoded, explain: bool) -> PixelFeatures:
        levels = [
            replace(encoded.pyramid[k], values=block(self._read(encoded.pyramid[k])))
            for block, k in zip(self.project, self.coarse_to_fine)
        ]
        levels, shown = self._exchange(levels, encoded, explain)
        memory = [level.for_sentences(encoded.image_index) for level in levels[:3]]
        return PixelFeatures(
            finest=self._finest(levels[-1], encoded).for_sentences(encoded.image_index),
            stride=self.stride,
            memory=memory,
            context=memory[self._context],
            explanation={} if shown is None else {"word_pixel_attention": [shown]},
        )

    def _exchange(
        self, levels: list[FeatureMap], encoded: Encoded, explain: bool
    ) -> tuple[list[FeatureMap], Tensor | None]:
        """All layers; the levels afterwards, and the attention to the words at the finest of them, or None."""
        index, shown = encoded.image_index, None
        sizes = [(level.values.shape[2], level.values.shape[3]) for level in levels]
        # Until words enter, all sentences of an image share one computation.
        per_sentence = any(level.per_sentence for level in levels)
        values = [level.for_sentences(index) if per_sentence else level.values for level in levels]
        x = torch.cat([value.flatten(2).transpose(1, 2) for value in values], dim=1)
        exact = x.new_zeros(1, dtype=torch.promote_types(x.dtype, torch.float32))
        places = [sine_2d(size, x.shape[2], exact) + level for size, level in zip(sizes, self.level)]
        positions = torch.cat(places).to(x.dtype)
        references = cell_centres(sizes, exact)
        if self.word_layers:
            words = encoded.words.to(x.dtype)
            located = words + self.word_position[: words.shape[1]]
        for k, layer in enumerate(self.layers):
            x = layer(x, positions, references[None, :, None], sizes)
            if self.word_layers:
                x, per_sentence = x if per_sentence else x[index], True
                look = explain and k == len(self.layers) - 1
                x, shown = self.word_layers[k](x, positions, words, located, encoded.word_mask, look)
        split = x.transpose(1, 2).split([h * w for h, w in sizes], dim=2)
        levels = [
            FeatureMap(part.unflatten(2, size), level.stride, per_sentence)
            for part, size, level in zip(split, sizes, levels)
        ]
        if shown is not None:
            shown = shown[:, -split[-1].shape[2] :].transpose(1, 2).unflatten(2, sizes[-1])
        return levels, shown

    def _finest(self, level: FeatureMap, encoded: Encoded) -> FeatureMap:
        """The finest map from the finest of the levels: directly, or joined with the finest of the pyramid."""
        if len(self.project) == 4:
            return replace(level, values=self.out(level.values))
        side = replace(encoded.pyramid[0], values=self.lateral(self._read(encoded.pyramid[0])))
        raised = replace(level, values=resize_map(level.values, side.values.shape[-2:]))
        if raised.per_sentence != side.per_sentence:
            raised, side = (
                replace(m, values=m.for_sentences(encoded.image_index), per_sentence=True) for m in (raised, side)
            )
        return replace(raised, values=self.out(self.merge(raised.values + side.values)))

    def _read(self, feature_map: FeatureMap) -> Tensor:
        """The values; in the parameters' precision where autocast is off."""
        return feature_map.values.to(self.level.dtype) if self.reads else feature_map.values

    def _check(self, encoded: Encoded) -> None:
        channels = tuple(m.values.shape[1] for m in encoded.pyramid)
        if channels != self.in_channels:
            raise ValueError(f"Deformable: the pyramid has {channels} channels; expected {self.in_channels}.")
        if not self.reads:
            return
        words = encoded.words
        check_word_mask(encoded.word_mask, words.shape[:2], "Deformable")
        if words.shape[2] != self.word_position.shape[1]:
            raise ValueError(
                f"Deformable: words {tuple(words.shape)}; expected {self.word_position.shape[1]} channels."
            )
        if words.shape[1] > self.length:
            raise ValueError(
                f"Deformable: sentences of {words.shape[1]} tokens; its learned word positions end at {self.length}. "
                f"Cut the sentences, or build it with length={words.shape[1]}."
            )


__all__ = ["Deformable", "DeformableLayer", "WordLayer"]
