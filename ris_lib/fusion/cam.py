"""MagNet's alignment module: pixels read words at several scales, and words read pixels.

::

    pixels ─┬─ pooled to 1, 2, 3, 6 ─► words to pixels ─► raised ─┬─ mixer ─► decoder
            ├─ full resolution ──────► words to pixels ───────────┤
            │                                                     └─ gate ─► + pixels ─► next image stage
            └─ pixels to words ─► gate ─► + words ─► next text group

Both directions read what the encoders' stages gave, before either side has changed.

Source: MagNet (Chng et al. 2024) as in its released code (yxchng/mask-grounding), to which the image side is
numerically equal. The language side has three forms, see ``PixelsToWords``: what the release computes, the same with
the word mask that was meant, and ours, the default. The release starts both matrices of the language gate at zero,
where they stay for ever; in ours only the last one starts there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import ALL_READ, FusionOutput, Reads
from ris_lib.fusion.cam_words import FORMS, PixelsToWords
from ris_lib.fusion.inputs import check_fusion_input
from ris_lib.fusion.pwam import ResidualGate, WordsToPixels
from ris_lib.layers import resize_map


class PooledWords(nn.Module):
    """The image as ``side * side`` tiles, each of which gathers the words that describe it.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        side: Tiles in a row and in a column.
        width: Channels of the result.
        heads: Heads of the attention; must divide ``width``.

    Shape:
        pixels ``(S, N, C)``, size ``(height, width)``, words ``(S, L, D)``, word_mask ``(S, L)`` -> ``(S, N, width)``,
        bilinear between the tiles, corners aligned. A map may be smaller than ``side``.

    Example:
        >>> branch = PooledWords(pixel_dim=16, word_dim=6, side=2, width=4)
        >>> words, word_mask = torch.zeros(1, 3, 6), torch.ones(1, 3, dtype=torch.bool)
        >>> branch(torch.zeros(1, 12, 16), (3, 4), words, word_mask).shape
        torch.Size([1, 12, 4])
    """

    def __init__(self, pixel_dim: int, word_dim: int, side: int, width: int, heads: int = 1):
        super().__init__()
        self.side = side
        self.narrow = nn.Sequential(
            nn.Linear(pixel_dim, 4 * pixel_dim, bias=False),
            nn.LayerNorm(4 * pixel_dim, eps=1e-6),
            nn.Linear(4 * pixel_dim, pixel_dim, bias=False),
            nn.GELU(),
            nn.Linear(pixel_dim, width, bias=False),
        )
        # Layer norm, because the whole image as one tile is a single position.
        self.residual = WordsToPixels(width, word_dim, heads, norm="layer")

    def tiles(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        """The narrowed tiles before they meet the words, ``(S, side * side, width)``."""
        feature_map = pixels.transpose(1, 2).unflatten(2, size)
        return self.narrow(F.adaptive_avg_pool2d(feature_map, self.side).flatten(2).transpose(1, 2))

    def forward(self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor) -> Tensor:
        """See the class."""
        residual, _ = self.residual(self.tiles(pixels, size), words, word_mask)
        tiles = residual.transpose(1, 2).unflatten(2, (self.side, self.side))
        return resize_map(tiles, size, align_corners=True).flatten(2).transpose(1, 2)


class CAM(nn.Module):
    """MagNet's fusion block.

    The decoder gets a mixture of all branches, without a further norm; the next image stage gets the full-resolution
    branch alone, through a gate.

    Args:
        pixel_dim: Channels of the pixels, C; a multiple of 4, at least 8.
        word_dim: Channels of the words, D.
        pools: Sides of the pooled branches, each with weights of its own and C / 4 channels.
        language_side: ``"ours"``, ``"released"`` or ``"fixed01"``; see ``PixelsToWords``.
        heads: Heads of every attention; 1 in MagNet.
        reads: What is read of this block: without ``pixels`` there is no pixel gate, without ``pyramid`` no pooled
            branch and no mixer, without ``words`` no language side.

    Shape:
        - pixels: ``(S, N, C)``, N = height * width of the map
        - size: ``(height, width)``
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = real word**; at least one True in each row
        - returns: ``FusionOutput``: ``pixels`` and ``words`` plus their gated residuals, the mixture as ``pyramid``,
          and as ``decoder_words`` the words as they came

    Raises:
        ValueError: An option that is not known, shapes that do not fit, a word mask that is not boolean or hides a
            whole sentence, a single pixel where there is a language side, or neither pixels nor pyramid are read.

    Example:
        >>> block = CAM(pixel_dim=16, word_dim=6)
        >>> pixels, words = torch.randn(1, 12, 16), torch.randn(1, 3, 6)
        >>> fused = block(pixels, (3, 4), words, torch.ones(1, 3, dtype=torch.bool))
        >>> fused.pyramid.shape, torch.equal(fused.words, words)  # both gates start closed
        (torch.Size([1, 12, 16]), True)
    """

    #: The stages (0 to 3) at which a recipe puts this block when it is asked for by name alone.
    default_stages = (0, 1, 2, 3)

    def __init__(
        self,
        pixel_dim: int,
        word_dim: int,
        pools: Sequence[int] = (1, 2, 3, 6),
        language_side: str = "ours",
        heads: int = 1,
        reads: Reads = ALL_READ,
    ):
        super().__init__()
        if not (reads.pixels or reads.pyramid):
            raise ValueError("CAM: neither its pixels nor its map is read; leave the block out at this stage.")
        if pixel_dim % 4 or pixel_dim < 8:
            raise ValueError(f"CAM: pixel_dim={pixel_dim}; expected a multiple of 4, at least 8.")
        if any(side < 1 for side in pools):
            raise ValueError(f"CAM: pools={tuple(pools)}; expected sides of 1 or more.")
        if language_side not in FORMS:  # also where the language side is not built
            raise ValueError(f"CAM: language_side={language_side!r}; expected one of {', '.join(map(repr, FORMS))}.")
        width = pixel_dim // 4
        self.dims = (pixel_dim, word_dim)
        self.residual = WordsToPixels(pixel_dim, word_dim, heads, norm="layer")
        self.gate = ResidualGate(pixel_dim, "gelu") if reads.pixels else None
        self.pools, self.mixer = None, None
        if reads.pyramid:
            self.pools = nn.ModuleList(PooledWords(pixel_dim, word_dim, side, width, heads) for side in pools)
            self.mixer = nn.Sequential(
                nn.Linear(pixel_dim + len(pools) * width, pixel_dim),
                nn.LayerNorm(pixel_dim),
                nn.Linear(pixel_dim, pixel_dim),
                nn.GELU(),
            )
        self.word_residual, self.word_gate = None, None
        if reads.words:
            self.word_residual = PixelsToWords(word_dim, pixel_dim, heads, language_side)
            self.word_gate = ResidualGate(word_dim, "relu")

    def forward(
        self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> FusionOutput:
        """See the class.

        ``explain`` gives ``word_pixel_attention (S, L, h, w)`` of the full-resolution branch and, where there is a
        language side, ``pixel_word_attention (S, L, h, w)``.
        """
        check_fusion_input("CAM", pixels, size, words, word_mask, self.dims)
        residual, weights = self.residual(pixels, words, word_mask, explain)
        explanation = {"word_pixel_attention": weights}
        fused, pyramid, changed_words = pixels, pixels, words
        if self.gate is not None:
            fused = pixels + self.gate(residual)
        if self.pools is not None and self.mixer is not None:
            raised = [branch(pixels, size, words, word_mask) for branch in self.pools]
            pyramid = self.mixer(torch.cat([*raised, residual], dim=-1))
        if self.word_residual is not None and self.word_gate is not None:
            word_residual, explanation["pixel_word_attention"] = self.word_residual(words, pixels, word_mask, explain)
            changed_words = words + self.word_gate(word_residual)
        return FusionOutput(
            pixels=fused,
            words=changed_words,
            pyramid=pyramid,
            decoder_words=words,
            explanation={name: maps.unflatten(2, size) for name, maps in explanation.items() if explain},
        )
