"""Pixels ask words: a transformer decoder whose queries are the places of a map.

::

    x <- x + LN(attention of x among itself (LN x))
    x <- x + LN(attention of x to the words (LN x))
    x <- x + FFN(LN x)

The map stays a map: one place of the grid, one query. The words are only read.

Source: CRIS (Wang et al. 2022), section 3.3 and its released code: norms before *and* after both attentions, a norm
inside the feed-forward network, fixed sine positions added to queries and keys, not to values. Left out, our decision:
the dropout on attention weights (training only), because attention runs through one shared, fused function. Ours too
is ``centred``, for the tiny models, after LAVT (Yang et al. 2022). The idea: where all pixels look at all words alike,
the same is added everywhere and no pixel stands out. An instance norm takes away what is the same everywhere, so that
what is left is who looked at which word.
"""

from __future__ import annotations

from torch import Tensor, nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.contract import check_word_mask
from ris_lib.instance_norm import InstanceNorm
from ris_lib.positions import sine_1d, sine_2d


class PixelWordLayer(nn.Module):
    """One layer: pixels look at one another, then at the words, then each at itself.

    Args:
        dim: Channels of the pixels.
        word_dim: Channels of the words.
        heads: Heads of both attentions; must divide ``dim``.
        feed_forward: Channels inside the feed-forward network.
        dropout: Share of values that training drops on each of the three branches and inside the network.
        centred: An instance norm over the pixels, on what they gathered from the words. CRIS does without.

    Shape:
        pixels ``(S, N, dim)``, words ``(S, L, word_dim)``, mask ``(S, L)`` bool, positions ``(N, dim)`` and
        ``(L, word_dim)`` -> ``(S, N, dim)`` and, with ``explain``, weights ``(S, N, L)``, mean of the heads.

    Example:
        >>> import torch
        >>> layer = PixelWordLayer(8, 6, heads=2, feed_forward=16).eval()
        >>> pixels, words, mask = torch.zeros(1, 4, 8), torch.zeros(1, 3, 6), torch.ones(1, 3, dtype=torch.bool)
        >>> layer(pixels, words, mask, torch.zeros(4, 8), torch.zeros(3, 6), explain=True)[1].shape
        torch.Size([1, 4, 3])
    """

    def __init__(
        self,
        dim: int,
        word_dim: int,
        heads: int = 8,
        feed_forward: int = 2048,
        dropout: float = 0.1,
        centred: bool = False,
    ):
        super().__init__()
        self.pixel_norm = nn.LayerNorm(dim)
        self.pixel_attention = MultiHeadAttention(dim, heads=heads)
        self.pixel_out_norm = nn.LayerNorm(dim)
        self.word_norm = nn.LayerNorm(dim)
        self.word_attention = MultiHeadAttention(dim, word_dim, heads=heads, offset=not centred)
        self.centre = InstanceNorm("PixelWordLayer", "use a larger image, or centred=False") if centred else None
        self.word_out_norm = nn.LayerNorm(dim)
        self.forward_norm = nn.LayerNorm(dim)
        self.forward_net = nn.Sequential(
            nn.Linear(dim, feed_forward),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.LayerNorm(feed_forward),
            nn.Linear(feed_forward, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        pixels: Tensor,
        words: Tensor,
        word_mask: Tensor,
        pixel_positions: Tensor,
        word_positions: Tensor,
        explain: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        normed = self.pixel_norm(pixels)
        located = normed + pixel_positions
        mixed, _ = self.pixel_attention(located, located, normed)
        pixels = pixels + self.dropout(self.pixel_out_norm(mixed))
        located = self.word_norm(pixels) + pixel_positions
        mixed, weights = self.word_attention(located, words + word_positions, words, mask=word_mask, explain=explain)
        mixed = mixed if self.centre is None else self.centre(mixed)
        pixels = pixels + self.dropout(self.word_out_norm(mixed))
        return pixels + self.dropout(self.forward_net(self.forward_norm(pixels))), weights


class PixelWordDecoder(nn.Module):
    """Layers of pixels that ask words, and a final norm.

    Args:
        dim: Channels of the map, a multiple of 4.
        word_dim: Channels of the words, even.
        layers: Number of layers, at least 1.
        heads: See ``PixelWordLayer``.
        feed_forward: See ``PixelWordLayer``.
        dropout: See ``PixelWordLayer``.
        centred: See ``PixelWordLayer``.

    Shape:
        - feature_map: ``(S, dim, h, w)``
        - words: ``(S, L, word_dim)``
        - word_mask: ``(S, L)`` bool, **True = real token**
        - returns: ``(S, dim, h, w)`` and, with ``explain``, how much each pixel looked at each word in the last layer,
          ``(S, L, h, w)``, mean of the heads, sum 1 over L; else None

    Raises:
        ValueError: Channels that positions or heads do not divide, no layer, or a word mask that is not boolean, has
            another shape or hides every token.

    Example:
        >>> import torch
        >>> decoder = PixelWordDecoder(8, 6, layers=1, heads=2, feed_forward=16)
        >>> mask = torch.tensor([[True, True, False]])
        >>> x, attention = decoder(torch.zeros(1, 8, 2, 3), torch.zeros(1, 3, 6), mask, explain=True)
        >>> x.shape, attention[0, :, 0, 0].tolist()
        (torch.Size([1, 8, 2, 3]), [..., ..., 0.0])
    """

    def __init__(
        self,
        dim: int,
        word_dim: int,
        layers: int = 3,
        heads: int = 8,
        feed_forward: int = 2048,
        dropout: float = 0.1,
        centred: bool = False,
    ):
        super().__init__()
        if dim % 4 or word_dim % 2:
            raise ValueError(
                f"PixelWordDecoder: {dim} channels of pixels and {word_dim} of words; sine positions need a multiple "
                "of 4 and of 2."
            )
        if layers < 1:
            raise ValueError(f"PixelWordDecoder: layers={layers}; expected at least 1.")
        self.layers = nn.ModuleList(
            PixelWordLayer(dim, word_dim, heads, feed_forward, dropout, centred) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, feature_map: Tensor, words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        check_word_mask(word_mask, words.shape[:2], "PixelWordDecoder")
        size = (feature_map.shape[2], feature_map.shape[3])
        pixels, weights = feature_map.flatten(2).transpose(1, 2), None
        positions = (
            sine_2d(size, pixels.shape[-1], pixels, normalised=False, column_first=True),
            sine_1d(words.shape[1], words.shape[-1], words),
        )
        for k, layer in enumerate(self.layers):
            last = k == len(self.layers) - 1
            pixels, weights = layer(pixels, words, word_mask, *positions, explain=explain and last)
        as_map = self.norm(pixels).transpose(1, 2).unflatten(2, size)
        return as_map, None if weights is None else weights.transpose(1, 2).unflatten(2, size)
