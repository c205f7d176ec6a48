"""Word-pixel alignment: words and pixels compare themselves once, and each side takes from the other what fits.

::

    pixels ─ W_v, norm ─┐              ┌─ softmax over the words  ─ O_v ─ times pixels ─┬─ gate ─► + pixels
                        ├─ affinity A ─┤                                                └────────► + pixels (decoder)
    words  ─ W_l, norm ─┘              └─ softmax over the pixels ─ O_l ────────────────── gate ─► + words

Source: that words and pixels are aligned early, in both directions and at every stage, is CoupAlign's (Zhang et al.
2022: abstract and caption of figure 2). The paper's formulas could not be read, so all of the arithmetic here is our
decision: one affinity for both directions, because a single matrix is directly "which word belongs to which pixel"; 32
channels per head; gates that start closed, so that pretrained encoders are untouched at first.

Two of our decisions come from training, as in LAVT (Yang et al. 2022). What a pixel takes is multiplied with what it
is: the same words mean something else to another pixel. And the decoder gets it past the gate: with closed gates and
plain sums the tiny model heard nothing for hundreds of steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ris_lib.attention import attend, split_heads
from ris_lib.contract import ALL_READ, FusionOutput, Reads
from ris_lib.fusion.inputs import check_fusion_input
from ris_lib.layers import at_least_float32


def head_count(width: int, head_dim: int) -> int:
    """The largest number of heads that divides the width and gives each at least ``head_dim`` channels, or one head.

    Args:
        width: Channels of all heads together.
        head_dim: Wanted channels of a head.

    Example:
        >>> [head_count(width, 32) for width in (256, 96, 100, 8)]
        [8, 3, 2, 1]
    """
    return max(heads for heads in range(1, max(1, width // head_dim) + 1) if width % heads == 0)


class Update(nn.Module):
    """What one side takes from the other, mixed by the shared affinity, and a gate for it::

        update = mixed O;    gated(x) = tanh(gate(x)) * x

    The gate is Linear - GELU - Linear without bias. Only its second matrix starts at zero: with both at zero no
    gradient would ever reach either. Values and outputs start larger than torch's own, as loud as what they join.

    Args:
        source_dim: Channels of the side that gives.
        width: Channels of the values, all heads together.
        target_dim: Channels of the side that takes.
        heads: Number of heads.
        gated: Whether there is a gate.

    Shape:
        queries ``(S, heads, Q, c)``, keys ``(S, heads, K, c)``, source ``(S, K, source_dim)``, mask of the keys ``(S,
        K)`` bool (True = real) or None -> ``(S, Q, target_dim)`` and, with ``explain``, weights ``(S, Q, K)`` averaged
        over the heads, else None. The softmax is computed in float32 at least, also within autocast.

    Example:
        >>> update = Update(source_dim=6, width=8, target_dim=4, heads=2)
        >>> mixed, _ = update(torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 3, 4), torch.randn(1, 3, 6))
        >>> mixed.shape, update.admit(mixed).abs().max().item()
        (torch.Size([1, 5, 4]), 0.0)
    """

    def __init__(self, source_dim: int, width: int, target_dim: int, heads: int, gated: bool = True):
        super().__init__()
        self.heads = heads
        self.value = nn.Linear(source_dim, width)
        self.out = nn.Linear(width, target_dim)
        for layer in (self.value, self.out):
            nn.init.orthogonal_(layer.weight, gain=math.sqrt(2))
        self.gate = None
        if gated:
            first, last = (nn.Linear(target_dim, target_dim, bias=False) for _ in range(2))
            nn.init.zeros_(last.weight)
            self.gate = nn.Sequential(first, nn.GELU(), last)

    def forward(
        self, queries: Tensor, keys: Tensor, source: Tensor, mask: Tensor | None = None, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        values = split_heads(self.value(source), self.heads)
        with torch.autocast(source.device.type, enabled=False):
            full = [at_least_float32(x) for x in (queries, keys, values)]
            mixed, weights = attend(*full, mask=mask, explain=explain)
        update = self.out(mixed.transpose(1, 2).flatten(2).to(values.dtype))
        return update, None if weights is None else weights.mean(dim=1)

    def admit(self, x: Tensor) -> Tensor:
        """What the gate lets through, ``(S, Q, target_dim)`` -> the same.

        Raises:
            ValueError: There is no gate.
        """
        if self.gate is None:
            raise ValueError("WPA: this update was built without a gate (gated=False); take it as it is.")
        return self.gate(x).tanh() * x


class WPA(nn.Module):
    """Pixels gather words and words gather pixels, through one shared affinity.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        width: Channels of the space in which both sides are compared; None = C, at most 256.
        head_dim: Channels per head. Where it does not divide the width, the heads are as many as divide it with at
            least so many channels in each: a width of 100 has two heads of 50, one of 8 a single head.
        direction: ``"both"``; for ablations ``"to_pixels"``, which leaves the words as they came, or ``"to_words"``,
            which leaves the pixels.
        reads: What is read of this block. Without ``pixels`` and ``pyramid`` the pixel half is not built, without
            ``pixels`` its gate is not; without ``words`` and ``decoder_words`` the word half is not.

    Shape:
        - pixels: ``(S, N, C)``, N = height * width of the map
        - size: ``(height, width)``
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = real word**; at least one True in each row
        - returns: ``FusionOutput``: pixels with their gated update, as ``pyramid`` with the whole of it; words with
          their gated update (also as ``decoder_words``), padding untouched; a half that is not built returns its input.
          With ``explain`` each half that is built explains itself, averaged over the heads: ``word_pixel_attention``
          ``(S, L, h, w)`` sums to 1 over L at every pixel, ``pixel_word_attention`` ``(S, L, h, w)`` sums to 1 over the
          pixels for every token (for padding tokens it means nothing).

    Raises:
        ValueError: Nothing is read of the block, an option is below 1, the channels or sizes of the inputs do not fit,
            or the word mask is not boolean, has another shape or hides a whole sentence.

    Example:
        >>> block = WPA(pixel_dim=8, word_dim=6)
        >>> pixels, words = torch.randn(1, 4, 8), torch.randn(1, 3, 6)
        >>> fused = block(pixels, (2, 2), words, torch.ones(1, 3, dtype=torch.bool), explain=True)
        >>> sorted(fused.explanation)
        ['pixel_word_attention', 'word_pixel_attention']
        >>> torch.equal(fused.pixels, pixels)  # the gates are closed before training
        True
    """

    #: The stages (0 to 3) at which a recipe puts this block when it is asked for by name alone.
    default_stages = (0, 1, 2, 3)

    def __init__(
        self,
        pixel_dim: int,
        word_dim: int,
        width: int | None = None,
        head_dim: int = 32,
        direction: str = "both",
        reads: Reads = ALL_READ,
    ):
        super().__init__()
        reads = reads.towards(direction)
        width = min(pixel_dim, 256) if width is None else width
        if width < 1 or head_dim < 1:
            raise ValueError(f"WPA: width={width}, head_dim={head_dim}; both must be at least 1.")
        for_pixels, for_words = reads.pixels or reads.pyramid, reads.words or reads.decoder_words
        if not (for_pixels or for_words):
            raise ValueError("WPA: nothing is read of this block, neither pixels nor words; leave the block out.")
        self.pixel_dim, self.word_dim = pixel_dim, word_dim
        self.heads = head_count(width, head_dim)
        # A shift of all pixels adds the same to a word's score at every pixel, so only the softmax over the words feels
        # it; and the other way round. A norm has its shift only where it can be felt.
        self.pixel_key = nn.Linear(pixel_dim, width, bias=False)
        self.pixel_norm = nn.LayerNorm(width, bias=for_pixels)
        self.word_key = nn.Linear(word_dim, width, bias=False)
        self.word_norm = nn.LayerNorm(width, bias=for_words)
        self.pixel_update = Update(word_dim, width, pixel_dim, self.heads, gated=reads.pixels) if for_pixels else None
        self.word_update = Update(pixel_dim, width, word_dim, self.heads) if for_words else None

    def forward(
        self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> FusionOutput:
        """See the class."""
        check_fusion_input("WPA", pixels, size, words, word_mask, (self.pixel_dim, self.word_dim))
        pixel_keys = split_heads(self.pixel_norm(self.pixel_key(pixels)), self.heads)
        word_keys = split_heads(self.word_norm(self.word_key(words)), self.heads)
        new_pixels, pyramid, new_words, explanation = pixels, pixels, words, {}
        if self.pixel_update is not None:
            update, weights = self.pixel_update(pixel_keys, word_keys, words, word_mask, explain)
            update = pixels * update
            pyramid = pixels + update
            if self.pixel_update.gate is not None:
                new_pixels = pixels + self.pixel_update.admit(update)
            if weights is not None:
                explanation["word_pixel_attention"] = weights.transpose(1, 2).unflatten(2, size)
        if self.word_update is not None:
            update, weights = self.word_update(word_keys, pixel_keys, pixels, explain=explain)
            new_words = words + self.word_update.admit(update) * word_mask[..., None].to(update.dtype)
            if weights is not None:
                explanation["pixel_word_attention"] = weights.unflatten(2, size)
        return FusionOutput(new_pixels, new_words, pyramid, new_words, explanation)
