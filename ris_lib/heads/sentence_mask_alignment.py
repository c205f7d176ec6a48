"""Sentence-mask alignment: the sentence chooses among mask proposals, and the chosen ones make the mask.

::

    memory ─► mask generator ─► Q (N embeddings) ─► Y_n(x) = <MLP(Q_n), W_f S(x)> + b      N proposals
    words  ─► mean ─► L_g;  w_n = softmax_n(cos(W_q Q_n, W_g L_g) / tau)                    N weights
    mask:    mixture    p(x) = sum_n w_n sigmoid(Y_n(x))
             linear     M(x) = sum_n w_n Y_n(x)
             projected  M = conv of [S; G],  G(x) = sum_n w_n sigmoid(Y_n(x)) Q_n

The linear form collapses: sum_n w_n <k_n, S(x)> = <sum_n w_n k_n, S(x)>, so N proposals have the power of one dynamic
kernel. Only a non-linearity between proposals and sum makes them a choice among hypotheses.

Source: that the sentence weights N mask embeddings, whose masks are then projected back to the pixels, is CoupAlign's
(Zhang et al. 2022, abstract and caption of figure 2). Its formulas could not be read: the mean of the content words,
cosine, softmax, learned temperature, the mixture and its two alternatives are our decision ("projected" is closest to
the abstract's words, "mixture" keeps every weight and every mask readable). MLP with three layers: as in Mask2Former
(Cheng et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.contract import Encoded, MaskOutput, PixelFeatures, check_word_mask
from ris_lib.heads.mask_generator import MaskGenerator
from ris_lib.heads.mixing import mix_logits, mix_probabilities
from ris_lib.layers import ConvNormAct, at_least_float32, masked_mean

#: How proposals become a mask.
VARIANTS = ("mixture", "linear", "projected")
#: Probability that the bias alone gives a pixel before training. At one half the mixture would start as a mask of
#: everything; with equal weights, half of the proposals have to agree before a pixel counts as target.
FOREGROUND = 0.03


class SentenceWeights(nn.Module):
    """How well each proposal fits the sentence: a softmax of cosines.

    Args:
        width: Channels of the proposals, and of the space of comparison.
        word_dim: Channels of the words.
        temperature: Of the softmax at the start; learned, as its logarithm, so that it stays positive.

    Shape:
        - proposals: ``(S, N, width)``
        - words: ``(S, L, word_dim)``
        - word_index: ``(S, L)`` long, -1 for special and padding tokens, which are left out of the mean
        - returns: ``(S, N)`` logarithms of the weights, which sum to 1 over N; float32 at least, also within autocast

    Raises:
        ValueError: A sentence has no content word.

    Example:
        >>> weights = SentenceWeights(width=8, word_dim=6)
        >>> words, index = torch.randn(1, 3, 6), torch.tensor([[-1, 0, -1]])
        >>> round(weights(torch.randn(1, 4, 8), words, index).exp().sum().item(), 4)
        1.0
    """

    def __init__(self, width: int, word_dim: int, temperature: float = 0.1):
        super().__init__()
        self.proposal = nn.Linear(width, width, bias=False)
        self.sentence = nn.Linear(word_dim, width, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, proposals: Tensor, words: Tensor, word_index: Tensor) -> Tensor:
        """See the class."""
        content = word_index >= 0
        if not bool(content.any(dim=1).all()):
            raise ValueError(
                "SentenceMaskAlignment: a sentence has no content word (its word_index is -1 everywhere), so nothing "
                "can be weighed; every sentence needs at least one word."
            )
        proposals, sentence = self.proposal(proposals), self.sentence(masked_mean(words, content))
        with torch.autocast(words.device.type, enabled=False):
            proposals, sentence = (F.normalize(at_least_float32(x), dim=-1) for x in (proposals, sentence))
            cosine = torch.einsum("snc,sc->sn", proposals, sentence)
            return (cosine / self.log_temperature.exp()).log_softmax(dim=1)


class SentenceMaskAlignment(nn.Module):
    """Propose N masks, weigh them by the sentence, make one of them.

    Args:
        channels: Channels of ``PixelFeatures.finest``; may differ from ``width``.
        word_dim: Channels of the words.
        sentence_dim: Channels of the sentence. Not used: this head averages the content words itself.
        memory_channels: Channels of the coarser maps; all of them are read.
        context_channels: Channels of the context map. Not used.
        queries: Number of proposals, N. With one proposal there is nothing to weigh: its weight is 1, and no words are
            read (unless ``words_in_memory``).
        layers: Layers of the mask generator.
        heads: Heads of its attentions; must divide ``width``.
        width: Channels of the mask embeddings, a multiple of 4.
        feed_forward: Hidden channels of the generator's feed-forward networks.
        variant: ``"mixture"`` of probabilities, ``"linear"`` sum of logits, or ``"projected"``: the weighted
            embeddings, spread over the pixels of their masks, are read by two convolutions together with ``finest``.
        words_in_memory: The generator reads the words beside the maps, so the proposals hear the sentence before it
            chooses among them. False keeps the two levels apart.

    Shape:
        ``finest (S, channels, h, w)``, the memory and the words -> ``MaskOutput`` with ``logits (S, 1, h, w)``,
        ``query_logits (S, N, h, w)`` and ``centre (S, channels)``: the weighted sum of the proposals' kernels ``W_f^T
        MLP(Q_n)``, so that ``<centre, finest(x)> + b`` is the weighted sum of the proposals' logits, which with
        ``variant="linear"`` is the mask itself. With ``explain``: ``query_masks`` ``(S, N, h, w)`` in [0, 1] and
        ``query_scores`` ``(S, N)``, which sum to 1.

    Raises:
        ValueError: Another variant, an empty memory, sizes that do not fit one another; features with other channels
            than announced, a word mask that is not boolean, has another shape or hides a whole sentence, or a sentence
            without a content word.

    Example:
        >>> words, index = torch.randn(1, 3, 6), torch.tensor([[0, 1, 2]])
        >>> encoded = Encoded([], words, words[:, 0], index >= 0, index, torch.tensor([0]))
        >>> head = SentenceMaskAlignment(8, 6, 6, (12,), None, queries=4, layers=1, heads=2, width=16, feed_forward=32)
        >>> features = PixelFeatures(torch.randn(1, 8, 6, 6), stride=4, memory=[torch.randn(1, 12, 3, 3)])
        >>> output = head(features, encoded, explain=True)
        >>> output.logits.shape, output.query_logits.shape, output.centre.shape
        (torch.Size([1, 1, 6, 6]), torch.Size([1, 4, 6, 6]), torch.Size([1, 8]))
    """

    #: What this head makes of the sentence in ``MaskOutput``, beside the logits; objectives are checked against it.
    fills: ClassVar[frozenset[str]] = frozenset({"centre", "query_logits"})

    def __init__(
        self,
        channels: int,
        word_dim: int,
        sentence_dim: int,
        memory_channels: Sequence[int],
        context_channels: int | None,
        queries: int = 16,
        layers: int = 3,
        heads: int = 8,
        width: int = 256,
        feed_forward: int = 1024,
        variant: str = "mixture",
        words_in_memory: bool = False,
    ):
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"SentenceMaskAlignment: variant={variant!r}; expected one of {', '.join(VARIANTS)}.")
        self.channels, self.word_dim, self.variant, self.words_in_memory = channels, word_dim, variant, words_in_memory
        self.generator = MaskGenerator(
            memory_channels, queries, layers, heads, width, feed_forward, word_dim if words_in_memory else None
        )
        self.weights = SentenceWeights(width, word_dim) if queries > 1 else None
        self.embedding = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        # W_f stands on the proposals' side, <W_f^T k, S> = <k, W_f S>: N vectors are projected, not h * w pixels.
        self.to_finest = nn.Linear(width, channels, bias=False)
        odds = math.log(FOREGROUND / (1 - FOREGROUND))
        self.mask_bias = nn.Parameter(torch.tensor(odds))
        self.read_out = None
        if variant == "projected":
            self.read_out = nn.Sequential(ConvNormAct(channels + width, width), nn.Conv2d(width, 1, 1))
            nn.init.constant_(self.read_out[1].get_parameter("bias"), odds)

    @property
    def reads(self) -> frozenset[str]:
        """What it reads beside ``PixelFeatures.finest``."""
        return frozenset({"memory", "words"} if self.weights is not None or self.words_in_memory else {"memory"})

    def forward(self, features: PixelFeatures, encoded: Encoded, explain: bool = False) -> MaskOutput:
        """See the class."""
        self._check(features, encoded)
        proposals = self.generator(features.memory, encoded.words, encoded.word_mask)
        if self.weights is None:
            log_weights = proposals.new_zeros(proposals.shape[:2])
        else:
            log_weights = self.weights(proposals, encoded.words, encoded.word_index)
        kernels = self.to_finest(self.embedding(proposals))
        scores = log_weights.exp()
        weights = scores.to(kernels.dtype)
        query_logits = torch.einsum("snc,schw->snhw", kernels, features.finest) + self.mask_bias
        if self.variant == "mixture":
            logits = mix_probabilities(query_logits, log_weights)
        elif self.read_out is None:  # "linear"
            logits = mix_logits(query_logits, weights)
        else:
            shares = query_logits.sigmoid() * weights[..., None, None]
            spread = torch.einsum("snhw,snc->schw", shares, proposals)
            logits = self.read_out(torch.cat([features.finest, spread.to(features.finest.dtype)], dim=1))
        return MaskOutput(
            logits=logits,
            centre=torch.einsum("sn,snc->sc", weights, kernels),
            query_logits=query_logits,
            explanation={"query_masks": query_logits.sigmoid(), "query_scores": scores} if explain else {},
        )

    def _check(self, features: PixelFeatures, encoded: Encoded) -> None:
        check_word_mask(encoded.word_mask, encoded.words.shape[:2], "SentenceMaskAlignment")
        if encoded.words.shape[2] != self.word_dim or features.finest.shape[1] != self.channels:
            raise ValueError(
                f"SentenceMaskAlignment: words have shape {tuple(encoded.words.shape)} and finest "
                f"{tuple(features.finest.shape)}; expected (S, L, {self.word_dim}) and (S, {self.channels}, h, w)."
            )
        batches = [len(features.finest), len(encoded.words), *map(len, features.memory)]
        if len(set(batches)) > 1:
            raise ValueError(
                f"SentenceMaskAlignment: finest, words and memory hold {batches} sentences; expected the same number."
            )
        if encoded.word_index.shape != encoded.word_mask.shape:
            raise ValueError(
                f"SentenceMaskAlignment: word_index has shape {tuple(encoded.word_index.shape)}, expected "
                f"{tuple(encoded.word_mask.shape)} like the word mask."
            )
