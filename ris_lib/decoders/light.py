"""A light decoder: a feature pyramid (FPN) in which the pixels listen to the words once, where they are few.

::

    pyramid[3] ─ 1x1 ───────────► level 3
    pyramid[2] ─ 1x1 ─► + up ───► level 2 ─► word layers at stride 16: the pixels compare themselves with one another,
    pyramid[1] ─ 1x1 ─► + up ───► level 1       then each gathers the words that describe it
    pyramid[0] ─ 1x1 ─► + up ───► finest

What the words say goes up by addition, so it reaches the finest map on a straight way.

Source: our decision. It replaces AlignFormer's deformable pixel decoder (LGFormer's released code) where a model has to
run on a CPU: an FPN (Lin et al. 2017) with two word cross-attention layers at stride 16. Attention among the pixels
stands for what deformable attention does there; at stride 16 the plain kind is cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention, SelfAttentionLayer
from ris_lib.contract import Encoded, FeatureMap, PixelFeatures, check_word_mask
from ris_lib.layers import ConvNormAct, norm_2d, resize_map
from ris_lib.positions import sine_2d


class PyramidLevel(nn.Module):
    """One level: the encoder's map, projected and normalised, plus the raised coarser level, plus a 3x3 convolution.

    A map that has met no word stays one per image; it is copied for the sentences only where a coarser level that has
    met words is added.
    """

    def __init__(self, in_channels: int, width: int, norm: str):
        super().__init__()
        self.lateral = nn.Sequential(nn.Conv2d(in_channels, width, 1, bias=False), norm_2d(norm, width))
        self.refine = ConvNormAct(width, width, norm=norm)

    def forward(self, skip: FeatureMap, coarse: FeatureMap | None, image_index: Tensor) -> FeatureMap:
        """The encoder's map and the coarser level, if there is one, to this level, at the map's size and stride."""
        level = replace(skip, values=self.lateral(skip.values))
        if coarse is not None:
            raised = replace(coarse, values=resize_map(coarse.values, skip.values.shape[-2:]))
            if raised.per_sentence != level.per_sentence:
                raised, level = (
                    FeatureMap(m.for_sentences(image_index), level.stride, per_sentence=True) for m in (raised, level)
                )
            level = replace(level, values=level.values + raised.values)
        return replace(level, values=level.values + self.refine(level.values))


class WordLayer(nn.Module):
    """Attention from the pixels to the words and a feed-forward network (pre-norm).

    Args:
        width: Channels of the pixels.
        word_dim: Channels of the words.
        heads: Heads of the attention.

    Shape:
        pixels ``(S, N, width)``, positions ``(N, width)`` (added to the queries), words ``(S, L, D)``, word_mask ``(S,
        L)`` bool -> pixels ``(S, N, width)`` and, with ``explain``, weights ``(S, N, L)``.

    Example:
        >>> import torch
        >>> layer = WordLayer(8, 6, heads=2)
        >>> pixels, words = torch.zeros(1, 4, 8), torch.zeros(1, 3, 6)
        >>> layer(pixels, torch.zeros(4, 8), words, torch.ones(1, 3, dtype=torch.bool))[0].shape
        torch.Size([1, 4, 8])
    """

    def __init__(self, width: int, word_dim: int, heads: int):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, word_dim, heads)
        self.forward_norm = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(
        self, pixels: Tensor, positions: Tensor, words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        query = self.attention_norm(pixels) + positions
        heard, weights = self.attention(query, words, mask=word_mask, explain=explain)
        pixels = pixels + heard
        return pixels + self.forward_net(self.forward_norm(pixels)), weights


class Light(nn.Module):
    """FPN over any four maps with word layers at stride 16.

    Args:
        in_channels: Channels of the pyramid, fine to coarse.
        in_strides: Strides of the pyramid; equal neighbours are not resized.
        word_dim: Channels of the words.
        sentence_dim: Channels of the sentence. Not used.
        width: Channels of all levels.
        word_layers: Word layers, each after attention among the pixels, at the finest level of stride 16 or more, or at
            the coarsest where there is none; 0 for a plain FPN, which hears of the sentence only what the maps hold.
        heads: Heads of both attentions.
        norm: See ``ris_lib.layers.norm_2d``.

    Attributes:
        stride: Stride of ``finest``.
        channels: ``width``.
        memory_channels: ``width``, three times.
        context_channels: ``width``.
        maps: Which of the encoder's four maps are read: all.
        reads: ``words`` where there are word layers.

    Shape:
        ``Encoded`` -> ``PixelFeatures``: ``finest (S, width, h, w)`` on the finest map's grid; ``memory``: the three
        coarser levels; ``context``: the level of the word layers. With ``explain``, ``word_pixel_attention`` has one
        ``(S, L, h, w)`` for each word layer.

    Raises:
        ValueError: ``width`` does not fit the heads or the sine positions; maps or words have other channels, or the
            word mask is bad.

    Example:
        >>> decoder = Light(in_channels=(8, 8, 8, 16), in_strides=(4, 8, 16, 32), word_dim=6, sentence_dim=6, width=16)
        >>> decoder.stride, decoder.channels, decoder.memory_channels, sorted(decoder.reads)
        (4, 16, (16, 16, 16), ['words'])
    """

    reads: frozenset[str]

    def __init__(
        self,
        in_channels: Sequence[int],
        in_strides: Sequence[int],
        word_dim: int,
        sentence_dim: int,
        width: int = 256,
        word_layers: int = 2,
        heads: int = 8,
        norm: str = "group",
    ):
        super().__init__()
        if word_layers and width % 4:
            raise ValueError(f"Light: width={width}; the positions of the word layers need a multiple of 4.")
        self.in_channels, self.word_dim = tuple(in_channels), word_dim
        self.levels = nn.ModuleList(PyramidLevel(in_channels[k], width, norm) for k in (3, 2, 1, 0))
        self.pixel_layers = nn.ModuleList(SelfAttentionLayer(width, heads) for _ in range(word_layers))
        self.word_layers = nn.ModuleList(WordLayer(width, word_dim, heads) for _ in range(word_layers))
        self.listening = min((k for k, stride in enumerate(in_strides) if stride >= 16 and k > 0), default=3)
        self.maps = (0, 1, 2, 3)
        self.stride = in_strides[0]
        self.channels = width
        self.memory_channels = (width,) * 3
        self.context_channels = width
        self.reads = frozenset({"words"} if word_layers else ())

    def forward(self, encoded: Encoded, explain: bool = False) -> PixelFeatures:
        """See the class."""
        channels = tuple(feature_map.values.shape[1] for feature_map in encoded.pyramid)
        if channels != self.in_channels:
            raise ValueError(f"Light: the pyramid has {channels} channels; expected {self.in_channels}.")
        levels, attention = [], []
        for level, k in zip(self.levels, (3, 2, 1, 0)):
            made = level(encoded.pyramid[k], levels[-1] if levels else None, encoded.image_index)
            if self.word_layers and k == self.listening:
                made, attention = self._listen(made, encoded, explain)
            levels.append(made)
        *memory, finest = (level.for_sentences(encoded.image_index) for level in levels)
        return PixelFeatures(
            finest=finest,
            stride=self.stride,
            memory=memory,
            context=memory[3 - self.listening],
            explanation={"word_pixel_attention": attention} if attention else {},
        )

    def _listen(self, level: FeatureMap, encoded: Encoded, explain: bool) -> tuple[FeatureMap, list[Tensor]]:
        """The word layers on one level, which is per sentence from here on; and their attention maps."""
        check_word_mask(encoded.word_mask, encoded.words.shape[:2], "Light")
        if encoded.words.shape[2] != self.word_dim:
            raise ValueError(f"Light: words {tuple(encoded.words.shape)}; expected {self.word_dim} channels.")
        size = tuple(level.values.shape[-2:])
        pixels = level.values.flatten(2).transpose(1, 2)
        positions = sine_2d(size, pixels.shape[-1], like=pixels)
        attention = []
        for number, (compare, listen) in enumerate(zip(self.pixel_layers, self.word_layers)):
            pixels = compare(pixels, positions=positions)
            if number == 0 and not level.per_sentence:  # until here the words have changed nothing
                pixels = pixels[encoded.image_index]
            pixels, weights = listen(pixels, positions, encoded.words, encoded.word_mask, explain)
            if weights is not None:
                attention.append(weights.transpose(1, 2).unflatten(2, size))
        return FeatureMap(pixels.transpose(1, 2).unflatten(2, size), level.stride, per_sentence=True), attention
