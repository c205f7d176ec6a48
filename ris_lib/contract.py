"""What one part of a model hands to the next.

The house has one model class and five kinds of parts. This page is the only thing that they share::

    Batch -> encoder (with fusion blocks) -> Encoded -> decoder -> PixelFeatures -> head -> MaskOutput -> objectives

Letters for dimensions, everywhere: ``I`` images, ``S`` sentences, ``L`` tokens, ``C``/``D``/``E`` channels, ``h, w`` a
feature map's height and width, ``N = h * w``. An image with several sentences is encoded once; ``image_index`` (S,)
says to which image a sentence belongs.

Source: our decision. The shapes were walked through for LAVT, CRIS, AlignFormer, CoupAlign, EAVL and MagNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ris_lib.data.batch import Batch

#: The names that ``MaskOutput.explanation`` may hold, with the axis that sums to one where there is a softmax.
EXPLANATIONS = {
    "query_masks": "(S, Nq, h, w) probability of each query's mask at each pixel",
    "query_scores": "(S, Nq) weight of each query in the final mask; sums to 1 over Nq where it is a softmax",
    "query_word_attention": "(S, Nq, L) attention of each query over the words; sums to 1 over L",
    "word_pixel_attention": "list of (S, L, h, w), one per fusion: per pixel over the words; sums to 1 over L",
    "pixel_word_attention": "list of (S, L, h, w), one per fusion: per word over the pixels; sums to 1 over h, w",
    "centre_states": "(S, steps, C) the centre embedding after each decoder step",
}


@dataclass
class FeatureMap:
    """A feature map that knows whether words have touched it.

    Args:
        values: ``(I, C, h, w)`` where no word has touched the map, else ``(S, C, h, w)``.
        stride: Input pixels per map pixel.
        per_sentence: True for ``(S, ...)``.
    """

    values: Tensor
    stride: int
    per_sentence: bool = False

    def for_sentences(self, image_index: Tensor) -> Tensor:
        """The map once per sentence, ``(S, C, h, w)``; maps that are per sentence already are returned as they are."""
        return self.values if self.per_sentence else self.values[image_index]


@dataclass
class FusionOutput:
    """What a fusion block returns.

    Args:
        pixels: ``(S, N, C)``, what the next image stage gets.
        words: ``(S, L, D)``, what the next text group gets.
        pyramid: ``(S, N, C)``, the map for the decoder, after the block's own output norm if it has one.
        decoder_words: ``(S, L, D)``, the words for the decoder (LGFormer hands over its ungated residual).
        explanation: Filled when ``explain`` was asked for, with single maps under the names of ``EXPLANATIONS``.
    """

    pixels: Tensor
    words: Tensor
    pyramid: Tensor
    decoder_words: Tensor
    explanation: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Reads:
    """What the rest of a model reads of one fusion block. What nobody reads is not built: it could never learn.

    Args:
        pixels: The next image stage reads ``FusionOutput.pixels``. False at the last stage.
        words: A later text group or fusion block, or whoever reads the final words, reads ``FusionOutput.words``.
        pyramid: The decoder reads this stage's map.
        decoder_words: The decoder, the head or an objective reads ``FusionOutput.decoder_words``. True at the last
            stage only.
    """

    pixels: bool = True
    words: bool = True
    pyramid: bool = True
    decoder_words: bool = True

    def towards(self, direction: str) -> Reads:
        """What is left where only one side may change.

        Args:
            direction: ``"both"``, ``"to_pixels"`` (words stay as they came) or ``"to_words"`` (pixels do).

        Raises:
            ValueError: Another direction.

        Example:
            >>> Reads().towards("to_pixels")
            Reads(pixels=True, words=False, pyramid=True, decoder_words=False)
        """
        if direction not in ("both", "to_pixels", "to_words"):
            raise ValueError(f"direction={direction!r}; expected 'both', 'to_pixels' or 'to_words'.")
        pixels, words = direction != "to_words", direction != "to_pixels"
        return Reads(
            self.pixels and pixels, self.words and words, self.pyramid and pixels, self.decoder_words and words
        )


#: A block whose whole output is read.
ALL_READ = Reads()


@dataclass
class Encoded:
    """What the encoder returns.

    Args:
        pyramid: Four maps, fine to coarse.
        words: ``(S, L, D)`` final word features.
        sentence: ``(S, E)`` read-out of the final words: CLIP's projected end token, otherwise the mean of the content
            words.
        word_mask: ``(S, L)`` bool, True = real token, False = padding.
        word_index: ``(S, L)`` which word of the sentence a token belongs to; -1 for special and padding tokens.
        image_index: ``(S,)`` the image of each sentence.
        detail: A text-free stride-2 map (tiny models) or None.
        explanation: Lists of maps under the names of ``EXPLANATIONS``, one entry per fusion step.
        image_map: The image tower's last map as the tower left it, before the fusion block of its stage; None where
            nobody made one.
    """

    pyramid: list[FeatureMap]
    words: Tensor
    sentence: Tensor
    word_mask: Tensor
    word_index: Tensor
    image_index: Tensor
    detail: FeatureMap | None = None
    explanation: dict[str, list[Tensor]] = field(default_factory=dict)
    image_map: FeatureMap | None = None


@dataclass
class PixelFeatures:
    """What a decoder returns.

    Args:
        finest: ``(S, C, h, w)`` at ``stride``.
        stride: Input pixels per pixel of ``finest``: the decoder's (4), or 2 after the detail merge.
        memory: Coarser maps, ``(S, C_k, h_k, w_k)``, coarse to fine; may be empty.
        context: ``(S, C, h, w)``, the map that a query generator reads (stride 16 where there is one), or None.
        explanation: As in ``Encoded``.
    """

    finest: Tensor
    stride: int
    memory: list[Tensor] = field(default_factory=list)
    context: Tensor | None = None
    explanation: dict[str, list[Tensor]] = field(default_factory=dict)


@dataclass
class MaskOutput:
    """What a head, and so the model, returns.

    Args:
        logits: ``(S, 1, h, w)`` before the sigmoid, on the head's grid.
        aux_logits: Deep supervision, each ``(S, 1, h_k, w_k)``; the final logits are not among them.
        centre: ``(S, C)`` what the mask was made from, in the space of ``PixelFeatures.finest``, or None.
        query_logits: ``(S, Nq, h, w)`` one mask per query, or None.
        class_logits: ``(S, 2, h, w)`` background and foreground, where a head has two classes, or None.
        explanation: What pictures need, under the names of ``EXPLANATIONS``; empty unless ``explain=True``.
        losses: Unweighted, normalised scalars by name; empty unless ``with_losses=True``.
        loss: The weighted sum of ``losses``, or None.
    """

    logits: Tensor
    aux_logits: list[Tensor] = field(default_factory=list)
    centre: Tensor | None = None
    query_logits: Tensor | None = None
    class_logits: Tensor | None = None
    explanation: dict[str, Tensor | list[Tensor]] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)
    loss: Tensor | None = None


@dataclass
class ModelState:
    """Everything that an objective may read.

    Args:
        encoded: Output of the encoder.
        features: Output of the decoder, after the detail merge where there is one.
        output: Output of the head.
        encode_text: The text tower alone, ``(token_ids (S, L), word_mask (S, L), hidden=None, stand_in=None) -> words
            (S, L, D)``. ``hidden`` (S, L) bool hides tokens behind [MASK], or behind the vector ``stand_in`` (D,) where
            the tokeniser has no [MASK]: mask grounding's second pass.
        encode: The whole encoder, ``(batch, hidden=None, stand_in=None) -> Encoded``: a second pass in which neither
            the text tower nor any fusion block ever sees the hidden tokens.
    """

    encoded: Encoded
    features: PixelFeatures
    output: MaskOutput
    encode_text: Callable[..., Tensor]
    encode: Callable[..., Encoded] | None = None


class LossTerm(NamedTuple):
    """A loss before normalisation: ``sum`` over elements and their ``count``.

    The model divides by the count over *all* processes, so that N processes equal one process with the whole batch. A
    count of zero (nothing to compare in this batch) gives a loss of zero, never NaN.
    """

    sum: Tensor
    count: Tensor


@dataclass(frozen=True)
class Dims:
    """The channel counts of one model, for objectives with parameters of their own.

    Args:
        pyramid: Channels of the four maps, fine to coarse.
        finest: Channels of ``PixelFeatures.finest`` as the head gets it.
        memory: Channels of the coarser maps, coarse to fine.
        context: Channels of the context map, or None.
        word: Channels of the words, D.
        sentence: Channels of the sentence, E.
        vocabulary_size: Number of token ids.
        mask_id: Token id of [MASK], or None where the tokeniser has none (CLIP).
        centre: The head makes ``MaskOutput.centre`` from the sentence. (A fixed kernel is the same for all.)
    """

    pyramid: tuple[int, ...]
    finest: int
    memory: tuple[int, ...]
    context: int | None
    word: int
    sentence: int
    vocabulary_size: int
    mask_id: int | None = None
    centre: bool = False


def check_word_mask(word_mask: Tensor, shape: Sequence[int], part: str) -> None:
    """Refuse a word mask that would be silently wrong.

    Args:
        word_mask: What came.
        shape: The expected ``(S, L)``.
        part: Name of the part that asks, for the message.

    Raises:
        ValueError: The mask is not boolean, has another shape, or hides every token of a sentence.
    """
    if word_mask.dtype != torch.bool:
        raise ValueError(f"{part}: word_mask must be bool (True = real word), got {word_mask.dtype}; use .bool().")
    if tuple(word_mask.shape) != tuple(shape):
        raise ValueError(
            f"{part}: word_mask has shape {tuple(word_mask.shape)}, expected {tuple(shape)} like the words."
        )
    if not bool(word_mask.any(dim=1).all()):
        raise ValueError(f"{part}: a row of word_mask is all False; every sentence needs at least one real token.")


__all__ = [
    "ALL_READ",
    "EXPLANATIONS",
    "Batch",
    "Dims",
    "Encoded",
    "FeatureMap",
    "FusionOutput",
    "LossTerm",
    "MaskOutput",
    "ModelState",
    "PixelFeatures",
    "Reads",
    "check_word_mask",
]
