"""VLBA, vision-language bidirectional attention: every pixel listens to the words, and every word looks at the pixels.

::

    pixels V ─► query ─┐                      ┌─ softmax over words  ─► words for each pixel ─► concat, MLP ─► R^v
                       ├─► ONE affinity S ────┤
    words  T ─► key   ─┘                      └─ softmax over pixels ─► pixels for each word ─► concat, MLP ─► R^t

    V <- V + tanh(gate(R^v)) R^v     T <- T + tanh(gate(R^t)) R^t     the decoder gets R^v and R^t, without gates

Most fusion blocks know one direction only, the upper. Here the sentence is rewritten by what it finds in the picture,
stage by stage, so that in the end it can say which region it means.

Source: that attention runs both ways is published for AlignFormer (abstract). Everything else, from the shared affinity
to the ungated residuals, is our decision for AlignFormer: it follows the released code of its later sibling LGFormer
(Wei et al.), whose numbers this block reproduces.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ris_lib.attention import additive_mask, split_heads
from ris_lib.contract import ALL_READ, FusionOutput, Reads
from ris_lib.fusion.inputs import check_fusion_input
from ris_lib.instance_norm import InstanceNorm
from ris_lib.layers import at_least_float32


class TwoWayAttention(nn.Module):
    """One affinity between pixels and words, read by rows and by columns.

    It is computed in the open and in float32: a softmax over 14,400 pixels is not a matter for half precision, the
    matrix is small (one row a pixel, one column a word), and on a CPU computing it once is faster than two fused
    attentions. The scale is ``1 / sqrt(pixel_dim)`` whatever the number of heads, as in LGFormer's code.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        heads: Must divide both.
        to_pixels: Build what carries words to pixels.
        to_words: Build what carries pixels to words.

    Shape:
        pixels ``(S, N, C)``, words ``(S, L, D)``, word_mask ``(S, L)`` bool -> what each pixel gathered ``(S, N, C)``
        or None, what each word gathered ``(S, L, D)`` (at padding the last layer's bias) or None, and the weights by
        name, each ``(S, N, L)`` averaged over the heads: ``word_pixel_attention`` sums to 1 over L,
        ``pixel_word_attention`` over N (at a padded word it is the same for all pixels).

    Raises:
        ValueError: ``heads`` does not divide the channels.

    Example:
        >>> attention = TwoWayAttention(8, 6, heads=2)
        >>> words = attention(torch.randn(1, 4, 8), torch.zeros(1, 3, 6), torch.ones(1, 3, dtype=torch.bool))[1]
        >>> words.shape
        torch.Size([1, 3, 6])
    """

    def __init__(self, pixel_dim: int, word_dim: int, heads: int = 1, to_pixels: bool = True, to_words: bool = True):
        super().__init__()
        if heads < 1 or pixel_dim % heads or word_dim % heads:
            raise ValueError(f"VLBA: heads={heads} must divide pixel_dim={pixel_dim} and word_dim={word_dim}.")
        self.heads = heads
        self.norm = InstanceNorm("VLBA", "the coarsest map needs at least two (64 input pixels at stride 32)")
        self.scale = pixel_dim**-0.5
        # Biases that an instance norm takes away again are not built; nor is that of the keys where it moves all words'
        # scores of a pixel alike, and nobody compares pixels.
        self.query = nn.Linear(pixel_dim, pixel_dim, bias=False)
        self.key = nn.Linear(word_dim, pixel_dim, bias=to_words)
        self.word_value = nn.Linear(word_dim, pixel_dim, bias=False) if to_pixels else None
        self.pixel_out = nn.Linear(pixel_dim, pixel_dim, bias=False) if to_pixels else None
        self.pixel_value = nn.Linear(pixel_dim, word_dim, bias=False) if to_words else None
        self.word_out = nn.Linear(word_dim, word_dim) if to_words else None

    def forward(
        self, pixels: Tensor, words: Tensor, word_mask: Tensor
    ) -> tuple[Tensor | None, Tensor | None, dict[str, Tensor]]:
        """See the class."""
        padding = ~word_mask[..., None]
        query = split_heads(at_least_float32(self.norm(self.query(pixels))), self.heads)
        key = split_heads(at_least_float32(self.key(words).masked_fill(padding, 0)), self.heads)
        with torch.autocast(pixels.device.type, enabled=False):
            affinity = (query * self.scale) @ key.transpose(-2, -1)
            affinity = affinity + additive_mask(word_mask, affinity.dtype)[:, None, None]
        for_pixels = for_words = None
        weights = {}
        if self.word_value is not None and self.pixel_out is not None:
            by_word = affinity.softmax(dim=-1)
            value = self.word_value(words).masked_fill(padding, 0)
            for_pixels = self.norm(self.pixel_out(self._mix(by_word, value, like=pixels)))
            weights["word_pixel_attention"] = by_word.mean(dim=1)
        if self.pixel_value is not None and self.word_out is not None:
            by_pixel = affinity.softmax(dim=-2)
            value = self.norm(self.pixel_value(pixels))
            mixed = self._mix(by_pixel.transpose(-2, -1), value, like=words)
            for_words = self.word_out(mixed.masked_fill(padding, 0))
            weights["pixel_word_attention"] = by_pixel.mean(dim=1)
        return for_pixels, for_words, weights

    def _mix(self, weights: Tensor, value: Tensor, like: Tensor) -> Tensor:
        """Weights ``(S, heads, a, b)`` times value ``(S, b, C)`` -> ``(S, a, C)``, summed in float32."""
        with torch.autocast(value.device.type, enabled=False):
            mixed = weights @ split_heads(at_least_float32(value), self.heads)
        return mixed.transpose(1, 2).flatten(2).to(like.dtype)


class Lane(nn.Module):
    """What happens to one side, pixels or words: join what was gathered, and add it behind a gate.

    Args:
        dim: Channels of this side.
        gated: Build the gate. Its last matrix starts at zero, so that at first the encoder works as if nobody had
            touched it; its first matrix is random, because two zero matrices would never get a gradient.

    Example:
        >>> lane = Lane(8)
        >>> residual = lane(torch.zeros(1, 3, 8), torch.zeros(1, 3, 8))
        >>> lane.update(torch.ones(1, 3, 8), residual).unique()
        tensor([1.], grad_fn=<Unique2Backward0>)
    """

    def __init__(self, dim: int, gated: bool = True):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(dim, dim), nn.GELU())
        self.fuse = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim), nn.GELU())
        self.gate = None
        if gated:
            first, last = (nn.Linear(dim, dim, bias=False) for _ in range(2))
            nn.init.zeros_(last.weight)
            self.gate = nn.Sequential(first, nn.ReLU(), last, nn.Tanh())

    def forward(self, x: Tensor, gathered: Tensor) -> Tensor:
        """The residual R, ``(S, n, dim)``."""
        return self.fuse(torch.cat([self.project(x), gathered], dim=-1))

    def update(self, x: Tensor, residual: Tensor) -> Tensor:
        """``x + tanh(gate(R)) R``, or ``x`` itself where no gate was built."""
        return x if self.gate is None else x + self.gate(residual) * residual


class VLBA(nn.Module):
    """Let pixels and words attend to each other.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        heads: Heads of the attention; LGFormer has one at every stage.
        direction: ``"both"``; for ablations ``"to_pixels"``, which leaves the words as they came, or ``"to_words"``,
            which leaves the pixels.
        reads: What is read of this block. What serves an unread output alone is not built: the gates, the output norm,
            a whole direction.

    Shape:
        - pixels: ``(S, N, C)``, N = height * width of the map, at least 2
        - size: ``(height, width)``
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = real word**; at least one True in each row
        - returns: ``FusionOutput``: the gated updates of pixels and words for the next stages, and for the decoder the
          **ungated** residuals, that of the pixels after a LayerNorm. Padded words become 0.

    Raises:
        ValueError: Bad mask, other channels, a map of one position, heads that do not divide the channels, or nobody
            reads anything.

    Example:
        >>> block = VLBA(pixel_dim=8, word_dim=6)
        >>> pixels, words = torch.randn(1, 4, 8), torch.randn(1, 3, 6)
        >>> fused = block(pixels, (2, 2), words, torch.ones(1, 3, dtype=torch.bool))
        >>> torch.equal(fused.pixels, pixels)  # the gates start closed
        True
        >>> fused.pyramid.shape, fused.decoder_words.shape
        (torch.Size([1, 4, 8]), torch.Size([1, 3, 6]))
    """

    #: The stages (0 to 3) at which a recipe puts this block when it is asked for by name alone.
    default_stages = (0, 1, 2, 3)

    def __init__(self, pixel_dim: int, word_dim: int, heads: int = 1, direction: str = "both", reads: Reads = ALL_READ):
        super().__init__()
        reads = reads.towards(direction)
        to_pixels, to_words = reads.pixels or reads.pyramid, reads.words or reads.decoder_words
        if not (to_pixels or to_words):
            raise ValueError("VLBA: nobody reads anything of this block; leave it out at this stage.")
        self.pixel_dim, self.word_dim, self.reads = pixel_dim, word_dim, reads
        self.attention = TwoWayAttention(pixel_dim, word_dim, heads, to_pixels, to_words)
        self.pixel_lane = Lane(pixel_dim, gated=reads.pixels) if to_pixels else None
        self.word_lane = Lane(word_dim, gated=reads.words) if to_words else None
        self.norm = nn.LayerNorm(pixel_dim) if reads.pyramid else None

    def forward(
        self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> FusionOutput:
        """See the class."""
        check_fusion_input("VLBA", pixels, size, words, word_mask, (self.pixel_dim, self.word_dim))
        for_pixels, for_words, weights = self.attention(pixels, words, word_mask)
        fused = FusionOutput(pixels=pixels, words=words, pyramid=pixels, decoder_words=words)
        if self.pixel_lane is not None:
            residual = self.pixel_lane(pixels, for_pixels)
            fused.pixels = self.pixel_lane.update(pixels, residual)
            fused.pyramid = pixels if self.norm is None else self.norm(residual)
        if self.word_lane is not None:
            padding = ~word_mask[..., None]
            residual = self.word_lane(words, for_words).masked_fill(padding, 0)
            if self.reads.words:
                fused.words = self.word_lane.update(words, residual).masked_fill(padding, 0)
            fused.decoder_words = residual if self.reads.decoder_words else words
        if explain:
            fused.explanation = {n: w.transpose(1, 2).unflatten(2, tuple(size)) for n, w in weights.items()}
        return fused
