"""The language side of MagNet's alignment module: every word looks at the pixels.

::

    A = softmax over pixels(W_q l  IN(W_k x)^T / sqrt(D)),  g = norm(W_o (A IN(W_v x)))
    residual = GELU(W_m (GELU(W_l l) * g))

Source: the language network of MagNet's released code (yxchng/mask-grounding), numerically equal to it with
``form="released"``. Two things are amiss there. Its word mask is BERT's additive one (0 for real words, -10000 for
padding) where the block expects 1 and 0: it multiplies the queries, so real words ask for nothing and look everywhere
alike, while padding looks at one pixel. And its last norm runs over the words of a sentence, padding included, so that
padding reaches the real words even with the mask that was meant. ``form="ours"`` normalises each word by itself.
Biases that cancel are not built: those of keys and values go with the mean over pixels, and the output's where its norm
takes a mean over words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ris_lib.attention import BLOCKED, attend, split_heads
from ris_lib.instance_norm import InstanceNorm, check_positions
from ris_lib.layers import at_least_float32

#: Name for messages.
PART = "CAM, language side"
#: Added to variances, as in torch's norms.
EPS = 1e-5
#: The forms of the language side.
FORMS = ("ours", "released", "fixed01")


class PixelsToWords(nn.Module):
    """For each word, the pixels that it speaks of, joined with what the word says.

    Args:
        word_dim: Channels of the words, D.
        pixel_dim: Channels of the pixels, C.
        heads: Must divide ``word_dim``. The scale uses all of D, whatever the number of heads.
        form: ``"ours"``: each word for itself, the last norm over its channels. ``"released"``: what the released code
            computes, queries times BERT's additive mask. ``"fixed01"``: queries times the 0/1 mask that was meant. The
            last norm of the two latter runs over the words of a sentence, nothing learned.

    Shape:
        words ``(S, L, D)``, pixels ``(S, N, C)``, word_mask ``(S, L)`` bool, **True = real word** -> residual ``(S, L,
        D)`` and, with ``explain``, the weights ``(S, L, N)``, averaged over heads, which sum to 1 over N; else None.
        The rows of padding hold numbers that nobody may read.

    Raises:
        ValueError: ``heads`` does not divide ``word_dim``, another form, a single pixel (its normalised value would be
            0), or a single token where the last norm runs over tokens.

    Example:
        >>> side = PixelsToWords(word_dim=6, pixel_dim=8)
        >>> residual, _ = side(torch.zeros(1, 3, 6), torch.zeros(1, 4, 8), torch.ones(1, 3, dtype=torch.bool))
        >>> residual.shape
        torch.Size([1, 3, 6])
    """

    def __init__(self, word_dim: int, pixel_dim: int, heads: int = 1, form: str = "ours"):
        super().__init__()
        if word_dim % heads:
            raise ValueError(f"CAM: word_dim={word_dim} is not a multiple of heads={heads}.")
        if form not in FORMS:
            raise ValueError(f"CAM: language_side={form!r} is unknown; expected one of {', '.join(map(repr, FORMS))}.")
        self.heads = heads
        self.form = form
        self.scale = word_dim**-0.5
        self.query = nn.Linear(word_dim, word_dim)
        self.key = nn.Linear(pixel_dim, word_dim, bias=False)
        self.value = nn.Linear(pixel_dim, word_dim, bias=False)
        self.out = nn.Linear(word_dim, word_dim, bias=form == "ours")
        self.out_norm = nn.LayerNorm(word_dim) if form == "ours" else InstanceNorm(PART, "use language_side='ours'")
        self.look = nn.Linear(word_dim, word_dim)
        self.mix = nn.Linear(word_dim, word_dim)
        self.activation = nn.GELU()

    def gather(
        self, words: Tensor, pixels: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The attention alone, g of the formula, ``(S, L, D)``; and the weights, see the class.

        The softmax runs over thousands of pixels, and queries may be 10000 times as large as others: float32 at least.

        No key or value is normalised one by one. Pixels are centred before they are projected, which takes the mean
        away, and the factor that makes the variance 1 is the same for all pixels: it can stand at the few queries, and
        at the few results, instead of at thousands of keys and values.
        """
        check_positions(PART, pixels, "use a larger image")
        centred = pixels - pixels.mean(dim=1, keepdim=True)
        key, value = (at_least_float32(project(centred)) for project in (self.key, self.value))
        key_factor, value_factor = ((x.square().mean(dim=1, keepdim=True) + EPS).rsqrt() for x in (key, value))
        query = at_least_float32(self.query(words)) * self._factor(word_mask)
        with torch.autocast(words.device.type, enabled=False):
            mixed, weights = attend(
                split_heads(query * key_factor, self.heads),
                split_heads(key, self.heads),
                split_heads(value, self.heads),
                scale=self.scale,
                explain=explain,
            )
        mixed = mixed.transpose(1, 2).flatten(2) * value_factor
        gathered = self.out_norm(self.out(mixed.to(words.dtype)))
        return gathered, None if weights is None else weights.mean(dim=1)

    def forward(
        self, words: Tensor, pixels: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        gathered, weights = self.gather(words, pixels, word_mask, explain)
        return self.activation(self.mix(self.activation(self.look(words)) * gathered)), weights

    def _factor(self, word_mask: Tensor) -> Tensor | float:
        """What the queries are multiplied by, ``(S, L, 1)``."""
        if self.form == "ours":
            return 1.0
        real = word_mask[..., None]
        return real if self.form == "fixed01" else BLOCKED * ~real
