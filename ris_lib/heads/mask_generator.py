"""The mask generator: a few learned queries look at the coarse maps and come back as mask embeddings, one an object.

Source: that N mask proposals, represented by N embeddings, are made from word-pixel aligned features is CoupAlign's
(Zhang et al. 2022, abstract and caption of figure 2). Their number and how they are made could not be read: learned
queries in a transformer decoder (Carion et al. 2020), pre-norm, 16 of them and 3 layers are our decision - enough for
the objects that a sentence compares, few enough to look at each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.positions import sine_1d, sine_2d


class GeneratorLayer(nn.Module):
    """Queries talk to one another, then look at the memory, then think: pre-norm, each step added to the queries.

    Args:
        width: Channels.
        heads: Heads of both attentions; must divide ``width``.
        feed_forward: Hidden channels of the feed-forward network.
        alone: There is one query only, which has nobody to talk to: the first step is not built.

    Shape:
        queries ``(S, N, width)``, memory ``(S, K, width)``, mask of the memory ``(S, K)`` bool (True = real) or None ->
        ``(S, N, width)``.

    Example:
        >>> GeneratorLayer(8, heads=2, feed_forward=16)(torch.zeros(1, 3, 8), torch.zeros(1, 5, 8)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, width: int, heads: int, feed_forward: int, alone: bool = False):
        super().__init__()
        self.self_norm = None if alone else nn.LayerNorm(width)
        self.self_attention = None if alone else MultiHeadAttention(width, heads=heads)
        self.memory_norm = nn.LayerNorm(width)
        self.memory_attention = MultiHeadAttention(width, heads=heads)
        self.forward_norm = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(nn.Linear(width, feed_forward), nn.ReLU(), nn.Linear(feed_forward, width))

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """See the class."""
        if self.self_attention is not None and self.self_norm is not None:
            normed = self.self_norm(queries)
            queries = queries + self.self_attention(normed, normed)[0]
        queries = queries + self.memory_attention(self.memory_norm(queries), memory, mask=mask)[0]
        return queries + self.forward_net(self.forward_norm(queries))


class MaskGenerator(nn.Module):
    """Learned queries and coarse maps to mask embeddings.

    All maps are laid end to end and read together in each layer. A map is projected and normalised first, so that maps
    of different parts speak with one loudness; its positions are added afterwards and belong to what is read, because
    an embedding has to know *where* its object lies.

    Args:
        memory_channels: Channels of the maps; at least one map.
        queries: Number of embeddings, N.
        layers: Number of layers.
        heads: Heads of each attention; must divide ``width``.
        width: Channels of the embeddings, a multiple of 4.
        feed_forward: Hidden channels of the feed-forward networks.
        word_dim: Channels of the words, where the queries read them beside the maps; None = they do not.

    Shape:
        - memory: a map ``(S, C_k, h_k, w_k)`` for each of ``memory_channels``, of any size
        - words: ``(S, L, word_dim)``, and word_mask ``(S, L)`` bool, **True = real word**; read with ``word_dim`` only
        - returns: ``(S, N, width)``, normalised

    Raises:
        ValueError: No maps, ``queries`` or ``layers`` below 1, a width that is no multiple of 4 and of ``heads``; maps
            of another number or other channels than announced; no words or no word mask with ``word_dim``.

    Example:
        >>> generator = MaskGenerator((8, 4), queries=5, layers=1, heads=2, width=16, feed_forward=32)
        >>> generator([torch.zeros(2, 8, 3, 3), torch.zeros(2, 4, 6, 6)]).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        memory_channels: Sequence[int],
        queries: int = 16,
        layers: int = 3,
        heads: int = 8,
        width: int = 256,
        feed_forward: int = 1024,
        word_dim: int | None = None,
    ):
        super().__init__()
        if not memory_channels:
            raise ValueError(
                "SentenceMaskAlignment: the decoder hands on no coarser maps (memory_channels is empty), and the mask "
                "generator has nothing to read; take a decoder that does, such as 'top_down'."
            )
        if queries < 1 or layers < 1:
            raise ValueError(f"SentenceMaskAlignment: queries={queries}, layers={layers}; both must be at least 1.")
        if width % 4 or width % heads:
            raise ValueError(f"SentenceMaskAlignment: width={width} must be a multiple of 4 and of heads={heads}.")
        self.memory_channels = tuple(memory_channels)
        self.seeds = nn.Parameter(torch.randn(queries, width))
        self.projections = nn.ModuleList(_projection(channels, width) for channels in memory_channels)
        self.word_projection = None if word_dim is None else _projection(word_dim, width)
        self.layers = nn.ModuleList(
            GeneratorLayer(width, heads, feed_forward, alone=queries == 1) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, memory: Sequence[Tensor], words: Tensor | None = None, word_mask: Tensor | None = None) -> Tensor:
        """See the class."""
        channels = tuple(feature_map.shape[1] for feature_map in memory)
        if channels != self.memory_channels:
            raise ValueError(
                f"SentenceMaskAlignment: the memory maps have {channels} channels; expected "
                f"{self.memory_channels}, coarse to fine. Build the head with the decoder's memory_channels."
            )
        width = self.seeds.shape[1]
        read, mask = [], None
        for project, feature_map in zip(self.projections, memory):
            projected = project(feature_map.flatten(2).transpose(1, 2))
            read.append(projected + sine_2d(tuple(feature_map.shape[2:]), width, like=projected))
        if self.word_projection is not None:
            if words is None or word_mask is None:
                raise ValueError("SentenceMaskAlignment: a mask generator with word_dim needs words and word_mask.")
            projected = self.word_projection(words)
            # Positions of words are counted, not scaled to the sentence's length: padding would change them.
            read.append(projected + sine_1d(words.shape[1], width, like=projected))
            pixels = word_mask.new_ones(len(words), sum(tokens.shape[1] for tokens in read[:-1]))
            mask = torch.cat([pixels, word_mask], dim=1)
        read = torch.cat(read, dim=1)
        queries = self.seeds.expand(len(read), -1, -1)
        for layer in self.layers:
            queries = layer(queries, read, mask)
        return self.norm(queries)


def _projection(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, width, bias=False), nn.LayerNorm(width))
