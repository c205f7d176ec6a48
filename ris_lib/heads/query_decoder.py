"""Queries that look again: transformer layers in which each query reads the pixels.

Source: the transformer decoder of the Vision-Language Transformer (Ding et al. 2021) updates queries in this way, that
of CRIS (Wang et al. 2022) updates pixels; which of the two EAVL's does could not be read. These layers are our form of
the first: pre-norm, coordinates as two more channels instead of sine positions, and no attention among the queries,
because their estimator compares them anyway and a single query would have nobody to attend to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ris_lib.heads.query_generator import QueryAttention
from ris_lib.layers import coordinates


class QueryLayer(nn.Module):
    """One layer: read a map, then a feed-forward network on each query.

    Args:
        width: Channels of the queries.
        channels: Channels of the map.
        heads: Heads of the attention; must divide ``width``.
        expansion: Width of the feed-forward network as a multiple of ``width``; 4 as in CRIS's decoder.

    Shape:
        ``(S, Nq, width)``, ``(S, channels, h, w)`` -> ``(S, Nq, width)``.

    Example:
        >>> QueryLayer(8, 6, heads=2)(torch.zeros(1, 4, 8), torch.zeros(1, 6, 2, 3)).shape
        torch.Size([1, 4, 8])
    """

    def __init__(self, width: int, channels: int, heads: int = 8, expansion: int = 4):
        super().__init__()
        self.pixel_norm = nn.LayerNorm(channels)
        self.query_norm = nn.LayerNorm(width)
        self.attention = QueryAttention(width, channels + 2, heads)
        self.forward_norm = nn.LayerNorm(width)
        self.forward_net = nn.Sequential(
            nn.Linear(width, expansion * width), nn.ReLU(), nn.Linear(expansion * width, width)
        )

    def forward(self, queries: Tensor, feature_map: Tensor) -> Tensor:
        """See the class."""
        pixels = self.pixel_norm(feature_map.flatten(2).transpose(1, 2))
        places = coordinates(feature_map.shape[-2:], like=pixels).expand(len(pixels), -1, -1)
        queries = queries + self.attention(self.query_norm(queries), torch.cat([pixels, places], dim=-1))[0]
        return queries + self.forward_net(self.forward_norm(queries))


class QueryDecoder(nn.Module):
    """Layers of queries that read pixels; layer k reads map k, beginning anew when there are fewer maps than layers.

    Args:
        width: Channels of the queries.
        map_channels: Channels of the maps, coarse to fine; at least one.
        layers: Number of layers, at least 1.
        heads: Heads of the attention; must divide ``width``.

    Shape:
        queries ``(S, Nq, width)`` and maps ``(S, C_k, h_k, w_k)`` -> ``(S, Nq, width)``, each query of mean 0 and
        variance 1 before the norm's weights.

    Raises:
        ValueError: No maps, no layers, or heads that do not divide the width.

    Example:
        >>> decoder = QueryDecoder(8, map_channels=(6, 4), layers=2, heads=2)
        >>> decoder(torch.zeros(1, 3, 8), [torch.zeros(1, 6, 2, 2), torch.zeros(1, 4, 4, 4)]).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, width: int, map_channels: Sequence[int], layers: int = 2, heads: int = 8):
        super().__init__()
        if not map_channels or layers < 1:
            raise ValueError(
                f"QueryDecoder: map_channels={tuple(map_channels)}, layers={layers}; expected at least one of each."
            )
        self.layers = nn.ModuleList(
            QueryLayer(width, map_channels[k % len(map_channels)], heads) for k in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """See the class."""
        for k, layer in enumerate(self.layers):
            queries = layer(queries, maps[k % len(maps)])
        return self.norm(queries)
