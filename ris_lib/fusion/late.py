"""Late fusion: the sentence joins the pixel features once, after both encoders.

The simplest way to make pixels hear a sentence, and the one that chapter 05 builds from scratch: the words are averaged
to one vector, each pixel is told where it lies, and the sentence scales and shifts the pixel's channels. What a word
says about *this* pixel is lost in the average; the blocks of the later chapters mend that.

Source: one sentence vector and coordinates at every position follow the first referring segmentation network (Hu et
al. 2016); scale and shift instead of concatenation is FiLM (Perez et al. 2018); the layers in which pixels compare
themselves with one another are our decision, because "the left one" cannot be answered by a pixel alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ris_lib.attention import SelfAttentionLayer
from ris_lib.contract import ALL_READ, FusionOutput, Reads
from ris_lib.fusion.inputs import check_fusion_input
from ris_lib.layers import coordinates, masked_mean


class LateFusion(nn.Module):
    """Scale and shift pixel features by the mean word, then let the pixels look at one another.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        layers: Self-attention layers among the pixels; 0 for none.
        heads: Heads of these layers.
        reads: What is read of this block: without ``pyramid`` the final norm is not built.

    Shape:
        - pixels: ``(S, N, C)``, N = height * width of the map
        - size: ``(height, width)``
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = real word**; at least one True in each row
        - returns: ``FusionOutput``: new pixels for the next stage, the same with a final norm for the decoder, and the
          words unchanged

    Raises:
        ValueError: Shapes that do not fit; a word mask that is not boolean or hides a whole sentence.

    Example:
        >>> block = LateFusion(pixel_dim=8, word_dim=6, heads=2)
        >>> pixels, words = torch.zeros(1, 4, 8), torch.zeros(1, 3, 6)
        >>> block(pixels, (2, 2), words, torch.ones(1, 3, dtype=torch.bool)).pyramid.shape
        torch.Size([1, 4, 8])
    """

    #: The stages (0 to 3) at which a recipe puts this block when it is asked for by name alone.
    default_stages = (3,)

    def __init__(self, pixel_dim: int, word_dim: int, layers: int = 1, heads: int = 4, reads: Reads = ALL_READ):
        super().__init__()
        self.dims = (pixel_dim, word_dim)
        self.position = nn.Linear(5, pixel_dim)
        self.sentence = nn.Sequential(nn.LayerNorm(word_dim), nn.Linear(word_dim, 2 * pixel_dim))
        self.layers = nn.ModuleList(SelfAttentionLayer(pixel_dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(pixel_dim) if reads.pyramid else nn.Identity()

    def forward(
        self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> FusionOutput:
        """See the class. There is no attention over words here, so ``explain`` has nothing to show."""
        check_fusion_input("LateFusion", pixels, size, words, word_mask, self.dims)
        sentence = masked_mean(words, word_mask)
        yx = coordinates(size, like=pixels)
        positions = self.position(torch.cat([yx, yx.square(), yx.prod(dim=1, keepdim=True)], dim=1))
        scale, shift = self.sentence(sentence)[:, None].chunk(2, dim=-1)
        pixels = (pixels + positions) * (1 + scale) + shift
        for layer in self.layers:
            pixels = layer(pixels, positions=positions)
        return FusionOutput(pixels=pixels, words=words, pyramid=self.norm(pixels), decoder_words=words)
