"""Cross-modal alignment: pixels of the target gather, away from the other pixels and towards the sentence.

With L2-normalised pixel features P_i inside and N_j outside of the target, their means P and N, and the sentence T::

    positive   -mean_i log  e^(P_i.P / t1) / (e^(P_i.P / t1) + sum_j e^(P_i.N_j / t1))
    negative   -mean_j log  e^(N_j.N / t2) / (e^(N_j.N / t2) + sum_i e^(N_j.P_i / t2))
    language   -mean_i log  e^(P_i.T / t3) / (e^(P_i.T / t3) + sum_j e^(N_j.T / t3))

The negatives are pixels of the same image: its other objects, of the same kind too, which is the point. Other sentences
of the batch are no negatives; they may mean the same object.

Source: MagNet (Chng et al. 2024). That there are three terms, their temperatures and weights are published: launch
scripts of June 2023, of an early MagNet that its author then called ELIA. The formulas are the method as remembered
while the paper's text was out of reach: their structure, not verified. Everything else is our decision and marked so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ris_lib.attention import additive_mask
from ris_lib.contract import Batch, Dims, Encoded, LossTerm, ModelState, check_word_mask
from ris_lib.layers import at_least_float32, masked_mean
from ris_lib.objectives.pixel_samples import sample_pixels, targets_on_grid

#: Similarities held at once, in numbers: 32 MiB in float32.
PAIRS = 2**23
#: Features shorter than this are not stretched to length one: the gradient would be stretched with them.
SHORTEST = 1e-3


def attraction(own: Tensor, others: Tensor) -> Tensor:
    """What it costs that a pixel is drawn to others beside what it should be drawn to.

    Args:
        own: ``(...)`` scaled similarity a with what the pixel should be near.
        others: ``(...)`` logarithm of ``sum e^b`` over the scaled similarities b with what it should be far from.

    Returns:
        ``(...)`` ``-log(e^a / (e^a + sum e^b))``, at least 0.

    Example:
        >>> attraction(torch.zeros(1), torch.zeros(1))  # as near to one wrong pixel as to the right one: log 2
        tensor([0.6931])
    """
    return F.softplus(others - own)


def pixel_terms(
    inside: Tensor, outside: Tensor, inside_real: Tensor, outside_real: Tensor, temperatures: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """The positive and the negative term of each sentence.

    Args:
        inside: ``(n, k, C)`` pixels of the target, of length one.
        outside: ``(n, m, C)`` other pixels, of length one.
        inside_real: ``(n, k)`` bool, which of them count; at least one in each row.
        outside_real: ``(n, m)`` bool.
        temperatures: Of the positive and of the negative term.

    Returns:
        Two tensors ``(n,)``.

    Example:
        >>> inside, outside = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
        >>> real = torch.tensor([[True]])
        >>> pixel_terms(inside, outside, real, real, (1.0, 1.0))[0]  # log(1 + e^-1)
        tensor([0.3133])
    """
    pairs = inside @ outside.transpose(1, 2)
    terms = []
    for pixels, real, others_real, temperature, dim in (
        (inside, inside_real, outside_real[:, None, :], temperatures[0], 2),
        (outside, outside_real, inside_real[:, :, None], temperatures[1], 1),
    ):
        middle = F.normalize(masked_mean(pixels, real), dim=-1, eps=SHORTEST)
        own = torch.einsum("nkc,nc->nk", pixels, middle) / temperature
        others = torch.logsumexp(pairs / temperature + additive_mask(others_real, pairs.dtype), dim=dim)
        terms.append(masked_mean(attraction(own, others), real))
    return terms[0], terms[1]


class CrossModalAlignment(nn.Module):
    """The losses ``cal_positive``, ``cal_negative`` and ``cal_language``.

    Published: the three terms, their temperatures 0.1, 0.1, 0.3, their weights 0.5 each, and a projection of the words
    to the channels of the stride-4 mask features. Not verified: the formulas. Ours: the sentence is the mean of all
    real tokens, special ones included; means are normalised again; the target is resized by nearest neighbour; at most
    ``limit`` pixels of each side are drawn, and the means are theirs; a target that is empty or full on the grid is
    left out.

    Args:
        dims: Channel counts of the model.
        width: Channels in which pixels and sentence are compared; None = those of the pixel features, which are then
            compared as they are. Otherwise the pixels have a learned projection of their own.
        temperatures: Of the positive, the negative and the language term.
        limit: Most pixels drawn from either side of a target. 1024 of each are a million similarities a sentence, so
            they are computed for some sentences at a time, and again in the backward pass: measured with 256 channels,
            64 sentences take 0.5 GiB forward and 0.9 GiB with their gradients (1.3 and 1.7 if all were kept).

    Shape:
        ``ModelState`` and a ``Batch`` with masks -> three of ``LossTerm``: sums over sentences of means over pixels,
        and the number of sentences whose target is neither empty nor full on the grid. If there are none: exactly 0
        and 0.
        Computed in float32 also within autocast.

    Raises:
        ValueError: Temperatures that are not three positive numbers, a limit below 1; features or words of other sizes
            than ``dims`` says; or the batch has no masks.

    Example:
        >>> dims = Dims(pyramid=(8, 8, 8, 8), finest=4, memory=(), context=None, word=6, sentence=6, vocabulary_size=9)
        >>> sum(p.numel() for p in CrossModalAlignment(dims).parameters())  # words to pixel channels: 6 * 4 + 4
        28
    """

    #: Its losses by name, and their weights where a recipe does not say otherwise.
    default_weights: ClassVar[dict[str, float]] = {"cal_positive": 0.5, "cal_negative": 0.5, "cal_language": 0.5}
    #: What it reads in ``MaskOutput`` beside the logits, and whether ``words`` or ``sentence`` of ``Encoded``.
    reads: ClassVar[frozenset[str]] = frozenset({"words"})

    def __init__(
        self,
        dims: Dims,
        width: int | None = None,
        temperatures: Sequence[float] = (0.1, 0.1, 0.3),
        limit: int = 1024,
    ):
        super().__init__()
        if len(temperatures) != 3 or min(temperatures) <= 0:
            raise ValueError(
                f"CrossModalAlignment: temperatures={tuple(temperatures)}; expected three positive numbers (positive, "
                "negative, language)."
            )
        if limit < 1:
            raise ValueError(f"CrossModalAlignment: limit={limit}; expected at least one pixel of each side.")
        self.dims, self.temperatures, self.limit = dims, tuple(temperatures), limit
        self.sentence = nn.Linear(dims.word, width or dims.finest)
        self.pixels = nn.Identity() if width is None else nn.Linear(dims.finest, width)

    def forward(self, state: ModelState, batch: Batch) -> dict[str, LossTerm]:
        """See the class."""
        if batch.masks is None:
            raise ValueError("CrossModalAlignment: the batch has no masks; collate it with_targets=True to get losses.")
        finest = self._checked(state.features.finest)
        with torch.autocast(finest.device.type, enabled=False):
            target = targets_on_grid(batch.masks, finest.shape[-2:])
            usable = target.any(dim=1) & ~target.all(dim=1)
            drawn, real = (x[usable] for x in self._draw(finest, target))
            (inside, outside), (inside_real, outside_real) = drawn.unbind(1), real.unbind(1)
            sentence = self._sentence(state.encoded)[usable]
            positive, negative = self._pixel_terms(inside, outside, inside_real, outside_real)
            towards, away = ((x @ sentence[:, :, None])[..., 0] / self.temperatures[2] for x in (inside, outside))
            others = torch.logsumexp(away + additive_mask(outside_real, away.dtype), dim=1, keepdim=True)
            language = masked_mean(attraction(towards, others), inside_real)
            count = usable.sum().to(language.dtype)
        terms = {"cal_positive": positive, "cal_negative": negative, "cal_language": language}
        return {name: LossTerm(term.sum(), count) for name, term in terms.items()}

    @torch.no_grad()
    def similarity_map(self, state: ModelState) -> Tensor:
        """Cosine of each pixel with its sentence, for pictures.

        Args:
            state: What the model computed.

        Returns:
            ``(S, h, w)`` float32 in [-1, 1], on the grid of ``PixelFeatures.finest``.
        """
        finest = self._checked(state.features.finest)
        with torch.autocast(finest.device.type, enabled=False):
            pixels = self._normalised(self.pixels(at_least_float32(finest).permute(0, 2, 3, 1)))
            return torch.einsum("shwc,sc->shw", pixels, self._sentence(state.encoded))

    def _checked(self, finest: Tensor) -> Tensor:
        """The pixel features, if they have the channels that the model promised."""
        if finest.dim() != 4 or finest.shape[1] != self.dims.finest:
            raise ValueError(
                f"CrossModalAlignment: pixel features have shape {tuple(finest.shape)}; expected (S, "
                f"{self.dims.finest}, h, w). Build it with the Dims of this model."
            )
        return finest

    def _draw(self, finest: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels drawn inside (0) and outside (1) of the target ``(S, 2, k, C)``; which of them count ``(S, 2, k)``."""
        positions, real = zip(*(sample_pixels(side, self.limit) for side in (target, ~target)))
        # Both sides at once: the gradient of each gathering is as large as the whole map.
        where = torch.cat(positions, dim=1)[:, None].expand(-1, finest.shape[1], -1)
        drawn = at_least_float32(finest.flatten(2).gather(2, where).transpose(1, 2))
        return self._normalised(self.pixels(drawn)).unflatten(1, (2, -1)), torch.stack(real, dim=1)

    def _sentence(self, encoded: Encoded) -> Tensor:
        """The mean of the real tokens in the space of the pixels, ``(S, C)``, of length one."""
        words, word_mask = at_least_float32(encoded.words), encoded.word_mask
        if words.shape[-1] != self.dims.word:
            raise ValueError(
                f"CrossModalAlignment: words have shape {tuple(words.shape)}; expected (S, L, {self.dims.word}). Build "
                "it with the Dims of this model."
            )
        check_word_mask(word_mask, words.shape[:2], "CrossModalAlignment")
        return self._normalised(self.sentence(masked_mean(words, word_mask)))

    def _pixel_terms(self, *drawn: Tensor) -> tuple[Tensor, Tensor]:
        """``pixel_terms`` for some sentences at a time, so that memory does not grow with their number."""
        step = max(1, PAIRS // (drawn[0].shape[1] * drawn[1].shape[1]))
        if len(drawn[0]) <= step:
            return pixel_terms(*drawn, temperatures=self.temperatures[:2])
        parts = [
            checkpoint(pixel_terms, *part, self.temperatures[:2], use_reentrant=False, preserve_rng_state=False)
            for part in zip(*(x.split(step) for x in drawn))
        ]
        positive, negative = zip(*parts)
        return torch.cat(positive), torch.cat(negative)

    @staticmethod
    def _normalised(x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1, eps=SHORTEST)
