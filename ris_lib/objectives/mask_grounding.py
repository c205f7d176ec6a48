"""Mask grounding: hide words of the sentence, and have the model name them from the other words, picture and target.

To name the hidden word of "the [...] behind the grapes" one must know what the segment shows. A model that can has
learned which word belongs to which object, and its encoders have learned it with it. Only training needs this part.

::

    ids -> some words become [MASK] ┐             words -> e_1 ... e_L                       ┐
    image ──────────────────────────┴> encoder ─> last image map -> 4 x 4 means -> v_1 ... v_16 ├> transformer -> names
    target -> its centre ────────────────────────────────────────────────────────> s         ┘

Words are hidden *before* the encoder, in a second pass of it: afterwards their neighbours' vectors, and every pixel
that a fusion block has told the sentence, would give them away.

Source: MagNet (Chng et al. 2024). Published are the idea and the size of the transformer (512 wide, 8 layers of 8
heads, feed-forward 3072, dropout 0.1; training file of an early version, June 2023); its training code never was. The
visual token LN(Linear(feature) + Linear(place)), the order of the sequence and the cross-entropy at hidden positions
alone are those of the ancestor that its authors name, ovr-cnn. The centre as the segment's code is the method as
remembered, not verified. The class says what is ours.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import SelfAttentionLayer
from ris_lib.contract import Batch, Dims, Encoded, LossTerm, ModelState, check_word_mask
from ris_lib.layers import at_least_float32, coordinates
from ris_lib.objectives.hidden_words import choose_hidden, choose_sentences
from ris_lib.positions import sine_1d

#: How a target is told to the transformer, and in how many numbers of its mask.
MASK_CODES = {"centre": 2, "box": 5, "region": 2, "none": 0}


def segment_code(masks: Tensor, kind: str) -> Tensor:
    """Where a segment lies, in a few numbers between 0 and 1 (shares of the picture's height and width).

    Args:
        masks: ``(S, H, W)`` bool.
        kind: ``"centre"`` and ``"region"``: (y, x) of the mean of its pixels; ``"box"``: these, height and width of its
            box, its area.

    Returns:
        ``(S, 2)`` or ``(S, 5)`` float32; zeros for an empty mask.

    Example:
        >>> mask = torch.tensor([[[False, False], [False, True]]])
        >>> segment_code(mask, "centre")
        tensor([[0.7500, 0.7500]])
        >>> segment_code(mask, "box")
        tensor([[0.7500, 0.7500, 0.5000, 0.5000, 0.2500]])
    """
    area = masks.sum(dim=(1, 2)).float()
    centres, extents = [], []
    for dim in (1, 2):
        length = masks.shape[dim]
        place = torch.arange(length, device=masks.device)
        pixels = masks.sum(dim=3 - dim)
        centres.append(pixels.float() @ ((place + 0.5) / length) / area.clamp(min=1))
        last = torch.where(pixels > 0, place, -1).amax(dim=1)
        first = torch.where(pixels > 0, place, length).amin(dim=1)
        extents.append((last - first + 1).clamp(min=0) / length)
    box = [*extents, area / (masks.shape[1] * masks.shape[2])] if kind == "box" else []
    return torch.stack([*centres, *box], dim=1)


def mean_inside(values: Tensor, masks: Tensor) -> Tensor:
    """The mean of a map inside masks; a pixel of the map counts with the share of it that the mask covers.

    Args:
        values: ``(S, C, h, w)``.
        masks: ``(S, H, W)`` bool.

    Returns:
        ``(S, C)``; zeros for an empty mask.

    Example:
        >>> mask = torch.tensor([[[False, False, True, True], [False, False, False, True]]])
        >>> mean_inside(torch.tensor([[[[5.0, 2.0]]]]), mask)
        tensor([[2.]])
    """
    share = F.adaptive_avg_pool2d(masks[:, None].to(values.dtype), (values.shape[2], values.shape[3]))
    total = share.sum(dim=(2, 3))
    return (values * share).sum(dim=(2, 3)) / total.where(total > 0, 1.0)


class GroundingLayer(SelfAttentionLayer):
    """The library's pre-norm transformer layer, with dropout of what either half adds.

    Args:
        dim: Channels.
        heads: Heads of the attention.
        expansion: Width of the feed-forward network as a multiple of ``dim``.
        dropout: Share of the added values that are dropped in training.

    Shape:
        ``(B, n, dim)``, mask ``(B, n)`` bool (True = real) -> ``(B, n, dim)``.

    Example:
        >>> GroundingLayer(8, 2, 2, dropout=0.1)(torch.zeros(1, 3, 8), torch.tensor([[True, True, False]])).shape
        torch.Size([1, 3, 8])
    """

    def __init__(self, dim: int, heads: int, expansion: int, dropout: float):
        super().__init__(dim, heads, expansion)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask=mask)[0])
        return x + self.dropout(self.forward_net(self.forward_norm(x)))


class MaskGrounding(nn.Module):
    """The loss ``mask_grounding``: cross-entropy of the hidden words, summed over them; the count is their number.

    Published: the sizes of the transformer, dropout, the weight 1.0. From the ancestor: the form of the visual tokens.
    Not verified: the centre as code, lifted by two layers with ReLU. Ours: which words are hidden (see
    ``choose_hidden``), always behind [MASK]; a second pass of the whole encoder, so that the segmentation keeps seeing
    the whole sentence; 4 x 4 visual tokens; pre-norm layers with a norm after the last, no dropout of attention
    weights; sine positions; gradients flow into both towers.

    Why the whole encoder, which makes a training step dearer: with the picture of the main pass, which has met the
    whole sentence, the answer can be read out of the pixels. Measured on pictures of noise with words drawn at random:
    ``baseline_tiny`` named every hidden word after 150 steps; with the second pass it stays at chance, as it must.

    Args:
        dims: Channel counts of the model.
        width: Channels of the transformer.
        layers: Number of its layers.
        heads: Heads of each; must divide ``width``.
        feed_forward: Width of its feed-forward networks; a multiple of ``width``.
        visual_tokens: Number of means of the image tower's last map, a square number: 16 is 4 x 4.
        mask_code: What the transformer is told of the target: ``"centre"``, ``"box"`` (centre, size, area),
            ``"region"`` (centre, and the mean of the map inside the target) or ``"none"``. The segment's token of an
            empty mask is hidden from attention, as if nothing were told.
        image: False leaves the picture out.
        share: Largest share of the words to hide.
        dropout: In training, of the visual tokens and of what each half of a layer adds.
        most: In training, at most so many sentences of each picture are asked, drawn anew each time; None = all. The
            second pass of the encoder is what makes a step dear.

    Attributes:
        stand_in: ``(dims.word,)`` learned vector in place of hidden tokens, None where the tokeniser has a [MASK].

    Shape:
        ``ModelState`` and a ``Batch``, with masks unless ``mask_code="none"`` -> ``{"mask_grounding": LossTerm}``, in
        float32 also within autocast.

    Raises:
        ValueError: Sizes that do not divide, no layer, another mask code, a share outside (0, 1]; words or maps of
            other sizes than ``dims`` says; or the batch has no masks, or the state no ``encode``.

    Example:
        >>> dims = Dims(pyramid=(8, 8, 8, 8), finest=4, memory=(), context=None, word=6, sentence=6, vocabulary_size=9,
        ...             mask_id=2)
        >>> objective = MaskGrounding(dims, width=32, layers=1, heads=4, feed_forward=64)
        >>> objective.vocabulary[-1].out_features, objective.stand_in
        (9, None)
    """

    #: Its losses by name, and their weights where a recipe does not say otherwise.
    default_weights: ClassVar[dict[str, float]] = {"mask_grounding": 1.0}
    #: What it reads in ``MaskOutput`` beside the logits, and whether ``words`` or ``sentence`` of ``Encoded``. Nothing:
    #: its words come from a pass of its own, so that it never counts as a reason to listen.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        dims: Dims,
        width: int = 512,
        layers: int = 8,
        heads: int = 8,
        feed_forward: int = 3072,
        visual_tokens: int = 16,
        mask_code: str = "centre",
        image: bool = True,
        share: float = 0.4,
        dropout: float = 0.1,
        most: int | None = None,
    ):
        super().__init__()
        if most is not None and most < 1:
            raise ValueError(f"MaskGrounding: most={most}; expected at least one sentence of each picture, or None.")
        if mask_code not in MASK_CODES:
            raise ValueError(f"MaskGrounding: mask_code={mask_code!r}; expected one of {', '.join(MASK_CODES)}.")
        if feed_forward % width:
            raise ValueError(f"MaskGrounding: feed_forward={feed_forward} is not a multiple of width={width}.")
        if layers < 1:
            raise ValueError(f"MaskGrounding: layers={layers}; expected at least one, or no word meets another.")
        if visual_tokens < 1 or math.isqrt(visual_tokens) ** 2 != visual_tokens:
            raise ValueError(f"MaskGrounding: visual_tokens={visual_tokens}; expected a square number such as 16.")
        if not 0 < share <= 1:
            raise ValueError(f"MaskGrounding: share={share}; expected a share of the words in (0, 1].")
        self.dims, self.mask_code, self.image, self.share, self.most = dims, mask_code, image, share, most
        self.side = math.isqrt(visual_tokens)
        self.stand_in = nn.Parameter(0.02 * torch.randn(dims.word)) if dims.mask_id is None else None
        self.words = nn.Linear(dims.word, width)
        #: One vector for words, one for visual tokens.
        self.kinds = nn.Parameter(0.02 * torch.randn(1 + image, width))
        if mask_code == "region" and not image:
            raise ValueError("MaskGrounding: mask_code='region' reads the picture; take image=True or another code.")
        if image:
            self.pixels = nn.Linear(dims.pyramid[3], width)
            self.places = nn.Linear(2, width)
            self.visual_norm = nn.LayerNorm(width)
        if mask_code != "none":
            self.segment = nn.Sequential(
                nn.Linear(MASK_CODES[mask_code], width), nn.ReLU(inplace=True), nn.Linear(width, width)
            )
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(GroundingLayer(width, heads, feed_forward // width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.vocabulary = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, dims.vocabulary_size)
        )

    def forward(self, state: ModelState, batch: Batch) -> dict[str, LossTerm]:
        """See the class."""
        if self.most is not None and self.training:
            batch = batch.take(choose_sentences(batch.image_index, self.most))
        hidden = choose_hidden(batch.word_index, batch.word_mask, self.share)
        # The vocabulary is large: only what the loss looks at is lifted to it.
        logits = self.vocabulary(self._read(state, batch, hidden)[hidden])
        with torch.autocast(logits.device.type, enabled=False):
            total = F.cross_entropy(at_least_float32(logits), batch.token_ids[hidden], reduction="sum")
        return {"mask_grounding": LossTerm(total, hidden.sum().to(total.dtype))}

    def predict(self, state: ModelState, batch: Batch, hidden: Tensor) -> Tensor:
        """What the words may be, for pictures; in evaluation mode, and without gradients if the caller says so.

        Args:
            state: What the model computed for the batch.
            batch: Its masks are told to the transformer as ``mask_code`` says; predicted ones may stand in their place.
            hidden: ``(S, L)`` bool, True = hide this token.

        Returns:
            ``(S, L, vocabulary)`` float32 log-probabilities, for hidden and other tokens alike.

        Raises:
            ValueError: ``hidden`` is not boolean, has another shape or hides padding.
        """
        if hidden.dtype != torch.bool or hidden.shape != batch.word_mask.shape:
            raise ValueError(
                f"MaskGrounding: hidden has shape {tuple(hidden.shape)} and type {hidden.dtype}; expected "
                f"{tuple(batch.word_mask.shape)} bool, True = hide this token."
            )
        if bool((hidden & ~batch.word_mask).any()):
            raise ValueError("MaskGrounding: hidden is True for padding; hide real tokens only (word_mask).")
        return at_least_float32(self.vocabulary(self._read(state, batch, hidden))).log_softmax(dim=-1)

    def _read(self, state: ModelState, batch: Batch, hidden: Tensor) -> Tensor:
        """States ``(S, L, width)`` of the tokens after the transformer, some of them hidden."""
        if self.image:
            if state.encode is None:
                raise ValueError("MaskGrounding: the state has no encode, which image=True needs for its second pass.")
            encoded = state.encode(batch, hidden=hidden, stand_in=self.stand_in)
            words = encoded.words
        else:
            words = state.encode_text(batch.token_ids, batch.word_mask, hidden=hidden, stand_in=self.stand_in)
        if words.shape[-1] != self.dims.word:
            raise ValueError(
                f"MaskGrounding: words have shape {tuple(words.shape)}; expected (S, L, {self.dims.word}). Build it "
                "with the Dims of this model."
            )
        check_word_mask(batch.word_mask, words.shape[:2], "MaskGrounding")
        count, length = words.shape[:2]
        words = self.words(words)
        tokens = [words + sine_1d(length, words.shape[2], like=self.kinds) + self.kinds[0]]
        real = [batch.word_mask]
        if self.image:
            seen = self._map(encoded, batch)
            tokens.append(self._visual_tokens(seen))
            real.append(real[0].new_ones(count, self.side**2))
        if self.mask_code != "none":
            if batch.masks is None:
                raise ValueError(
                    "MaskGrounding: the batch has no masks; collate it with_targets=True, or take mask_code='none'."
                )
            segment = self.segment(segment_code(batch.masks, self.mask_code).to(self.kinds.dtype))
            if self.mask_code == "region":
                segment = segment + self.pixels(mean_inside(seen, batch.masks))
            tokens.append(segment[:, None])
            real.append(batch.masks.flatten(1).any(dim=1, keepdim=True))
        x, mask = torch.cat(tokens, dim=1), torch.cat(real, dim=1)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x[:, :length])

    def _map(self, encoded: Encoded, batch: Batch) -> Tensor:
        """The image tower's last map for every sentence, ``(S, C, h, w)``."""
        if encoded.image_map is None or encoded.image_map.values.shape[1] != self.dims.pyramid[3]:
            came = None if encoded.image_map is None else tuple(encoded.image_map.values.shape)
            raise ValueError(
                f"MaskGrounding: the image tower's last map has shape {came}; expected {self.dims.pyramid[3]} "
                "channels. Build it with the Dims of this model."
            )
        return encoded.image_map.for_sentences(batch.image_index)

    def _visual_tokens(self, seen: Tensor) -> Tensor:
        """Means of the map ``(S, C, h, w)`` with their places, ``(S, side * side, width)``."""
        size = (self.side, self.side)
        pixels = self.pixels(F.adaptive_avg_pool2d(seen, size).flatten(2).transpose(1, 2))
        # From (-1, 1) to (0, 1): the scale of the segment's code.
        places = self.places((coordinates(size, like=pixels) + 1) / 2)
        return self.dropout(self.visual_norm(pixels + places)) + self.kinds[1]
